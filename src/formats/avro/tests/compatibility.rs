use super::super::super::CompatibilityLevel as Level;
use super::super::super::source::{Compatibility, SchemaReference, SchemaText};
use super::super::compat::check;

struct Case<'a> {
    name: &'a str,
    new: SchemaText,
    old: SchemaText,
    backward: bool,
    forward: bool,
}

fn cases() -> Vec<Case<'static>> {
    let text = include_str!("../testdata/compat.txt");
    let lines: Vec<&str> = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let (groups, rest) = lines.as_chunks::<3>();
    assert!(rest.is_empty(), "a case is three lines");
    let case = |[head, new, old]: &[&'static str; 3]| {
        let (name, answers) = head.strip_prefix("case ").unwrap().rsplit_once(": ").unwrap();
        let (backward, forward) = answers.split_once(' ').unwrap();
        Case {
            name,
            new: SchemaText::avro(new.strip_prefix("new ").unwrap()),
            old: SchemaText::avro(old.strip_prefix("old ").unwrap()),
            backward: backward == "yes",
            forward: forward == "yes",
        }
    };
    groups.iter().map(case).collect()
}

#[test]
fn answers_as_the_java_rules_do() {
    for case in cases() {
        let levels = [
            (Level::None, true),
            (Level::Backward, case.backward),
            (Level::BackwardTransitive, case.backward),
            (Level::Forward, case.forward),
            (Level::ForwardTransitive, case.forward),
            (Level::Full, case.backward && case.forward),
            (Level::FullTransitive, case.backward && case.forward),
        ];
        for (level, expected) in levels {
            let answer = check(level, &case.new, std::slice::from_ref(&case.old)).unwrap();
            assert_eq!(answer.is_compatible(), expected, "{} at {level}: {answer:?}", case.name);
        }
    }
}

#[test]
fn transitive_levels_look_at_all_versions() {
    let (int, long, double) = ("\"int\"", "\"long\"", "\"double\"");
    let schema = |t: &str| SchemaText::avro(t);
    let old = [schema(long), schema(double)];
    assert!(check(Level::Backward, &schema(long), &old).unwrap().is_compatible());
    assert!(
        !check(Level::BackwardTransitive, &schema(long), &old)
            .unwrap()
            .is_compatible()
    );
    assert!(
        !check(Level::Forward, &schema(double), &[schema(int)])
            .unwrap()
            .is_compatible()
    );
    assert!(check(Level::Backward, &schema("{"), &[]).is_err());
}

#[test]
fn messages_name_the_path_and_the_difference() {
    let new =
        r#"{"type":"record","name":"A","fields":[{"name":"x","type":"int"},{"name":"y","type":["null","string"]}]}"#;
    let old = r#"{"type":"record","name":"A","fields":[{"name":"y","type":["null","long"]}]}"#;
    let answer = check(Level::Backward, &SchemaText::avro(new), &[SchemaText::avro(old)]).unwrap();
    let expected = [
        "READER_FIELD_MISSING_DEFAULT_VALUE at /fields/0: the field 'x' of the new schema has no default value and is missing \
         in the old schema",
        "MISSING_UNION_BRANCH at /fields/1/type/1: the union of the new schema lacks long of the old schema",
    ];
    assert_eq!(answer, Compatibility::Incompatible(expected.map(String::from).into()));
}

#[test]
fn references_are_followed() {
    let customer = |t: &str| {
        let text = format!(r#"{{"type":"record","name":"x.Customer","fields":[{{"name":"id","type":"{t}"}}]}}"#);
        SchemaReference {
            name: "x.Customer".into(),
            subject: "customers".into(),
            version: 1,
            resolved: Some(SchemaText::avro(text).into()),
        }
    };
    let order = |reference: SchemaReference| SchemaText {
        text: r#"{"type":"record","name":"Order","fields":[{"name":"by","type":"x.Customer"}]}"#.into(),
        references: vec![reference],
        ..SchemaText::default()
    };
    let (int, long) = (order(customer("int")), order(customer("long")));
    assert!(
        check(Level::Backward, &long, std::slice::from_ref(&int))
            .unwrap()
            .is_compatible()
    );
    assert!(!check(Level::Backward, &int, &[long]).unwrap().is_compatible());
    let mut unresolved = int;
    unresolved.references[0].resolved = None;
    assert!(check(Level::Backward, &unresolved, &[]).is_err());
}

#[test]
fn types_that_refer_to_each_other_many_ways_take_no_time() {
    let mut fields = String::new();
    let record = |i: usize, inner: &str| {
        format!(
            r#"{{"type":"record","name":"R{i}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"R{}"}}]}}"#,
            i + 1
        )
    };
    fields.push_str(r#"{"type":"record","name":"R40","fields":[{"name":"a","type":"int"}]}"#);
    for i in (0..40).rev() {
        fields = record(i, &fields);
    }
    let new = SchemaText::avro(fields.replace("\"int\"", "\"string\""));
    let answer = check(Level::Full, &new, &[SchemaText::avro(fields)]).unwrap();
    assert!(!answer.is_compatible());
}
