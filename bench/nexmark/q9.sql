-- Winning bids: the highest bid on each auction while it was open, the first of equal ones.
CREATE STREAM auction (id BIGINT KEY, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT,
                       dateTime TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING)
  WITH (KAFKA_TOPIC = 'auction', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE TABLE q9 WITH (KAFKA_TOPIC = 'nexmark_q9') AS
  SELECT a.id AS id, itemName, description, initialBid, reserve, a.dateTime AS dateTime, expires, seller, category, a.extra AS extra,
         b.auction AS auction, bidder, price, b.dateTime AS bid_dateTime, b.extra AS bid_extra
  FROM auction a JOIN bid b WITHIN (0 SECONDS, 1 HOUR) GRACE PERIOD 1 HOUR
    ON a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
  QUALIFY ROW_NUMBER() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.dateTime ASC) = 1
  EMIT CHANGES;
