-- Bounded side input: bids enriched from a small table, which every process holds whole, so that the bids stay where they are.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');
CREATE TABLE side_input (key BIGINT PRIMARY KEY, value STRING)
  WITH (KAFKA_TOPIC = 'side_input', VALUE_FORMAT = 'JSON', PARTITIONS = 4, GLOBAL = TRUE);

CREATE STREAM q13 WITH (KAFKA_TOPIC = 'nexmark_q13') AS
  SELECT b.auction AS auction, b.bidder AS bidder, b.price AS price, b.dateTime AS dateTime, s.value AS value
  FROM bid b JOIN side_input s ON b.auction % 10000 = s.key EMIT CHANGES;
