-- Bids with their auctions. A bid may come before its auction, so that both are streams; WITHIN says how far they may be apart.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');
CREATE STREAM auction (id BIGINT KEY, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT,
                       dateTime TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING)
  WITH (KAFKA_TOPIC = 'auction', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE STREAM q20 WITH (KAFKA_TOPIC = 'nexmark_q20') AS
  SELECT b.auction AS auction, bidder, price, channel, url, b.dateTime AS bid_dateTime, b.extra AS bid_extra,
         itemName, description, initialBid, reserve, a.dateTime AS auction_dateTime, expires, seller, category, a.extra AS auction_extra
  FROM bid b JOIN auction a WITHIN 1 HOUR GRACE PERIOD 1 HOUR ON b.auction = a.id
  WHERE a.category = 10 EMIT CHANGES;
