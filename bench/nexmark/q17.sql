-- Auction statistics of a day.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q17 WITH (KAFKA_TOPIC = 'nexmark_q17', KEY_FORMAT = 'JSON') AS
  SELECT auction, FORMAT_TIMESTAMP(dateTime, 'yyyy-MM-dd') AS day,
         COUNT(*) AS total_bids,
         COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
         COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
         COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
         MIN(price) AS min_price, MAX(price) AS max_price, CAST(AVG(price) AS BIGINT) AS avg_price, SUM(price) AS sum_price
  FROM bid GROUP BY auction, FORMAT_TIMESTAMP(dateTime, 'yyyy-MM-dd') EMIT CHANGES;
