-- Orders, their customers and their payments: tables that change, and views that take back what no longer holds.

CREATE TABLE customers (customer_id BIGINT PRIMARY KEY, name STRING, level STRING)
  WITH (KAFKA_TOPIC = 'customers', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4);

-- state: CREATED, VALIDATED, FAILED, SHIPPED or CANCELLED. The latest record of an order is its row.
CREATE TABLE orders (
    order_id BIGINT PRIMARY KEY,
    customer_id BIGINT,
    product STRING,
    quantity INTEGER,
    amount DECIMAL(18, 3),
    state STRING
  ) WITH (KAFKA_TOPIC = 'orders', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4);

-- A payment a order: the latest counts.
CREATE TABLE payments (order_id BIGINT PRIMARY KEY, payment_id BIGINT, amount DECIMAL(18, 3), method STRING)
  WITH (KAFKA_TOPIC = 'payments', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4);

-- The current state of every order.
CREATE TABLE current_orders
  WITH (KAFKA_TOPIC = 'current-orders', VALUE_FORMAT = 'AVRO') AS
  SELECT order_id, customer_id, product, quantity, amount, state
  FROM orders
  EMIT CHANGES;

-- Counts by state: an order that changes its state leaves the old count.
CREATE TABLE orders_by_state
  WITH (KAFKA_TOPIC = 'orders-by-state', VALUE_FORMAT = 'AVRO') AS
  SELECT state, COUNT(*) AS orders, SUM(amount) AS amount
  FROM orders
  GROUP BY state
  EMIT CHANGES;

-- Count and sum by customer, joined with the customer's name and level.
CREATE TABLE customer_totals
  WITH (KAFKA_TOPIC = 'customer-totals', VALUE_FORMAT = 'AVRO') AS
  SELECT customer_id, COUNT(*) AS orders, SUM(amount) AS amount
  FROM orders
  GROUP BY customer_id
  EMIT CHANGES;

CREATE TABLE customer_orders
  WITH (KAFKA_TOPIC = 'customer-orders', VALUE_FORMAT = 'AVRO') AS
  SELECT c.customer_id AS customer_id, c.name AS name, c.level AS level, t.orders AS orders, t.amount AS amount
  FROM customer_totals t
  JOIN customers c ON t.customer_id = c.customer_id
  EMIT CHANGES;

-- Orders with their payments; an order without one has NULL there.
CREATE TABLE paid_orders
  WITH (KAFKA_TOPIC = 'paid-orders', VALUE_FORMAT = 'AVRO') AS
  SELECT o.order_id AS order_id, o.customer_id AS customer_id, o.amount AS amount, o.state AS state,
    p.payment_id AS payment_id, p.amount AS paid, p.method AS method
  FROM orders o
  LEFT JOIN payments p ON o.order_id = p.order_id
  EMIT CHANGES;

-- The orders of a customer, newest first: the key begins with the customer, so a reader seeks instead of scanning. An order is a group of its own:
-- MAX is its value. One that is deleted, or goes to another customer, leaves.
--   SELECT * FROM orders_of_customer WHERE customer_id = 7 ORDER BY order_id DESC LIMIT 10
CREATE TABLE orders_of_customer
  WITH (KAFKA_TOPIC = 'orders-of-customer', KEY_FORMAT = 'JSON', VALUE_FORMAT = 'AVRO', PARTITIONS = 4) AS
  SELECT customer_id, order_id, MAX(product) AS product, MAX(quantity) AS quantity, MAX(amount) AS amount, MAX(state) AS state
  FROM orders
  GROUP BY customer_id, order_id
  EMIT CHANGES;
