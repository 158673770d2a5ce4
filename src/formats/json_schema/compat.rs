//! Whether a JSON Schema may follow another: the main rules of Confluent's registry (its `SchemaDiff`), which asks whether every text that one
//! schema takes is taken by the other.
//!
//! Compared: types, `properties` with `required` and the content model (`additionalProperties`), `items`, `enum`, `oneOf`, `anyOf`, `allOf`, `not`,
//! bounds of numbers, strings, arrays and objects. A property can only be added where the old schema is closed, and only be left out where the new
//! one is open. *Not compared*: `dependencies`, `if`, `contains`, `format`, `const` beside equality.

use serde_json::Value as Json;

use super::super::source::{CompatibilityLevel, SchemaText};
use super::model::{JsonSchema, Node};

/// Schemas nest at most so deep when they are compared.
const MOST_DEPTH: usize = 64;
/// Unions of unions can be compared in exponentially many ways; after so many pairs the answer is no.
const MOST_PAIRS: usize = 100_000;

/// The differences that forbid `new` beside `old` at a level.
///
/// # Errors
/// When `new` is no schema. An old one that cannot be parsed is a difference.
pub(in super::super) fn compare(
    level: CompatibilityLevel,
    new: &SchemaText,
    old: &SchemaText,
) -> Result<Vec<String>, String> {
    let new = JsonSchema::parse(new)?;
    let old = match JsonSchema::parse(old) {
        Ok(old) => old,
        Err(e) => return Ok(vec![format!("an earlier schema cannot be read: {e}")]),
    };
    let mut messages = Vec::new();
    if level.new_reads_old() {
        messages.extend(differences(old.root(), new.root()));
    }
    if level.old_reads_new() {
        messages.extend(differences(new.root(), old.root()));
    }
    Ok(messages)
}

fn differences(old: Node<'_>, new: Node<'_>) -> Vec<String> {
    let mut diff = Diff {
        found: Vec::new(),
        path: Vec::new(),
        open: Vec::new(),
        pairs: 0,
    };
    diff.schemas(Class::of(old), Class::of(new));
    diff.found
}

/// What a schema is at its top.
#[derive(Clone, Debug)]
enum Class<'a> {
    /// Takes everything.
    Any,
    /// Takes nothing.
    Nothing,
    Null,
    Boolean,
    String(Node<'a>),
    /// `true` for integers.
    Number(Node<'a>, bool),
    Object(Node<'a>),
    Array(Node<'a>),
    Enum(Vec<&'a Json>),
    Not(Node<'a>),
    Combined(Criterion, Vec<Class<'a>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Criterion {
    One,
    Any,
    All,
}

impl<'a> Class<'a> {
    fn of(node: Node<'a>) -> Self {
        match node.json {
            Json::Bool(false) => return Self::Nothing,
            Json::Object(members) if !members.is_empty() => {}
            _ => return Self::Any,
        }
        let mut parts = Vec::new();
        match node.get("type") {
            Some(Json::String(kind)) => parts.extend(Self::typed(node, kind)),
            Some(Json::Array(kinds)) => {
                let kinds = kinds
                    .iter()
                    .filter_map(Json::as_str)
                    .filter_map(|k| Self::typed(node, k));
                parts.push(Self::combined(Criterion::Any, kinds.collect()));
            }
            _ if node.get("properties").is_some() => parts.push(Self::Object(node)),
            _ if node.get("items").is_some() => parts.push(Self::Array(node)),
            _ => {}
        }
        if let Some(values) = node.get("enum").and_then(Json::as_array) {
            parts.push(Self::Enum(values.iter().collect()));
        }
        if let Some(value) = node.get("const") {
            parts.push(Self::Enum(vec![value]));
        }
        for (key, criterion) in [
            ("oneOf", Criterion::One),
            ("anyOf", Criterion::Any),
            ("allOf", Criterion::All),
        ] {
            if let Some(children) = node.children(key) {
                parts.push(Self::combined(criterion, children.into_iter().map(Self::of).collect()));
            }
        }
        if let Some(inner) = node.child("not") {
            parts.push(Self::Not(inner));
        }
        match parts.len() {
            0 => Self::Any,
            _ => Self::combined(Criterion::All, parts),
        }
    }

    /// A combination of one is that one.
    fn combined(criterion: Criterion, mut parts: Vec<Self>) -> Self {
        match (parts.len(), parts.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                parts.extend(last);
                Self::Combined(criterion, parts)
            }
        }
    }

    fn typed(node: Node<'a>, kind: &str) -> Option<Self> {
        Some(match kind {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "string" => Self::String(node),
            "integer" => Self::Number(node, true),
            "number" => Self::Number(node, false),
            "object" => Self::Object(node),
            "array" => Self::Array(node),
            _ => return None,
        })
    }
}

struct Diff {
    found: Vec<String>,
    path: Vec<String>,
    /// Pairs of objects and arrays that are being compared: what contains itself is compared once.
    open: Vec<(usize, usize)>,
    pairs: usize,
}

impl Diff {
    fn report(&mut self, kind: &str, what: impl std::fmt::Display) {
        self.found.push(format!("{kind} at #/{}: {what}", self.path.join("/")));
    }

    fn inside(&mut self, path: &[&str], f: impl FnOnce(&mut Self)) {
        let depth = self.path.len();
        self.path.extend(path.iter().map(ToString::to_string));
        if depth < MOST_DEPTH {
            f(self);
        }
        self.path.truncate(depth);
    }

    /// Whether a pair is compatible; what was found of it is dropped.
    fn fits(&mut self, old: &Class<'_>, new: &Class<'_>) -> bool {
        let before = self.found.len();
        self.schemas(old.clone(), new.clone());
        let fits = self.found.len() == before;
        self.found.truncate(before);
        fits
    }

    fn schemas(&mut self, old: Class<'_>, new: Class<'_>) {
        self.pairs += 1;
        if self.pairs > MOST_PAIRS {
            return self.report("TOO_COMPLEX", "the schemas have too many combinations to be compared");
        }
        match (old, new) {
            (Class::Nothing, _) | (_, Class::Any) => {}
            (Class::Null, Class::Null) | (Class::Boolean, Class::Boolean) => {}
            (Class::String(old), Class::String(new)) => self.strings(old, new),
            (Class::Number(old, was), Class::Number(new, is)) => self.numbers((old, was), (new, is)),
            (Class::Object(old), Class::Object(new)) => self.once(old, new, Self::objects),
            (Class::Array(old), Class::Array(new)) => self.once(old, new, Self::arrays),
            (Class::Enum(old), Class::Enum(new)) => {
                if let Some(gone) = old.iter().find(|v| !new.contains(v)) {
                    self.report("ENUM_ARRAY_CHANGED", format!("{gone} is no longer allowed"));
                }
            }
            // what the new one forbids, the old one must have forbidden
            (Class::Not(old), Class::Not(new)) => self.inside(&["not"], |d| d.schemas(Class::of(new), Class::of(old))),
            (Class::Combined(old, olds), Class::Combined(new, news)) => self.combined((old, &olds), (new, &news)),
            (old, Class::Combined(Criterion::One | Criterion::Any, branches)) => {
                if !branches.iter().any(|b| self.fits(&old, b)) {
                    self.report(
                        "TYPE_CHANGED",
                        "no branch of the new union takes what the old schema takes",
                    );
                }
            }
            (Class::Combined(Criterion::All, parts), new) => {
                if !parts.iter().any(|p| self.fits(p, &new)) {
                    self.report("TYPE_CHANGED", "the type is another one");
                }
            }
            _ => self.report("TYPE_CHANGED", "the type is another one"),
        }
    }

    fn once(&mut self, old: Node<'_>, new: Node<'_>, f: impl FnOnce(&mut Self, Node<'_>, Node<'_>)) {
        let pair = (old.place(), new.place());
        if !self.open.contains(&pair) {
            self.open.push(pair);
            f(self, old, new);
            self.open.pop();
        }
    }

    /// An upper bound may rise or go, a lower bound fall or go.
    fn bounds(&mut self, old: Node<'_>, new: Node<'_>, upper: &[&str], lower: &[&str]) {
        let number = |node: Node<'_>, key: &str| node.get(key).and_then(Json::as_f64);
        for (keys, is_upper) in [(upper, true), (lower, false)] {
            for key in keys {
                match (number(old, key), number(new, key)) {
                    (None, Some(bound)) => self.report("BOUND_ADDED", format!("{key} is now {bound}")),
                    (Some(was), Some(is)) if (is_upper && is < was) || (!is_upper && is > was) => {
                        self.report("BOUND_NARROWED", format!("{key} was {was} and is {is}"));
                    }
                    _ => {}
                }
            }
        }
    }

    fn strings(&mut self, old: Node<'_>, new: Node<'_>) {
        self.bounds(old, new, &["maxLength"], &["minLength"]);
        match (old.text("pattern"), new.text("pattern")) {
            (None, Some(pattern)) => self.report("PATTERN_ADDED", format!("{pattern:?}")),
            (Some(was), Some(is)) if was != is => self.report("PATTERN_CHANGED", format!("{was:?} is {is:?}")),
            _ => {}
        }
    }

    fn numbers(&mut self, (old, was_integer): (Node<'_>, bool), (new, is_integer): (Node<'_>, bool)) {
        if is_integer && !was_integer {
            self.report("TYPE_NARROWED", "numbers were allowed, now only integers are");
        }
        self.bounds(
            old,
            new,
            &["maximum", "exclusiveMaximum"],
            &["minimum", "exclusiveMinimum"],
        );
        match (old.get("multipleOf"), new.get("multipleOf")) {
            (None, Some(n)) => self.report("MULTIPLE_OF_ADDED", n),
            (Some(was), Some(is)) if was != is => {
                let whole = was
                    .as_f64()
                    .zip(is.as_f64())
                    .is_some_and(|(was, is)| is != 0.0 && was % is == 0.0);
                if !whole {
                    self.report("MULTIPLE_OF_CHANGED", format!("{was} is {is}"));
                }
            }
            _ => {}
        }
    }

    fn objects(&mut self, old: Node<'_>, new: Node<'_>) {
        let required = |node: Node<'_>, name: &str| {
            node.get("required")
                .and_then(Json::as_array)
                .is_some_and(|r| r.iter().any(|n| n == name))
        };
        let names = |node: Node<'_>| -> Vec<String> {
            node.object("properties")
                .into_iter()
                .flat_map(|p| p.keys().cloned())
                .collect()
        };
        for name in names(old) {
            let Some(was) = property(old, &name) else { continue };
            let path = ["properties", name.as_str()];
            match (property(new, &name), rest_of(new)) {
                (Some(is), _) => {
                    self.inside(&path, |d| {
                        d.schemas(Class::of(was), Class::of(is));
                        let has_default = is.get("default").is_some();
                        if required(new, &name) && !required(old, &name) && !has_default {
                            d.report("REQUIRED_ATTRIBUTE_ADDED", "it was optional");
                        }
                    });
                }
                (None, Class::Any) => {}
                (None, Class::Nothing) => self.inside(&path, |d| {
                    if !matches!(Class::of(was), Class::Nothing) {
                        d.report(
                            "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL",
                            "the new schema allows no other properties",
                        );
                    }
                }),
                (None, others) => self.inside(&path, |d| {
                    if !d.fits(&Class::of(was), &others) {
                        let kind = "PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL";
                        d.report(kind, "`additionalProperties` of the new schema does not take it");
                    }
                }),
            }
        }
        for name in names(new) {
            let (None, Some(is)) = (property(old, &name), property(new, &name)) else {
                continue;
            };
            let path = ["properties", name.as_str()];
            self.inside(&path, |d| d.added(&rest_of(old), is, required(new, &name)));
        }
        self.inside(&["additionalProperties"], |d| match (rest_of(old), rest_of(new)) {
            (Class::Nothing, _) | (_, Class::Any) => {}
            (_, Class::Nothing) => d.report("ADDITIONAL_PROPERTIES_REMOVED", "other properties were allowed"),
            (Class::Any, _) => d.report("ADDITIONAL_PROPERTIES_NARROWED", "any other property was allowed"),
            (was, is) => d.schemas(was, is),
        });
        self.bounds(old, new, &["maxProperties"], &["minProperties"]);
    }

    /// A property that only the new schema has; `others` is what the old one takes under that name.
    fn added(&mut self, others: &Class<'_>, is: Node<'_>, required: bool) {
        match others {
            Class::Any => {
                if !matches!(Class::of(is), Class::Any) {
                    let what =
                        "the old schema allows any value under this name; close it with additionalProperties: false";
                    self.report("PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", what);
                }
                return;
            }
            Class::Nothing => {}
            others => {
                if !self.fits(others, &Class::of(is)) {
                    let kind = "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL";
                    self.report(kind, "`additionalProperties` of the old schema allows other values");
                }
            }
        }
        if required && is.get("default").is_none() {
            self.report("REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL", "old texts lack it");
        }
    }

    fn arrays(&mut self, old: Node<'_>, new: Node<'_>) {
        self.inside(&["items"], |d| match (items(old), items(new)) {
            (_, None) => {}
            (None, Some(_)) => d.report("ITEMS_ADDED", "items of any type were allowed"),
            (Some(old), Some(new)) => d.schemas(Class::of(old), Class::of(new)),
        });
        self.bounds(old, new, &["maxItems"], &["minItems"]);
        let unique = |node: Node<'_>| node.get("uniqueItems") == Some(&Json::Bool(true));
        if unique(new) && !unique(old) {
            self.report("UNIQUE_ITEMS_ADDED", "items could be equal");
        }
    }

    fn combined(&mut self, (was, olds): (Criterion, &[Class<'_>]), (is, news): (Criterion, &[Class<'_>])) {
        use Criterion::{All, Any, One};
        match (was, is) {
            (One, One) | (Any, Any) | (All, All) | (One | All, Any) => {}
            (Any, One) => return self.report("COMBINED_TYPE_CHANGED", "anyOf became oneOf"),
            (One | Any, All) => return self.report("COMBINED_TYPE_CHANGED", "a union became allOf"),
            (All, One) => return self.report("COMBINED_TYPE_CHANGED", "allOf became oneOf"),
        }
        // of a union every old branch needs a new one of its own; of a product every new part needs an old one
        let (from, to): (&[Class<'_>], &[Class<'_>]) = if is == All { (news, olds) } else { (olds, news) };
        let mut edges = Vec::with_capacity(from.len());
        for a in from {
            let mut fitting = Vec::new();
            for (i, b) in to.iter().enumerate() {
                let fits = if is == All { self.fits(b, a) } else { self.fits(a, b) };
                if fits {
                    fitting.push(i);
                }
            }
            edges.push(fitting);
        }
        if !all_matched(&edges, to.len()) {
            let kind = if is == All {
                "PRODUCT_TYPE_EXTENDED"
            } else {
                "COMBINED_TYPE_SUBSCHEMAS_CHANGED"
            };
            self.report(kind, "a part of one schema has no counterpart in the other");
        }
    }
}

fn property<'a>(node: Node<'a>, name: &str) -> Option<Node<'a>> {
    let json = node.object("properties")?.get(name)?;
    Some(node.at(json).followed())
}

/// The schema of all items; a list of schemas, one an item, is not compared.
fn items(node: Node<'_>) -> Option<Node<'_>> {
    node.child("items").filter(|n| !n.json.is_array())
}

/// What an object takes under names that are not its properties.
fn rest_of(node: Node<'_>) -> Class<'_> {
    node.child("additionalProperties").map_or(Class::Any, Class::of)
}

/// Whether each of the left can have one of the right for itself.
fn all_matched(edges: &[Vec<usize>], right: usize) -> bool {
    fn find(i: usize, edges: &[Vec<usize>], taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
        edges[i].iter().any(|&j| {
            if std::mem::replace(&mut seen[j], true) {
                return false;
            }
            let free = match taken[j] {
                None => true,
                Some(other) => find(other, edges, taken, seen),
            };
            if free {
                taken[j] = Some(i);
            }
            free
        })
    }
    let mut taken = vec![None; right];
    (0..edges.len()).all(|i| find(i, edges, &mut taken, &mut vec![false; right]))
}
