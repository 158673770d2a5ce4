-- Calculation: conversions, CASE and a count of letters, for which no function of one's own is needed.
CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
  WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', PARTITIONS = 4, TIMESTAMP = 'dateTime');

CREATE STREAM q14 WITH (KAFKA_TOPIC = 'nexmark_q14') AS
  SELECT auction, bidder, CAST(0.908 * price AS DECIMAL(23, 3)) AS price,
         CASE
           WHEN CAST(FORMAT_TIMESTAMP(dateTime, 'HH') AS INTEGER) BETWEEN 8 AND 18 THEN 'dayTime'
           WHEN CAST(FORMAT_TIMESTAMP(dateTime, 'HH') AS INTEGER) <= 6 OR CAST(FORMAT_TIMESTAMP(dateTime, 'HH') AS INTEGER) >= 20 THEN 'nightTime'
           ELSE 'otherTime'
         END AS bidTimeType,
         dateTime, extra, LEN(extra) - LEN(REPLACE(extra, 'c', '')) AS c_counts
  FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000 EMIT CHANGES;
