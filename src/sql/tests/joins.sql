-- Chains of joins, outer joins, several key columns, and relations that are read back from their topics.
CREATE STREAM visits (user_id INT KEY, page VARCHAR, country VARCHAR, ms BIGINT) WITH (KAFKA_TOPIC = 'visits', FORMAT = 'JSON', TIMESTAMP = 'ms');
CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR, country VARCHAR) WITH (KAFKA_TOPIC = 'users', FORMAT = 'JSON');
CREATE TABLE countries (code VARCHAR PRIMARY KEY, name VARCHAR) WITH (KAFKA_TOPIC = 'countries', VALUE_FORMAT = 'JSON');
CREATE TABLE limits (user_id INT PRIMARY KEY, most INT) WITH (KAFKA_TOPIC = 'limits', FORMAT = 'JSON');

CREATE STREAM seen AS
  SELECT v.country AS code, u.name, c.name AS country, v.user_id, v.ROWPARTITION AS part
  FROM visits v
  LEFT JOIN users u ON v.user_id = u.id
  JOIN countries c ON v.country = c.code;

CREATE TABLE everything AS
  SELECT ROWKEY AS id, u.name, l.most, u.id AS left_id, l.user_id AS right_id
  FROM users u
  FULL OUTER JOIN limits l ON u.id = l.user_id;

CREATE TABLE rights AS SELECT * FROM users u RIGHT JOIN limits l ON u.id = l.user_id;

CREATE TABLE pages WITH (PARTITIONS = 2, FORMAT = 'JSON') AS
  SELECT user_id, page, COUNT(*) AS n, MAX(ms) AS latest, AS_VALUE(page) AS the_page
  FROM visits
  WHERE page LIKE '/shop/%'
  GROUP BY user_id, page
  HAVING COUNT(*) > 1;

CREATE TABLE per_user AS SELECT user_id, COUNT(*) AS pages FROM pages GROUP BY user_id;

CREATE STREAM all_pages WITH (PARTITIONS = 6) AS SELECT user_id, page FROM visits;
INSERT INTO all_pages SELECT user_id, UCASE(page) AS page FROM visits WHERE ms > 0;
CREATE TABLE page_counts AS SELECT page, COUNT(*) FROM all_pages GROUP BY page;
