//! The orders job: states that change, counts that are taken back, joins, and the orders of a customer without a scan.

use serde_json::{Value, json};

use super::process::{Dev, TempDir, digits};
use crate::patience::eventually;

fn order(id: i64, customer: i64, amount: &str, state: &str) -> Value {
    json!({ "order_id": id, "customer_id": customer, "product": "Lamp", "quantity": 2, "amount": amount, "state": state })
}

/// State, count and sum, by state.
fn by_state(dev: &Dev) -> Vec<(String, i64, String)> {
    let mut rows: Vec<(String, i64, String)> = dev
        .try_query("SELECT * FROM orders_by_state")
        .unwrap_or_default()
        .iter()
        .map(|row| {
            (
                row["STATE"].as_str().expect("a state").into(),
                row["ORDERS"].as_i64().expect("a count"),
                digits(&row["AMOUNT"]),
            )
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn orders_change_and_counts_follow() {
    let data = TempDir::new("orders");
    let dev = Dev::start(&data.0, &["--no-sample"]);
    dev.post(
        "customers",
        &[
            json!({ "customer_id": 1, "name": "Ada", "level": "gold" }),
            json!({ "customer_id": 2, "name": "Bo", "level": "silver" }),
        ],
    );
    dev.post(
        "orders",
        &[
            order(10, 1, "9007199254740.125", "CREATED"),
            order(11, 1, "0.100", "CREATED"),
            order(12, 2, "0.200", "CREATED"),
        ],
    );
    let state = |name: &str, count: i64, sum: &str| (name.to_owned(), count, sum.to_owned());
    eventually("three created orders", || {
        (by_state(&dev) == [state("CREATED", 3, "9007199254740.425")]).then_some(())
    });

    dev.post(
        "orders",
        &[
            order(10, 1, "9007199254740.125", "VALIDATED"),
            order(12, 2, "0.200", "CANCELLED"),
        ],
    );
    let expected = [
        state("CANCELLED", 1, "0.200"),
        state("CREATED", 1, "0.100"),
        state("VALIDATED", 1, "9007199254740.125"),
    ];
    eventually("counts that left their old states", || {
        (by_state(&dev) == expected).then_some(())
    });
    dev.post("orders", &[order(11, 1, "0.100", "VALIDATED")]);
    eventually("an emptied state to go", || {
        by_state(&dev).iter().all(|(name, ..)| name != "CREATED").then_some(())
    });

    let customers = eventually("customers with their totals", || {
        let rows = dev.try_query("SELECT * FROM customer_orders ORDER BY customer_id")?;
        (rows.len() == 2 && rows[0]["ORDERS"] == json!(2)).then_some(rows)
    });
    assert_eq!(
        (&customers[0]["NAME"], &customers[0]["LEVEL"]),
        (&json!("Ada"), &json!("gold"))
    );
    assert_eq!(digits(&customers[0]["AMOUNT"]), "9007199254740.225");

    dev.post(
        "payments",
        &[json!({ "order_id": 11, "payment_id": 5, "amount": "0.100", "method": "card" })],
    );
    let paid = eventually("the payment to be joined", || {
        let rows = dev.try_query("SELECT * FROM paid_orders WHERE order_id = 11")?;
        rows.first().filter(|row| row["METHOD"] == json!("card")).cloned()
    });
    assert_eq!(digits(&paid["PAID"]), "0.100");
    let unpaid = dev.query("SELECT * FROM paid_orders WHERE order_id = 12");
    assert_eq!(
        (&unpaid[0]["STATE"], &unpaid[0]["PAID"]),
        (&json!("CANCELLED"), &Value::Null)
    );

    let newest = eventually("the orders of a customer", || {
        let rows = dev
            .try_query("SELECT order_id, state FROM orders_of_customer WHERE customer_id = 1 ORDER BY order_id DESC")?;
        (rows.len() == 2).then_some(rows)
    });
    let ids: Vec<Option<i64>> = newest.iter().map(|row| row["ORDER_ID"].as_i64()).collect();
    assert_eq!(ids, [Some(11), Some(10)]);
    let (status, page) = dev.http("/v1/views/orders_of_customer/rows?prefix=1&order=desc&limit=1", None);
    assert_eq!((status, &page["rows"][0]["ORDER_ID"]), (200, &json!(11)), "{page}");

    // An order that is deleted leaves, and so does one that goes to another customer.
    let (status, answer) = dev.http(
        "/v1/streams/orders",
        Some(&json!({ "key": { "order_id": 11 }, "value": null })),
    );
    assert_eq!(status, 200, "{answer}");
    dev.post("orders", &[order(10, 2, "1.000", "VALIDATED")]);
    eventually("the orders to leave", || {
        let rows = dev.try_query("SELECT customer_id, order_id FROM orders_of_customer ORDER BY order_id")?;
        let ids: Vec<_> = rows
            .iter()
            .map(|row| (row["CUSTOMER_ID"].as_i64(), row["ORDER_ID"].as_i64()))
            .collect();
        (ids == [(Some(2), Some(10)), (Some(2), Some(12))]).then_some(())
    });

    // What a schema does not allow is refused before it is written.
    let (status, answer) = dev.http(
        "/v1/streams/orders",
        Some(&json!({ "value": order(13, 1, "0.1234", "CREATED") })),
    );
    assert!((400..500).contains(&status), "{answer}");
    dev.stop();
}
