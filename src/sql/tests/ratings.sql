-- The movie job: text lines are parsed into Avro, ratings are averaged a movie and joined with the movies.
CREATE STREAM raw_movies (line VARCHAR) WITH (KAFKA_TOPIC = 'raw-movies', VALUE_FORMAT = 'KAFKA');
CREATE STREAM raw_ratings (line VARCHAR) WITH (KAFKA_TOPIC = 'raw-ratings', VALUE_FORMAT = 'KAFKA');

CREATE STREAM parsed_movies WITH (KAFKA_TOPIC = 'movies', VALUE_FORMAT = 'AVRO', KEY_FORMAT = 'KAFKA') AS
  SELECT REQUIRE(CAST(SPLIT(line, '::')[1] AS BIGINT), 'no movie id') AS movie_id,
         REQUIRE(SPLIT(line, '::')[2], 'no title') AS title,
         REQUIRE(CAST(SPLIT(line, '::')[3] AS INT), 'no year') AS release_year,
         SPLIT(SPLIT(line, '::')[8], '|') AS genres
  FROM raw_movies
  PARTITION BY REQUIRE(CAST(SPLIT(line, '::')[1] AS BIGINT), 'no movie id');

CREATE STREAM ratings WITH (VALUE_FORMAT = 'AVRO') AS
  SELECT CAST(SPLIT(line, '::')[2] AS BIGINT) AS movie_id,
         CAST(SPLIT(line, '::')[3] AS DOUBLE) AS rating,
         CAST(SPLIT(line, '::')[1] AS BIGINT) AS user_id
  FROM raw_ratings
  PARTITION BY CAST(SPLIT(line, '::')[2] AS BIGINT);

CREATE TABLE movies (movie_id BIGINT PRIMARY KEY, title VARCHAR, release_year INT, genres ARRAY<VARCHAR>)
  WITH (KAFKA_TOPIC = 'movies', VALUE_FORMAT = 'AVRO');

CREATE TABLE average_ratings WITH (KAFKA_TOPIC = 'average-ratings') AS
  SELECT movie_id, COUNT(*) AS count, SUM(rating) AS sum, SUM(rating) / COUNT(*) AS rating
  FROM ratings
  GROUP BY movie_id;

CREATE TABLE rated_movies WITH (KAFKA_TOPIC = 'rated-movies') AS
  SELECT m.movie_id, m.title, m.release_year, a.rating
  FROM average_ratings a
  JOIN movies m ON a.movie_id = m.movie_id;
