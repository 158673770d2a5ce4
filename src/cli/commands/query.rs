//! `millstream query`: one SELECT over a view of a running instance.

use clap::{Arg, Command};
use serde_json::{Value, json};

use super::{CommandSpec, Logs};
use crate::cli::http_client::{Client, percent_encoded};
use crate::cli::output::{self, Cell, Format};
use crate::cli::{Failure, Invocation, Outcome};

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "query",
    about: "Asks a view of a running instance: a table on a terminal, JSON when piped",
    examples: "\
Examples:
  millstream query 'SELECT title, rating FROM rated_movies ORDER BY rating DESC LIMIT 10'
  millstream query --output json 'SELECT * FROM orders_by_state' | jq .rows
  millstream query --after ratings:0:119 --max-staleness 10s 'SELECT COUNT(*) FROM rated_movies'",
    arguments,
    logs: Logs::Stderr,
    run,
};

/// Arguments that are parameters of the request, by the same names: value and help.
const PARAMETERS: [(&str, &str, &str); 3] = [
    (
        "after",
        "TOKEN",
        "Wait until the view reflects this: the token of a write, or topic:partition:offset,...",
    ),
    (
        "max-staleness",
        "TIME",
        "Where the owner of rows is away, a copy of at most this age may answer, such as 10s; owners only unless told",
    ),
    ("timeout", "TIME", "How long --after waits, such as 30s; 5s unless told"),
];

fn arguments(command: Command) -> Command {
    let argument = |(name, value, help): (&'static str, &'static str, &'static str)| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    command
        .arg(
            Arg::new("sql")
                .value_name("SQL")
                .required(true)
                .help("A SELECT with WHERE, ORDER BY and LIMIT over one view"),
        )
        .args(PARAMETERS.map(argument))
}

/// `/v1/query`, with what was given.
fn path<'a>(given: impl Fn(&str) -> Option<&'a str>) -> String {
    let parameters = PARAMETERS
        .iter()
        .filter_map(|(name, ..)| Some(format!("{name}={}", percent_encoded(given(name)?))));
    let parameters: Vec<String> = parameters.collect();
    match parameters.is_empty() {
        true => "/v1/query".to_owned(),
        false => format!("/v1/query?{}", parameters.join("&")),
    }
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let sql = invocation.matches.get_one::<String>("sql").map_or("", String::as_str);
    let url = &invocation.settings.list("url")[0];
    let path = path(|name| invocation.matches.get_one::<String>(name).map(String::as_str));
    let answer = Client::new(url)?
        .send("POST", &path, json!({ "sql": sql }).to_string().as_bytes())?
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
    for copy in answer.get("standby").and_then(Value::as_array).into_iter().flatten() {
        let (partition, behind) = (&copy["partition"], &copy["behind_ms"]);
        text.push_str(&format!(
            "partition {partition} is a standby's, at most {behind} ms old\n"
        ));
    }
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
        let copied = json!({"columns": [], "rows": [], "standby": [{"partition": 3, "behind_ms": 40}]});
        let text = render(&copied).expect("a table");
        assert!(
            text.ends_with("partition 3 is a standby's, at most 40 ms old\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_given_goes_into_the_request() {
        assert_eq!(path(|_| None), "/v1/query");
        let given = |name: &str| match name {
            "after" => Some("a b:0:1"),
            "timeout" => Some("30s"),
            _ => None,
        };
        assert_eq!(path(given), "/v1/query?after=a%20b%3A0%3A1&timeout=30s");
    }
}
