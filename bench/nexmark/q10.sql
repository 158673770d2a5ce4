-- Log: bids with the day and the minute that partition a file system's folders; here they are columns.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE STREAM q10 WITH (KAFKA_TOPIC = 'nexmark_q10') AS
  SELECT auction, bidder, price, dateTime, extra, FORMAT_TIMESTAMP(dateTime, 'yyyy-MM-dd') AS dt, FORMAT_TIMESTAMP(dateTime, 'HH:mm') AS hm
  FROM bid EMIT CHANGES;
