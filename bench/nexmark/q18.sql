-- Last bid of each bidder on each auction.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q18 WITH (KAFKA_TOPIC = 'nexmark_q18', KEY_FORMAT = 'JSON') AS
  SELECT auction, bidder, price, channel, url, dateTime, extra FROM bid
  QUALIFY ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC) <= 1
  EMIT CHANGES;
