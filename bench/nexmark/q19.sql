-- The ten highest bids on each auction, a row each.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q19 WITH (KAFKA_TOPIC = 'nexmark_q19', KEY_FORMAT = 'JSON') AS
  SELECT auction, bidder, price, channel, url, dateTime, extra,
         ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number
  FROM bid QUALIFY rank_number <= 10
  EMIT CHANGES;
