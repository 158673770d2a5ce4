//! `millstream query`: one SELECT over a view of a running instance.

use clap::{Arg, Command};
use serde_json::{Value, json};

use super::{CommandSpec, Logs};
use crate::cli::http_client::Client;
use crate::cli::output::{self, Cell, Format};
use crate::cli::{Failure, Invocation, Outcome};

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "query",
    about: "Asks a view of a running instance: a table on a terminal, JSON when piped",
    examples: "\
Examples:
  millstream query 'SELECT title, rating FROM rated_movies ORDER BY rating DESC LIMIT 10'
  millstream query --output json 'SELECT * FROM orders_by_state' | jq .rows",
    arguments,
    logs: Logs::Stderr,
    run,
};

fn arguments(command: Command) -> Command {
    command.arg(
        Arg::new("sql")
            .value_name("SQL")
            .required(true)
            .help("A SELECT with WHERE, ORDER BY and LIMIT over one view"),
    )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let sql = invocation.matches.get_one::<String>("sql").map_or("", String::as_str);
    let url = &invocation.settings.list("url")[0];
    let answer = Client::new(url)?
        .send("POST", "/v1/query", json!({ "sql": sql }).to_string().as_bytes())?
        .json()?;
    match Format::of(&invocation.settings) {
        Format::Json => output::line(&answer.to_string()),
        Format::Text => output::raw(&render(&answer)?),
    }
    Ok(())
}

/// The answer as a table, with the number of rows below.
fn render(answer: &Value) -> Result<String, Failure> {
    let odd = || Failure::failed(format!("this answer has no columns and rows: {answer}"));
    let columns = answer.get("columns").and_then(Value::as_array).ok_or_else(odd)?;
    // A column is an object with its name and type.
    let name = |column: &Value| column.get("name").unwrap_or(column).as_str().map(str::to_owned);
    let columns: Option<Vec<String>> = columns.iter().map(name).collect();
    let columns = columns.ok_or_else(odd)?;
    let rows = answer.get("rows").and_then(Value::as_array).ok_or_else(odd)?;
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            columns
                .iter()
                .map(|column| Cell::json(row.get(column).unwrap_or(&Value::Null)))
                .collect()
        })
        .collect();
    let mut text = output::table(&columns, &cells);
    text.push_str(&match rows.len() {
        1 => "1 row\n".to_owned(),
        n => format!("{n} rows\n"),
    });
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_table_with_exact_numbers() {
        let answer: Value = serde_json::from_str(
            r#"{"columns":[{"name":"ID","type":"BIGINT"},{"name":"SUM","type":"DECIMAL(38, 3)"}],
                "rows":[{"ID":9007199254740993,"SUM":1447682.120},{"ID":2,"SUM":null}],"position":{}}"#,
        )
        .expect("JSON");
        assert_eq!(
            render(&answer).expect("a table"),
            "ID                SUM\n----------------  -----------\n9007199254740993  1447682.120\n               2  NULL\n2 rows\n"
        );
        assert!(render(&json!({"rows": []})).is_err());
    }
}
