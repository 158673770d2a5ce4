//! 541,909 order lines through `millstream load`: a customer's total is the one computed from the file in exact decimals.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use super::process::{Dev, TempDir, digits, shared};
use crate::patience::eventually;

/// Lines, pieces and thousandths of a customer.
type Totals = BTreeMap<String, (i64, i64, i64)>;

/// A decimal text as thousandths.
fn thousandths(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole: i64 = whole.trim_start_matches('-').parse().expect("a number");
    let fraction: i64 = format!("{fraction:0<3}").parse().expect("at most three decimals");
    sign * (whole * 1_000 + fraction)
}

/// Fields of a CSV line; the file's only quoted column is the description.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

fn from_file(file: &std::path::Path) -> Totals {
    let mut totals = Totals::new();
    let text = BufReader::new(flate2::read::MultiGzDecoder::new(
        std::fs::File::open(file).expect("the file"),
    ));
    for line in text.lines().skip(1) {
        let fields = fields(&line.expect("a line"));
        let quantity: i64 = fields[3].parse().expect("a quantity");
        let customer = if fields[6].is_empty() { "unknown" } else { &fields[6] };
        let entry = totals.entry(customer.to_owned()).or_default();
        entry.0 += 1;
        entry.1 += quantity;
        entry.2 += quantity * thousandths(&fields[5]);
    }
    totals
}

#[test]
fn totals_of_customers_are_exact() {
    let Some(file) = shared("online-retail/online-retail.csv.gz") else {
        return;
    };
    let data = TempDir::new("retail");
    let dev = Dev::start(&data.0, &["--no-sample", "--workers", "2"]);
    dev.load("retail_lines", &file);
    let expected = from_file(&file);
    let lines: i64 = expected.values().map(|(lines, ..)| lines).sum();
    assert_eq!((lines, expected["unknown"].0), (541_909, 135_080));
    let rows = eventually("all lines to be counted", || {
        let rows = dev.try_query("SELECT * FROM retail_totals")?;
        let counted: i64 = rows.iter().filter_map(|row| row["LINES"].as_i64()).sum();
        (counted == lines).then_some(rows)
    });
    let found: Totals = rows
        .iter()
        .map(|row| {
            let number = |name: &str| row[name].as_i64().expect("a number");
            let total = thousandths(&digits(&row["TOTAL"]));
            (
                row["CUSTOMER"].as_str().expect("a name").to_owned(),
                (number("LINES"), number("PIECES"), total),
            )
        })
        .collect();
    assert_eq!(found.len(), expected.len());
    for (customer, totals) in &expected {
        assert_eq!(found.get(customer), Some(totals), "{customer}");
    }
    dev.stop();
}
