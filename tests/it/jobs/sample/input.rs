//! The records that flow while the process is killed, and what has been sent of them so far.

use std::collections::BTreeMap;
use std::sync::Arc;

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use millstream::log::{TopicHandle, partition_for_key};
use parking_lot::Mutex;

use super::super::load::{Sender, Ticks};
use super::super::random::Random;
use super::ground::Ground;

const RATINGS_A_TICK: usize = 10;
/// Movies with a line; ratings also name one that has none.
pub const MOVIES: i64 = 60;
pub const CUSTOMERS: i64 = 20;
/// Partitions of the keyed input topics, as the SQL says.
const PARTITIONS: i32 = 4;
pub const STATES: [&str; 4] = ["CREATED", "VALIDATED", "SHIPPED", "CANCELLED"];

/// The newest record of an order.
#[derive(Clone)]
pub struct Order {
    pub customer: i64,
    pub quantity: i32,
    /// In thousandths.
    pub amount: i64,
    pub state: usize,
}

/// Lines, pieces and thousandths of a customer's retail lines.
pub type Totals = (i64, i64, i64);

/// Everything that has been acknowledged.
#[derive(Default)]
pub struct Sent {
    /// A movie's ratings in order.
    pub ratings: BTreeMap<i64, Vec<f64>>,
    pub bad_lines: usize,
    pub orders: BTreeMap<i64, Order>,
    /// Number and thousandths of an order's payment.
    pub payments: BTreeMap<i64, (i64, i64)>,
    pub retail: BTreeMap<String, Totals>,
}

/// What has been sent, shared with the thread that sends.
#[derive(Default)]
pub struct Input(Mutex<Sent>);

impl Input {
    /// Looks at it.
    pub fn with<T>(&self, look: impl FnOnce(&Sent) -> T) -> T {
        look(&self.0.lock())
    }

    pub fn ratings(&self) -> usize {
        self.with(|sent| sent.ratings.values().map(Vec::len).sum())
    }

    pub fn orders(&self) -> usize {
        self.with(|sent| sent.orders.len())
    }

    pub fn retail(&self) -> i64 {
        self.with(|sent| sent.retail.values().map(|totals| totals.0).sum())
    }
}

fn create_topics(cluster: &Ground) {
    let keyed = ["customers", "orders", "payments", "retail-lines"].map(|name| (name, PARTITIONS));
    cluster.create_topics(&keyed, &[]);
    cluster.create_topics(&[("raw-movies", 1), ("raw-ratings", 1)], &[]);
}

/// What sends a few records of every kind, and notes them when all are acknowledged.
pub struct Ratings {
    input: Arc<Input>,
    sender: Sender,
    topics: BTreeMap<&'static str, TopicHandle>,
    schemas: BTreeMap<&'static str, (u32, apache_avro::Schema)>,
    random: Random,
}

impl Ratings {
    /// Creates the input topics, sends movies and customers.
    pub fn of(cluster: &Ground, input: &Arc<Input>) -> Self {
        create_topics(cluster);
        let mut sender = Sender::new(cluster);
        let names = [
            "raw-movies",
            "raw-ratings",
            "customers",
            "orders",
            "payments",
            "retail-lines",
        ];
        let topics = names.map(|name| (name, sender.topic(&cluster.topic(name))));
        let schemas = ["customers", "orders", "payments"].map(|name| (name, cluster.schema(name)));
        let mut ratings = Self {
            input: input.clone(),
            sender,
            topics: topics.into(),
            schemas: schemas.into(),
            random: Random::of_run("ratings"),
        };
        ratings.fixtures();
        ratings
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    fn send(&mut self, topic: &str, partition: i32, key: Option<&[u8]>, value: &[u8]) {
        let topic = self.topics[topic];
        self.sender.send(topic, partition, 1_700_000_000_000, key, Some(value));
    }

    fn send_avro(&mut self, topic: &'static str, key: i64, fields: Vec<(&str, Value)>) {
        let (id, schema) = &self.schemas[topic];
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let datum = GenericDatumWriter::builder(schema)
            .build()
            .expect("a writer")
            .write_value_to_vec(Value::Record(fields))
            .expect("a record of the schema");
        let value = [&[0][..], &id.to_be_bytes(), &datum].concat();
        let key = key.to_be_bytes();
        self.send(topic, partition_for_key(&key, PARTITIONS), Some(&key), &value);
    }

    fn fixtures(&mut self) {
        for id in 1..=MOVIES {
            let line = format!(
                "{id}::Movie {id}::{}::90::US::7.5::100::Drama::A|B::D::C::W::P::X|Y",
                1950 + id
            );
            self.send("raw-movies", 0, None, line.as_bytes());
        }
        for id in 0..CUSTOMERS {
            let fields = vec![
                ("name", Value::String(format!("Customer {id}"))),
                ("level", Value::String("gold".into())),
            ];
            self.send_avro("customers", id, fields);
        }
        self.sender.flush();
    }

    fn send_some(&mut self, tick: i64, sent: &mut Sent) {
        let ratings: Vec<(i64, f64)> = (0..RATINGS_A_TICK).map(|_| self.rating()).collect();
        for (user, (movie, rating)) in ratings.iter().enumerate() {
            self.send("raw-ratings", 0, None, format!("{user}::{movie}::{rating}").as_bytes());
        }
        let bad = tick % 50 == 7;
        if bad {
            self.send("raw-ratings", 0, None, b"this line is no rating");
        }
        let order = self.order(tick, sent);
        let payment = (tick % 3 == 0).then(|| self.payment(tick, order.0));
        let (customer, totals) = self.retail_line(tick);
        self.sender.flush();
        for (movie, rating) in ratings {
            sent.ratings.entry(movie).or_default().push(rating);
        }
        sent.bad_lines += usize::from(bad);
        sent.orders.insert(order.0, order.1);
        sent.payments.extend(payment);
        let sum = sent.retail.entry(customer).or_default();
        *sum = (sum.0 + totals.0, sum.1 + totals.1, sum.2 + totals.2);
    }

    /// A skewed choice of movies, one of them without a line; halves, so that sums are exact.
    fn rating(&mut self) -> (i64, f64) {
        let most = 1 + self.below(MOVIES as u64 + 1);
        let movie = 1 + self.below(most) as i64;
        (movie, (2 + self.below(19)) as f64 / 2.0)
    }

    /// A new order, or the next state of one.
    fn order(&mut self, tick: i64, sent: &Sent) -> (i64, Order) {
        let older = self.below(tick.max(1) as u64) as i64;
        let (id, order) = match sent.orders.get(&older) {
            Some(order) if tick % 2 == 1 => {
                let state = if order.state == 0 {
                    1
                } else {
                    2 + self.below(2) as usize
                };
                (older, Order { state, ..order.clone() })
            }
            _ => {
                let (customer, quantity) = (self.below(CUSTOMERS as u64) as i64, 1 + self.below(5) as i32);
                let amount = 1 + self.below(100_000) as i64;
                (
                    tick,
                    Order {
                        customer,
                        quantity,
                        amount,
                        state: 0,
                    },
                )
            }
        };
        let fields = vec![
            ("customer_id", Value::Long(order.customer)),
            ("product", Value::String("book".into())),
            ("quantity", Value::Int(order.quantity)),
            ("amount", decimal(order.amount)),
            (
                "state",
                Value::Enum(state_symbol(order.state), STATES[order.state].into()),
            ),
        ];
        self.send_avro("orders", id, fields);
        (id, order)
    }

    fn payment(&mut self, tick: i64, order: i64) -> (i64, (i64, i64)) {
        let amount = 1 + self.below(100_000) as i64;
        let fields = vec![
            ("payment_id", Value::Long(tick)),
            ("amount", decimal(amount)),
            ("method", Value::String("card".into())),
        ];
        self.send_avro("payments", order, fields);
        (order, (tick, amount))
    }

    /// A line of a shop; some without a customer, some cancelled.
    fn retail_line(&mut self, tick: i64) -> (String, Totals) {
        let customer = (tick % 7 != 0).then(|| format!("C{}", self.below(15)));
        let (quantity, price) = (self.below(12) as i64 - 2, self.below(20_000) as i64);
        let line = format!(
            r#"{{"INVOICE_NO":"{tick}","STOCK_CODE":"s","DESCRIPTION":"d","QUANTITY":{quantity},"INVOICE_DATE":"2010-12-01","UNIT_PRICE":{}.{:03},"CUSTOMER_ID":{},"COUNTRY":"UK"}}"#,
            price / 1000,
            price % 1000,
            customer.as_ref().map_or("null".into(), |name| format!("\"{name}\""))
        );
        self.send(
            "retail-lines",
            (tick % i64::from(PARTITIONS)) as i32,
            None,
            line.as_bytes(),
        );
        (
            customer.unwrap_or_else(|| "unknown".into()),
            (1, quantity, quantity * price),
        )
    }
}

impl Ticks for Ratings {
    fn tick(&mut self, tick: i64) {
        let input = self.input.clone();
        self.send_some(tick, &mut input.0.lock());
    }
}

/// The position of a state among the schema's symbols.
fn state_symbol(state: usize) -> u32 {
    [0, 1, 3, 4][state]
}

fn decimal(thousandths: i64) -> Value {
    Value::Decimal(thousandths.to_be_bytes().into())
}
