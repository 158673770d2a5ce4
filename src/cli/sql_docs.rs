//! The parts of `docs/sql.md` that come from tables: what SET sets, formats, properties of WITH, functions. A test compares the committed page.
//!
//! The rest of the page is written by hand; a part stands between `<!-- NAME: made ... -->` and `<!-- end of NAME -->`.

use crate::expr::functions::{FAMILIES, Signature};
use crate::expr::{AGGREGATES, AggregateDoc, TABLE_FUNCTIONS};
use crate::sql::properties::PROPERTIES;
use crate::sql::settings::SETTINGS;
use crate::types::Format;

/// A part's name, and what makes it.
type Part = (&'static str, fn() -> String);

const PARTS: &[Part] = &[
    ("settings", settings),
    ("formats", formats),
    ("properties", properties),
    ("functions", functions),
];

/// The page with its parts made anew.
///
/// # Errors
/// When a part's marks are missing.
pub fn with_parts(page: &str) -> Result<String, String> {
    let mut page = page.to_owned();
    for (name, make) in PARTS {
        let (begin, end) = (format!("<!-- {name}: made"), format!("<!-- end of {name} -->"));
        let missing = || format!("the page has no part {name}: it stands between `{begin} ... -->` and `{end}`");
        let start = page.find(&begin).ok_or_else(missing)?;
        let first = start + page[start..].find('\n').ok_or_else(missing)? + 1;
        let last = first + page[first..].find(&end).ok_or_else(missing)?;
        page.replace_range(first..last, &format!("\n{}\n", make()));
    }
    Ok(page)
}

/// Text inside a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn table(head: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let columns = head.matches('|').count() - 1;
    let mut out = format!("{head}\n|{}\n", "---|".repeat(columns));
    for row in rows {
        out.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    out
}

fn settings() -> String {
    let rows = SETTINGS.iter().map(|s| {
        let name = format!("`{}`", s.name);
        vec![name, s.values(), s.default.into(), cell(s.doc)]
    });
    table("| property | value | unless set | |", rows)
}

fn formats() -> String {
    let rows = Format::ALL.iter().map(|format| {
        let can = format.features();
        let yes = |flag: bool| if flag { "yes" } else { "" }.to_string();
        vec![
            format!("`{format}`"),
            holds(*format).into(),
            yes(can.schemas),
            yes(can.unwraps),
            cell(takes(*format)),
        ]
    });
    table(
        "| format | bytes | columns from the registry | a column without a record around it | columns |",
        rows,
    )
}

fn holds(format: Format) -> &'static str {
    match format {
        Format::Avro => "Avro, in Confluent's wire format",
        Format::Json => "JSON text",
        Format::JsonSr => "JSON text with a JSON Schema, in Confluent's wire format",
        Format::Protobuf => "Protocol Buffers, in Confluent's wire format",
        Format::ProtobufNosr => "Protocol Buffers without a registry: fields numbered as the columns stand",
        Format::Delimited => "a line of text, columns separated by a comma or VALUE_DELIMITER",
        Format::Kafka => "Kafka's own serializers",
        Format::None => "no bytes: for keys of streams without key",
        Format::Internal => "our own",
    }
}

fn takes(format: Format) -> &'static str {
    match format {
        Format::Avro | Format::Json | Format::JsonSr => "all types; a MAP has STRING keys",
        Format::Protobuf | Format::ProtobufNosr => {
            "all types; a MAP has STRING keys; no ARRAY or MAP directly in another"
        }
        Format::Delimited => "no ARRAY, MAP or STRUCT",
        Format::Kafka => "one column: INTEGER, BIGINT, DOUBLE, STRING or BYTES",
        Format::None => "none",
        Format::Internal => "all types",
    }
}

fn properties() -> String {
    let rows = PROPERTIES.iter().map(|p| {
        let name = format!("`{}`", p.name);
        vec![name, p.with().into(), cell(p.doc)]
    });
    table("| property | in | |", rows)
}

fn functions() -> String {
    let mut out = String::new();
    for (family, signatures) in FAMILIES {
        out.push_str(&format!("### {family}\n\n"));
        let rows = signatures.chunk_by(|a, b| a.name == b.name).map(function);
        out.push_str(&table("| function | | example |", rows));
        out.push('\n');
    }
    for (family, all) in [
        ("Aggregate functions", AGGREGATES),
        ("Table functions", TABLE_FUNCTIONS),
    ] {
        out.push_str(&format!("### {family}\n\n"));
        out.push_str(&table("| function | |", all.iter().map(other)));
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// All signatures of a name: how it is called, what it does, an example.
fn function(signatures: &[Signature]) -> Vec<String> {
    let calls: Vec<String> = signatures.iter().map(|s| format!("`{s}` → `{}`", s.result())).collect();
    let mut docs: Vec<&str> = signatures.iter().map(|s| s.doc).collect();
    docs.dedup();
    let example = signatures.iter().find_map(|s| s.examples.first());
    let example = example.map_or(String::new(), |(call, gives)| format!("`{call}` → `{gives}`"));
    vec![cell(&calls.join("<br>")), cell(&docs.join("<br>")), cell(&example)]
}

fn other(doc: &AggregateDoc) -> Vec<String> {
    vec![cell(&format!("`{}({})`", doc.name, doc.arguments)), cell(doc.doc)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{self, CompileContext, NoSchemas, SourceFile, ViewCatalog};
    use crate::topology::Topology;
    use crate::types::RelationSchema;

    fn page() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sql.md");
        std::fs::read_to_string(path).expect("readable")
    }

    #[test]
    fn the_page_is_what_the_tables_say() {
        if std::env::var_os("MILLSTREAM_BLESS").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sql.md");
            std::fs::write(path, with_parts(&page()).expect("marks")).expect("writable");
        }
        let page = page();
        let now = with_parts(&page).expect("marks");
        let differs = page.lines().zip(now.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "docs/sql.md differs from the tables: run `make docs`");
        assert_eq!(page.len(), now.len());
    }

    /// The text between the fences of a language, in order.
    fn blocks(page: &str, language: &str) -> Vec<String> {
        let fence = format!("```{language}\n");
        let parts = page.split(&fence).skip(1);
        parts
            .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
            .collect()
    }

    fn compiled(text: String) -> Topology {
        let name = "sql.md".into();
        let file = SourceFile { name, text };
        let context = CompileContext { schemas: &NoSchemas };
        sql::compile(&file, &context).unwrap_or_else(|all| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            panic!("{}\n\nin\n{}", all.join("\n"), file.text)
        })
    }

    struct Views(Topology);

    impl ViewCatalog for Views {
        fn view(&self, _: Option<&str>, name: &str) -> Result<RelationSchema, String> {
            let view = self.0.views.iter().find(|view| &*view.name == name);
            view.map(|view| view.schema.clone())
                .ok_or_else(|| format!("there is no {name}"))
        }

        fn names(&self) -> Vec<String> {
            Vec::new()
        }
    }

    /// The first example is what the others are compiled with, each by itself; one that begins with SELECT is a query of a table.
    #[test]
    fn every_example_of_the_page_compiles() {
        let page = page();
        let examples = blocks(&page, "sql");
        assert!(examples.len() > 20, "{} examples", examples.len());
        let sources = &examples[0];
        let views = Views(compiled(sources.clone()));
        for example in &examples[1..] {
            if example.starts_with("SELECT") {
                let query = sql::query(example, &views);
                assert!(query.is_ok(), "{example}: {query:?}");
            } else {
                compiled(format!("{sources}\n{example}"));
            }
        }
    }

    #[test]
    fn every_statement_of_the_grammar_is_on_the_page() {
        let page = page();
        for word in [
            "CREATE",
            "INSERT INTO",
            "DROP",
            "ALTER",
            "CREATE TYPE",
            "DROP TYPE",
            "DEFINE",
            "UNDEFINE",
            "SET",
            "UNSET",
            "ASSERT",
        ] {
            let heading = page.lines().any(|line| line.starts_with("### ") && line.contains(word));
            assert!(heading, "{word} has no section");
        }
    }
}
