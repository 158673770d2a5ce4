-- The job that bench/peer does in Kafka Streams: count and sum a movie, average, join with the movie, write the result.
-- SUFFIX is replaced by the runner.
CREATE TABLE movies (movie_id BIGINT PRIMARY KEY)
  WITH (KAFKA_TOPIC = 'movies-SUFFIX', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

CREATE STREAM ratings (movie_id BIGINT KEY)
  WITH (KAFKA_TOPIC = 'ratings-SUFFIX', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');
