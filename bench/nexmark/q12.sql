-- Processing-time windows: how often a bidder bid in each 10 seconds of the clock. The clock is the record's timestamp, ROWTIME: when it was written to the topic.
-- So a replay gives the same windows, which a clock of the processor would not.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4);

CREATE TABLE q12 WITH (KAFKA_TOPIC = 'nexmark_q12', KEY_FORMAT = 'JSON') AS
  SELECT bidder, COUNT(*) AS bid_count, WINDOWSTART AS starttime, WINDOWEND AS endtime FROM bid
  WINDOW TUMBLING (SIZE 10 SECONDS) GROUP BY bidder EMIT CHANGES;
