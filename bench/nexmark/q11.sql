-- User sessions: how often a bidder bid before 10 seconds without a bid.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q11 WITH (KAFKA_TOPIC = 'nexmark_q11', KEY_FORMAT = 'JSON') AS
  SELECT bidder, COUNT(*) AS bid_count, WINDOWSTART AS starttime, WINDOWEND AS endtime FROM bid
  WINDOW SESSION (10 SECONDS) GROUP BY bidder EMIT CHANGES;
