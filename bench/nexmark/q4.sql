-- Average price of a category: of the highest bid on each of its auctions while it was open. The interval comes from the auction's columns; WITHIN says how long
-- an auction may last at most.
CREATE STREAM auction (id BIGINT KEY, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT,
                       dateTime TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING)
  WITH (KAFKA_TOPIC = 'auction', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q4_final WITH (WRITE_TOPIC = FALSE, KEY_FORMAT = 'JSON') AS
  SELECT a.id AS id, a.category AS category, MAX(b.price) AS final
  FROM auction a JOIN bid b WITHIN (0 SECONDS, 1 HOUR) GRACE PERIOD 1 HOUR
    ON a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
  GROUP BY a.id, a.category
  EMIT CHANGES;
CREATE TABLE q4 WITH (KAFKA_TOPIC = 'nexmark_q4', KEY_FORMAT = 'KAFKA') AS
  SELECT category AS id, CAST(AVG(final) AS BIGINT) AS final FROM q4_final GROUP BY category EMIT CHANGES;
