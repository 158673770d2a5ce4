-- The job that bench/peer does in Kafka Streams: count and sum a movie, average, join with the movie, write the result.
-- SUFFIX is replaced by the runner.
CREATE TABLE movies (id BIGINT PRIMARY KEY)
  WITH (KAFKA_TOPIC = 'moviesSUFFIX', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

CREATE STREAM ratings (id BIGINT KEY)
  WITH (KAFKA_TOPIC = 'ratingsSUFFIX', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

-- Kept in the state, written to no topic: the peer does not write its averages either.
CREATE TABLE averages WITH (WRITE_TOPIC = FALSE) AS
  SELECT id, SUM(rating) / COUNT(*) AS rating FROM ratings GROUP BY id EMIT CHANGES;

CREATE TABLE rated WITH (KAFKA_TOPIC = 'ratedSUFFIX') AS
  SELECT m.id AS id, m.movie_id AS movie_id, m.title AS title, m.release_year AS release_year, a.rating AS rating
  FROM averages a JOIN movies m ON a.id = m.id EMIT CHANGES;
