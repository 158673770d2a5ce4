-- Totals a customer of a file of order lines, in exact decimals:
--
--   millstream load retail_lines online-retail.csv.gz
--   millstream query 'SELECT * FROM retail_totals ORDER BY total DESC LIMIT 10'

-- The columns are those of the file's header: load pairs them regardless of case and underscores.
CREATE STREAM retail_lines (
    invoice_no STRING,
    stock_code STRING,
    description STRING,
    quantity INTEGER,
    invoice_date STRING,
    unit_price DECIMAL(18, 3),
    customer_id STRING,
    country STRING
  ) WITH (KAFKA_TOPIC = 'retail-lines', VALUE_FORMAT = 'JSON', PARTITIONS = 4);

-- Lines without a customer count, too, under a name of their own. Cancellations have a negative quantity.
CREATE TABLE retail_totals
  WITH (KAFKA_TOPIC = 'retail-totals', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO') AS
  SELECT
    COALESCE(customer_id, 'unknown') AS customer,
    COUNT(*) AS lines,
    SUM(CAST(quantity AS BIGINT)) AS pieces,
    SUM(CAST(CAST(quantity AS DECIMAL(10, 0)) * unit_price AS DECIMAL(20, 3))) AS total
  FROM retail_lines
  GROUP BY COALESCE(customer_id, 'unknown')
  EMIT CHANGES;
