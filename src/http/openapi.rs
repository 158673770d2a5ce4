//! `/openapi.json`, made from the table of routes; `docs/openapi.json` is the snapshot that a test compares.

use axum::response::Response;
use serde_json::{Map, Value as Json, json};

use super::answer::ok;
use super::routes::{ROUTES, Route};

pub(super) async fn document() -> Response {
    ok(&openapi())
}

/// The OpenAPI 3.1 description of the interface.
pub fn openapi() -> Json {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millstream",
            "description": "Materialized views over Kafka topics: rows in, exactly-once views out. Every answer with rows carries the position (input topic, partition, next offset) of the very snapshots that they came from.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["code", "message", "hint"],
                            "properties": {
                                "code": {"type": "string", "description": "A stable word for programs."},
                                "message": {"type": "string"},
                                "hint": {"type": "string", "description": "What to do."},
                                "problems": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    })
}

fn operation(route: &Route) -> Json {
    let in_path = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Json> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(
        route
            .params
            .iter()
            .map(|p| json!({"name": p.name, "in": "query", "description": p.about, "schema": {"type": "string"}})),
    );
    let mut content = json!({});
    content[route.answers] = route
        .example
        .map_or(json!({}), |text| json!({"example": example(text)}));
    let mut responses = json!({"200": {"description": route.summary, "content": content}});
    for (status, when) in route.errors {
        responses[status.to_string()] = json!({
            "description": when,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        });
    }
    let mut operation = json!({
        "operationId": format!("{:?}", route.endpoint),
        "summary": route.summary,
        "description": route.about,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = route.body {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"example": example(body)}}});
    }
    operation
}

/// An example of the table; text that is no JSON is shown as it is (and a test refuses it).
fn example(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
