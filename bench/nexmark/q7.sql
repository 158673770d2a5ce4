-- Highest bid: the bids with the highest price of each 10 seconds.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q7_windows WITH (WRITE_TOPIC = FALSE) AS
  SELECT 'all' AS one, MAX(price) AS maxprice FROM bid
  WINDOW TUMBLING (SIZE 10 SECONDS, GRACE PERIOD 1 MINUTE)
  GROUP BY 'all' EMIT FINAL;
-- A closed window is given out once, so that its maximum can be read as a record; the key is the window's start, and no window any more.
CREATE TABLE q7_max WITH (KAFKA_TOPIC = 'nexmark_q7_max') AS
  SELECT WINDOWSTART AS starttime, MAX(maxprice) AS maxprice FROM q7_windows GROUP BY WINDOWSTART EMIT CHANGES;
CREATE STREAM q7_maxima (starttime BIGINT KEY, maxprice BIGINT)
  WITH (KAFKA_TOPIC = 'nexmark_q7_max', VALUE_FORMAT = 'JSON', PARTITIONS = 4);
CREATE STREAM q7 WITH (KAFKA_TOPIC = 'nexmark_q7') AS
  SELECT b.price AS price, b.auction AS auction, b.bidder AS bidder, b.dateTime AS dateTime, b.extra AS extra
  FROM bid b JOIN q7_maxima m WITHIN 10 SECONDS GRACE PERIOD 1 HOUR
    ON b.price = m.maxprice AND UNIX_TIMESTAMP(b.dateTime) >= m.starttime AND UNIX_TIMESTAMP(b.dateTime) < m.starttime + 10000
  EMIT CHANGES;
