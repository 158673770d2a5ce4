-- Pass through: what reading, decoding and writing cost.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE STREAM q0 WITH (KAFKA_TOPIC = 'nexmark_q0') AS
  SELECT auction, bidder, price, dateTime, extra FROM bid EMIT CHANGES;
