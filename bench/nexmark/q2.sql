-- Selection: the bids on some auctions.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE STREAM q2 WITH (KAFKA_TOPIC = 'nexmark_q2') AS
  SELECT auction, price FROM bid WHERE auction % 123 = 0 EMIT CHANGES;
