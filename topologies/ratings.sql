-- Rated movies: text lines of movies and ratings in, the average rating of every movie out.
--
--   raw-movies  --parse-->  movies   ------------------------------------------------+
--   raw-ratings --parse-->  ratings  --count and sum--> rating-counts --> average-ratings --join--> rated-movies
--
-- Count and sum stand in ONE table, so that an average is always the average of the ratings up to some record. A join of a
-- count table with a sum table publishes averages that never were (KAFKA-7595).

-- Lines have no key: one partition keeps their order.
CREATE STREAM raw_movies (line STRING)
  WITH (KAFKA_TOPIC = 'raw-movies', VALUE_FORMAT = 'KAFKA', PARTITIONS = 1);

CREATE STREAM raw_ratings (line STRING)
  WITH (KAFKA_TOPIC = 'raw-ratings', VALUE_FORMAT = 'KAFKA', PARTITIONS = 1);

-- id::title::year::minutes::country::rating::votes::genres|..::actors|..::directors|..::composers|..::screenwriters|..::cinematographer::companies|..
-- A part that is missing or no number makes the line bad: it goes to the topic millstream.ratings.dead-letters. Lines are taken
-- apart before they are carried to their movie's partition (WRITE_TOPIC = FALSE: no topic in between), so it is the line that goes there.
CREATE STREAM movie_parts WITH (VALUE_FORMAT = 'JSON', WRITE_TOPIC = FALSE) AS
  SELECT SPLIT(line, '::') AS part FROM raw_movies EMIT CHANGES;

CREATE STREAM movie_lines WITH (VALUE_FORMAT = 'JSON', WRITE_TOPIC = FALSE) AS
  SELECT
    REQUIRE(CAST(part[1] AS BIGINT), 'a movie has no id') AS movie_id,
    REQUIRE(part[2], 'a movie has no title') AS title,
    REQUIRE(CAST(part[3] AS INTEGER), 'a movie has no year') AS release_year,
    REQUIRE(part[5], 'a movie has no country') AS country,
    REQUIRE(SPLIT(part[8], '|'), 'a movie has no genres') AS genres,
    REQUIRE(SPLIT(part[9], '|'), 'a movie has no actors') AS actors,
    REQUIRE(SPLIT(part[10], '|'), 'a movie has no directors') AS directors,
    REQUIRE(SPLIT(part[11], '|'), 'a movie has no composers') AS composers,
    REQUIRE(SPLIT(part[12], '|'), 'a movie has no screenwriters') AS screenwriters,
    REQUIRE(part[13], 'a movie has no cinematographer') AS cinematographer,
    REQUIRE(SPLIT(part[14], '|'), 'a movie has no production companies') AS production_companies
  FROM movie_parts
  EMIT CHANGES;

CREATE STREAM parsed_movies
  WITH (KAFKA_TOPIC = 'movies', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 6) AS
  SELECT movie_id AS id, AS_VALUE(movie_id) AS movie_id, title, release_year, country, genres, actors, directors, composers,
    screenwriters, cinematographer, production_companies
  FROM movie_lines
  PARTITION BY movie_id
  EMIT CHANGES;

-- user::movie::rating, carried to the movie's partition, where they keep their order.
CREATE STREAM rating_parts WITH (VALUE_FORMAT = 'JSON', WRITE_TOPIC = FALSE) AS
  SELECT SPLIT(line, '::') AS part FROM raw_ratings EMIT CHANGES;

CREATE STREAM rating_lines WITH (VALUE_FORMAT = 'JSON', WRITE_TOPIC = FALSE) AS
  SELECT
    REQUIRE(CAST(part[2] AS BIGINT), 'a rating has no movie') AS movie_id,
    REQUIRE(CAST(part[3] AS DOUBLE), 'a rating has no number') AS rating,
    REQUIRE(CAST(part[1] AS BIGINT), 'a rating has no user') AS user_id
  FROM rating_parts
  EMIT CHANGES;

CREATE STREAM parsed_ratings
  WITH (KAFKA_TOPIC = 'ratings', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 6) AS
  SELECT movie_id AS id, AS_VALUE(movie_id) AS movie_id, rating, user_id
  FROM rating_lines
  PARTITION BY movie_id
  EMIT CHANGES;

-- The typed topics are open to others, too: their columns come from the schemas movies-value and ratings-value.
CREATE TABLE movies (id BIGINT PRIMARY KEY)
  WITH (KAFKA_TOPIC = 'movies', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 6);

CREATE STREAM ratings
  WITH (KAFKA_TOPIC = 'ratings', VALUE_FORMAT = 'AVRO', PARTITIONS = 6);

CREATE TABLE rating_counts
  WITH (KAFKA_TOPIC = 'rating-counts', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO') AS
  SELECT movie_id AS id, COUNT(*) AS count, SUM(rating) AS sum
  FROM ratings
  GROUP BY movie_id
  EMIT CHANGES;

CREATE TABLE average_ratings
  WITH (KAFKA_TOPIC = 'average-ratings', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO') AS
  SELECT id, sum / count AS rating
  FROM rating_counts
  EMIT CHANGES;

CREATE TABLE rated_movies
  WITH (KAFKA_TOPIC = 'rated-movies', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO') AS
  SELECT m.id AS id, m.movie_id AS movie_id, m.title AS title, m.release_year AS release_year, a.rating AS rating
  FROM average_ratings a
  JOIN movies m ON a.id = m.id
  EMIT CHANGES;
