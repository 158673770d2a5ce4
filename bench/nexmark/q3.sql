-- Local items: who sells in three states in category 10. Both are tables, since sellers and auctions are each made once; an auction may come before its seller.
CREATE TABLE auction (id BIGINT PRIMARY KEY, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT,
                      dateTime TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING)
  WITH (KAFKA_TOPIC = 'auction', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');
CREATE TABLE person (id BIGINT PRIMARY KEY, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING,
                     dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'person', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q3 WITH (KAFKA_TOPIC = 'nexmark_q3') AS
  SELECT a.id AS id, p.name AS name, p.city AS city, p.state AS state
  FROM auction a JOIN person p ON a.seller = p.id
  WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')
  EMIT CHANGES;
