-- Hot items: the auctions with the most bids of each 10 seconds, every 2 seconds. MAX stands over counts that change: the others are kept as a multiset.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q5_windows WITH (WRITE_TOPIC = FALSE, KEY_FORMAT = 'JSON') AS
  SELECT auction, COUNT(*) AS num FROM bid
  WINDOW HOPPING (SIZE 10 SECONDS, ADVANCE BY 2 SECONDS, GRACE PERIOD 1 MINUTE)
  GROUP BY auction EMIT CHANGES;
-- the window as columns of the key
CREATE TABLE q5_counts WITH (WRITE_TOPIC = FALSE) AS
  SELECT auction, WINDOWSTART AS starttime, WINDOWEND AS endtime, MAX(num) AS num FROM q5_windows
  GROUP BY auction, WINDOWSTART, WINDOWEND EMIT CHANGES;
CREATE TABLE q5_max WITH (WRITE_TOPIC = FALSE) AS
  SELECT WINDOWSTART AS starttime, WINDOWEND AS endtime, MAX(num) AS maxn FROM q5_windows
  GROUP BY WINDOWSTART, WINDOWEND EMIT CHANGES;
CREATE TABLE q5 WITH (KAFKA_TOPIC = 'nexmark_q5') AS
  SELECT c.auction AS auction, c.starttime AS starttime, c.endtime AS endtime, c.num AS num
  FROM q5_counts c JOIN q5_max m ON c.starttime = m.starttime AND c.endtime = m.endtime
  WHERE c.num >= m.maxn
  EMIT CHANGES;
