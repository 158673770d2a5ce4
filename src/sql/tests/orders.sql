-- The orders job: the state of every order, totals a customer, counts a state, payments beside their orders.
CREATE TABLE customers (id BIGINT PRIMARY KEY, name VARCHAR, email VARCHAR, level VARCHAR)
  WITH (KAFKA_TOPIC = 'customers', VALUE_FORMAT = 'JSON', PARTITIONS = 4);

CREATE TABLE orders (order_id VARCHAR PRIMARY KEY, customer_id BIGINT, product VARCHAR, quantity INT, amount DECIMAL(18, 3), state VARCHAR)
  WITH (KAFKA_TOPIC = 'orders', VALUE_FORMAT = 'AVRO', PARTITIONS = 4);

CREATE STREAM order_events (order_id VARCHAR KEY, customer_id BIGINT, product VARCHAR, quantity INT, amount DECIMAL(18, 3), state VARCHAR)
  WITH (KAFKA_TOPIC = 'orders', VALUE_FORMAT = 'AVRO');

CREATE STREAM payments (payment_id VARCHAR KEY, order_id VARCHAR, amount DECIMAL(18, 3))
  WITH (KAFKA_TOPIC = 'payments', VALUE_FORMAT = 'AVRO');

-- an order that changes leaves its old amount and its old state
CREATE TABLE customer_totals WITH (KEY_FORMAT = 'KAFKA') AS
  SELECT COALESCE(customer_id, -1) AS customer_id, COUNT(*) AS orders, SUM(amount) AS amount
  FROM orders
  GROUP BY COALESCE(customer_id, -1);

CREATE TABLE customer_orders AS
  SELECT t.customer_id, c.name, c.level, t.orders, t.amount
  FROM customer_totals t
  LEFT JOIN customers c ON t.customer_id = c.id;

CREATE TABLE orders_by_state AS
  SELECT state, COUNT(*) AS orders FROM orders GROUP BY state HAVING COUNT(*) > 0;

CREATE STREAM paid_orders AS
  SELECT p.order_id, p.payment_id AS payment, p.amount AS paid, o.amount, o.amount - p.amount AS open, o.state
  FROM payments p
  JOIN orders o ON p.order_id = o.order_id
  WHERE p.amount > 0;

CREATE STREAM big_orders AS
  SELECT order_id, product, amount FROM order_events WHERE amount >= 1000.0;
