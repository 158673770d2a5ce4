-- New users: who came and opened an auction in the same 10 seconds.
CREATE STREAM person (id BIGINT KEY, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING,
                      dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'person', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');
CREATE STREAM auction (id BIGINT KEY, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT,
                       dateTime TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING)
  WITH (KAFKA_TOPIC = 'auction', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q8_persons WITH (WRITE_TOPIC = FALSE) AS
  SELECT id, LATEST_BY_OFFSET(name) AS name FROM person WINDOW TUMBLING (SIZE 10 SECONDS) GROUP BY id EMIT CHANGES;
CREATE TABLE q8_sellers WITH (WRITE_TOPIC = FALSE) AS
  SELECT seller, COUNT(*) AS auctions FROM auction WINDOW TUMBLING (SIZE 10 SECONDS) GROUP BY seller EMIT CHANGES;
CREATE TABLE q8 WITH (KAFKA_TOPIC = 'nexmark_q8') AS
  SELECT p.id AS id, p.name AS name, p.WINDOWSTART AS starttime
  FROM q8_persons p JOIN q8_sellers s ON p.id = s.seller EMIT CHANGES;
