//! `millstream functions`: the SQL functions, from the tables that the compiler checks calls with.

use clap::{Arg, Command};
use serde_json::{Value, json};

use super::{CommandSpec, Logs};
use crate::cli::output::{self, Cell, Format};
use crate::cli::{Failure, Invocation, Outcome};
use crate::expr::functions::{FAMILIES, Signature, all, named};
use crate::expr::{AGGREGATES, AggregateDoc, TABLE_FUNCTIONS};

/// Functions that are no expressions of one row, and how a family of them is called.
const OTHERS: &[(&str, &[AggregateDoc])] = &[("Aggregates", AGGREGATES), ("Table functions", TABLE_FUNCTIONS)];

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "functions",
    about: "Lists the SQL functions, or tells all about one",
    examples: "\
Examples:
  millstream functions
  millstream functions format_timestamp",
    arguments,
    logs: Logs::Own,
    run,
};

fn arguments(command: Command) -> Command {
    command.arg(
        Arg::new("name")
            .value_name("NAME")
            .help("The function; all of them unless named"),
    )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let format = Format::of(&invocation.settings);
    let Some(name) = invocation.matches.get_one::<String>("name") else {
        match format {
            Format::Text => output::raw(&list()),
            Format::Json => output::line(&list_json().to_string()),
        }
        return Ok(());
    };
    let name = name.to_uppercase();
    let (signatures, other) = (named(&name), others().find(|(_, other)| other.name == name));
    if signatures.is_empty() && other.is_none() {
        return Err(unknown(&name));
    }
    match format {
        Format::Text => output::raw(&one(&signatures, other)),
        Format::Json => output::line(&one_json(&signatures, other).to_string()),
    }
    Ok(())
}

type Other = (&'static str, &'static AggregateDoc);

fn others() -> impl Iterator<Item = Other> {
    OTHERS
        .iter()
        .flat_map(|(family, all)| all.iter().map(move |one| (*family, one)))
}

fn unknown(name: &str) -> Failure {
    let like: Vec<&str> = names().into_iter().filter(|known| known.contains(name)).collect();
    let hint = match like.as_slice() {
        [] => "`millstream functions` lists them all".to_string(),
        like => format!("there is {}", like.join(", ")),
    };
    Failure::usage(format!("there is no function {name}; {hint}"))
}

/// Every name once, in the order of the alphabet.
fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = all().map(|f| f.name).chain(others().map(|(_, o)| o.name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The signatures of a family by name; a name's signatures stand together.
fn by_name(signatures: &'static [Signature]) -> Vec<&'static [Signature]> {
    signatures.chunk_by(|a, b| a.name == b.name).collect()
}

/// The result as the manual has it.
fn signature(function: &Signature) -> String {
    format!("{function} -> {}", function.result())
}

fn list() -> String {
    let mut text = String::new();
    let mut family = |title: &str, rows: Vec<Vec<Cell>>| {
        text.push_str(&format!("{title}\n"));
        let width = rows.iter().map(|row| row[0].width()).max().unwrap_or(0);
        for row in &rows {
            text.push_str(&format!("  {:width$}  {}\n", row[0].text(), row[1].text()));
        }
        text.push('\n');
    };
    for (title, signatures) in FAMILIES {
        let row = |of: &&[Signature]| vec![Cell::left(of[0].name), Cell::left(of[0].doc)];
        family(title, by_name(signatures).iter().map(row).collect());
    }
    let row = |a: &AggregateDoc| vec![Cell::left(a.name), Cell::left(a.doc)];
    for (title, all) in OTHERS {
        family(title, all.iter().map(row).collect());
    }
    text.push_str("`millstream functions NAME` shows how one is called, with examples.\n");
    text
}

fn one(signatures: &[&'static Signature], other: Option<Other>) -> String {
    let mut text = String::new();
    for function in signatures {
        text.push_str(&format!("{}\n  {}\n", signature(function), function.doc));
        for (call, gives) in function.examples {
            text.push_str(&format!("  {call}  =>  {gives}\n"));
        }
        text.push('\n');
    }
    if let Some((family, other)) = other {
        text.push_str(&format!(
            "{}({})\n  {family}. {}\n\n",
            other.name, other.arguments, other.doc
        ));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn signature_json(function: &Signature) -> Value {
    let params: Vec<String> = function.params.iter().map(ToString::to_string).collect();
    let examples: Vec<Value> = function
        .examples
        .iter()
        .map(|(call, gives)| json!({ "call": call, "gives": gives }))
        .collect();
    json!({
        "parameters": params,
        "variadic": function.variadic,
        "returns": function.result(),
        "doc": function.doc,
        "examples": examples,
    })
}

fn other_json((family, other): Other) -> Value {
    json!({ "name": other.name, "family": family, "arguments": other.arguments, "doc": other.doc })
}

fn list_json() -> Value {
    let scalar = FAMILIES.iter().flat_map(|(family, signatures)| {
        by_name(signatures).into_iter().map(move |of| {
            let signatures: Vec<Value> = of.iter().map(signature_json).collect();
            json!({ "name": of[0].name, "family": family, "doc": of[0].doc, "signatures": signatures })
        })
    });
    let all: Vec<Value> = scalar.chain(others().map(other_json)).collect();
    json!({ "functions": all })
}

fn one_json(signatures: &[&'static Signature], other: Option<Other>) -> Value {
    let Some(first) = signatures.first() else {
        return other.map_or(Value::Null, other_json);
    };
    let signatures: Vec<Value> = signatures.iter().map(|function| signature_json(function)).collect();
    json!({ "name": first.name, "doc": first.doc, "signatures": signatures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_name_and_one_function_all_its_calls() {
        let text = list();
        for name in names() {
            assert!(text.contains(&format!("  {name} ")), "{name}");
        }
        let text = one(&named("INSTR"), None);
        assert!(text.contains("INSTR(STRING, STRING, INTEGER) -> INTEGER\n"), "{text}");
        assert!(
            text.contains("INSTR('CORPORATE FLOOR', 'OR', 3, 2)  =>  14\n"),
            "{text}"
        );
        let json = one_json(&named("GREATEST"), None);
        assert_eq!(json["signatures"][0]["variadic"], true);
        assert_eq!(json["signatures"][0]["returns"], "INTEGER");
        assert!(list_json()["functions"].as_array().is_some_and(|all| all.len() > 140));
    }

    #[test]
    fn an_unknown_name_is_answered_with_names_like_it() {
        assert_eq!(
            unknown("REGEXP"),
            Failure::usage(
                "there is no function REGEXP; there is REGEXP_EXTRACT, REGEXP_EXTRACT_ALL, REGEXP_REPLACE, REGEXP_SPLIT_TO_ARRAY"
            )
        );
    }
}
