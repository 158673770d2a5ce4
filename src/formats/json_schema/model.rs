//! JSON Schema documents and the references between them.
//!
//! A reference is a pointer into the same document (`#/definitions/Address`, `#`), another document by the name that the registry's reference
//! gives it (or by its `$id`), or a pointer into that (`address.json#/definitions/City`).

use serde_json::{Map, Value as Json};

use super::super::source::{SchemaText, SchemaType};

/// References lead from one to the next at most so often.
const MOST_STEPS: usize = 32;

/// A parsed schema with the documents that it refers to.
#[derive(Debug)]
pub(crate) struct JsonSchema {
    /// The schema itself first.
    documents: Vec<(String, Json)>,
}

/// A schema inside of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    schema: &'a JsonSchema,
    document: usize,
    pub(super) json: &'a Json,
}

impl JsonSchema {
    /// Parses a schema whose references are resolved, and checks that all pointers lead somewhere.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(schema: &SchemaText) -> Result<Self, String> {
        if schema.schema_type != SchemaType::Json {
            return Err(format!("it is a {} schema, not a JSON Schema", schema.schema_type));
        }
        let mut parsed = Self { documents: Vec::new() };
        parsed.add(String::new(), schema)?;
        for (document, (name, json)) in parsed.documents.iter().enumerate() {
            let place = if name.is_empty() { "the schema" } else { name.as_str() };
            let node = Node {
                schema: &parsed,
                document,
                json,
            };
            node.check(0).map_err(|e| format!("{place}: {e}"))?;
        }
        Ok(parsed)
    }

    fn add(&mut self, name: String, schema: &SchemaText) -> Result<(), String> {
        let json: Json = serde_json::from_str(&schema.text).map_err(|e| format!("not a JSON Schema: {e}"))?;
        if !(json.is_object() || json.is_boolean()) {
            return Err("not a JSON Schema: it is an object or a boolean".to_string());
        }
        if self.documents.iter().any(|(n, _)| *n == name) && !name.is_empty() {
            return Ok(());
        }
        self.documents.push((name, json));
        for reference in &schema.references {
            let Some(text) = &reference.resolved else {
                return Err(format!(
                    "the reference `{}` (subject {}, version {}) was not resolved",
                    reference.name, reference.subject, reference.version
                ));
            };
            self.add(reference.name.clone(), text)?;
        }
        Ok(())
    }

    /// The schema itself, references followed.
    pub(super) fn root(&self) -> Node<'_> {
        let root = Node {
            schema: self,
            document: 0,
            json: &self.documents[0].1,
        };
        root.followed()
    }

    fn document(&self, name: &str) -> Option<usize> {
        let by_name = self.documents.iter().position(|(n, _)| n == name);
        let id = |json: &Json| {
            json.get("$id")
                .or(json.get("id"))
                .and_then(Json::as_str)
                .map(str::to_string)
        };
        by_name.or_else(|| {
            self.documents
                .iter()
                .position(|(_, json)| id(json).as_deref() == Some(name))
        })
    }
}

impl<'a> Node<'a> {
    /// Another schema of the same document.
    pub(super) fn at(&self, json: &'a Json) -> Self {
        Node { json, ..*self }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Json> {
        self.json.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Json::as_str)
    }

    pub(super) fn object(&self, key: &str) -> Option<&'a Map<String, Json>> {
        self.get(key).and_then(Json::as_object)
    }

    /// A schema in one of its keywords, references followed.
    pub(super) fn child(&self, key: &str) -> Option<Self> {
        self.get(key).map(|json| self.at(json).followed())
    }

    /// The schemas of `oneOf`, `anyOf` or `allOf`, references followed.
    pub(super) fn children(&self, key: &str) -> Option<Vec<Self>> {
        let list = self.get(key)?.as_array()?;
        Some(list.iter().map(|json| self.at(json).followed()).collect())
    }

    /// Where its `$ref` leads, and on from there. A circle of nothing but references ends somewhere in it.
    pub(super) fn followed(self) -> Self {
        let mut node = self;
        for _ in 0..MOST_STEPS {
            match node.target() {
                Some(Ok(next)) => node = next,
                // `check` has refused schemas with such references
                Some(Err(_)) | None => break,
            }
        }
        node
    }

    fn target(&self) -> Option<Result<Self, String>> {
        let reference = self.text("$ref")?;
        let missing = || format!("the reference {reference:?} leads nowhere");
        let (name, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let document = match name {
            "" => Some(self.document),
            name => self.schema.document(name),
        };
        let document = document.map(|d| (d, &self.schema.documents[d].1));
        let found = document.and_then(|(d, root)| {
            let pointer = percent_decoded(pointer);
            let json = root.pointer(&pointer).or_else(|| anchored(root, &pointer, 0))?;
            Some(Node {
                schema: self.schema,
                document: d,
                json,
            })
        });
        Some(found.ok_or_else(missing))
    }

    /// Whether all references lead somewhere.
    fn check(&self, depth: usize) -> Result<(), String> {
        if depth > 2 * MOST_STEPS {
            return Ok(());
        }
        if let Some(target) = self.target() {
            return target.map(drop);
        }
        let under = |json: &'a Json| self.at(json).check(depth + 1);
        for key in [
            "items",
            "additionalProperties",
            "additionalItems",
            "not",
            "contains",
            "if",
            "then",
            "else",
        ] {
            self.get(key).filter(|j| j.is_object()).map_or(Ok(()), under)?;
        }
        for key in ["properties", "patternProperties", "definitions", "$defs"] {
            self.object(key).into_iter().flat_map(Map::values).try_for_each(under)?;
        }
        for key in ["oneOf", "anyOf", "allOf", "items"] {
            let list = self.get(key).and_then(Json::as_array);
            list.into_iter().flatten().try_for_each(under)?;
        }
        Ok(())
    }

    /// Whether two nodes are the same place.
    pub(super) fn place(&self) -> usize {
        std::ptr::from_ref(self.json).addr()
    }
}

/// `%24` as `$`, in pointers that stand in URLs.
fn percent_decoded(pointer: &str) -> String {
    pointer.replace("%24", "$").replace("%20", " ").replace("%25", "%")
}

/// A schema with this `$anchor` or plain-name `$id`.
fn anchored<'a>(json: &'a Json, name: &str, depth: usize) -> Option<&'a Json> {
    if name.is_empty() || name.starts_with('/') || depth > MOST_STEPS {
        return None;
    }
    match json {
        Json::Object(members) => {
            let is = |key: &str, value: &str| members.get(key).and_then(Json::as_str) == Some(value);
            if is("$anchor", name) || is("$id", &format!("#{name}")) {
                return Some(json);
            }
            members.values().find_map(|v| anchored(v, name, depth + 1))
        }
        Json::Array(items) => items.iter().find_map(|v| anchored(v, name, depth + 1)),
        _ => None,
    }
}
