//! The REST API, as Confluent documents it. Handlers only take requests apart and put answers together.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::formats::{Compatibility, SchemaReference};

use super::EmbeddedRegistry;
use super::commands::Submitted;
use super::error::ApiError;
use super::state::{Found, Registry, Stored, VersionId};

/// Requests larger than this are refused; schemas are far smaller.
const MOST_BODY_BYTES: usize = 4 << 20;

/// `GET /schemas` gives out at most this many when no limit is asked for, as Confluent's.
const MOST_SCHEMAS: usize = 1_000;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

type Answer = Result<Value, ApiError>;
type Registries = State<EmbeddedRegistry>;

/// Query parameters of all routes; each route looks at its own.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Parameters {
    deleted: bool,
    deleted_only: bool,
    permanent: bool,
    default_to_global: bool,
    force: bool,
    latest_only: bool,
    verbose: bool,
    subject: Option<String>,
    subject_prefix: Option<String>,
    offset: usize,
    limit: Option<usize>,
}

/// The body of a request with a schema.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaBody {
    schema: Option<String>,
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<SchemaReference>>,
    id: Option<i64>,
    version: Option<i64>,
}

impl SchemaBody {
    fn submitted(self) -> Result<Submitted, ApiError> {
        let given = |n: Option<i64>| n.filter(|n| *n >= 0);
        let number = |n: i64| ApiError::bad_request(format!("{n} is no id or version"));
        Ok(Submitted {
            text: self.schema.ok_or_else(|| ApiError::invalid_schema("there is none"))?,
            schema_type: match self.schema_type {
                Some(name) => name.parse().map_err(ApiError::invalid_schema)?,
                None => Default::default(),
            },
            references: self.references.unwrap_or_default(),
            id: given(self.id)
                .map(|n| u32::try_from(n).map_err(|_| number(n)))
                .transpose()?,
            version: given(self.version)
                .map(|n| i32::try_from(n).map_err(|_| number(n)))
                .transpose()?,
        })
    }
}

#[derive(Debug, Deserialize)]
struct LevelBody {
    compatibility: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ModeBody {
    mode: Option<String>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({"error_code": self.code, "message": self.message});
        (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body.to_string()).into_response()
    }
}

/// Any content type is taken: clients send several.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|e| ApiError::bad_request(format!("the request is no such JSON: {e}")))
}

/// Answers on a thread that may block: a change waits for the log.
async fn answer(registry: EmbeddedRegistry, f: impl FnOnce(&EmbeddedRegistry) -> Answer + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(move || f(&registry)).await {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], json.to_string()).into_response(),
        Ok(Err(e)) => e.into_response(),
        Err(e) => ApiError::store(e).into_response(),
    }
}

/// A schema as the value of a field: type and references are left out where they say nothing.
fn describe(stored: &Stored, to: &mut Map<String, Value>) {
    if stored.schema_type != Default::default() {
        to.insert("schemaType".into(), stored.schema_type.as_str().into());
    }
    if !stored.references.is_empty() {
        to.insert("references".into(), json!(stored.references));
    }
    to.insert("schema".into(), stored.text.as_str().into());
}

fn describe_version(found: &Found) -> Value {
    let mut out = Map::new();
    out.insert("subject".into(), found.subject.as_str().into());
    out.insert("version".into(), found.version.into());
    out.insert("id".into(), found.id.into());
    describe(&found.stored, &mut out);
    if found.deleted {
        out.insert("deleted".into(), true.into());
    }
    Value::Object(out)
}

/// The schema itself as the whole answer; what is no JSON (Protocol Buffers) as a string.
fn raw(stored: &Stored) -> Value {
    serde_json::from_str(&stored.text).unwrap_or_else(|_| stored.text.as_str().into())
}

fn describe_check(result: Compatibility, verbose: bool) -> Value {
    let mut out = Map::new();
    out.insert("is_compatible".into(), result.is_compatible().into());
    if verbose {
        let messages = match result {
            Compatibility::Compatible => Vec::new(),
            Compatibility::Incompatible(messages) => messages,
        };
        out.insert("messages".into(), messages.into());
    }
    Value::Object(out)
}

async fn subjects(State(r): Registries, Query(q): Query<Parameters>) -> Response {
    answer(r, move |r| {
        let prefix = q.subject_prefix.unwrap_or_default();
        Ok(r.read(|r| {
            let mut subjects = r.subjects(q.deleted, q.deleted_only);
            subjects.retain(|s| s.starts_with(&prefix));
            json!(subjects)
        }))
    })
    .await
}

async fn versions(State(r): Registries, Path(subject): Path<String>, Query(q): Query<Parameters>) -> Response {
    answer(r, move |r| Ok(json!(r.read(|r| r.versions(&subject, q.deleted))?))).await
}

async fn register(State(r): Registries, Path(subject): Path<String>, bytes: Bytes) -> Response {
    answer(r, move |r| {
        let schema = body::<SchemaBody>(&bytes)?.submitted()?;
        let (id, _) = r.change(|r| r.register(&subject, &schema))?;
        Ok(json!({"id": id}))
    })
    .await
}

async fn lookup(
    State(r): Registries,
    Path(subject): Path<String>,
    Query(q): Query<Parameters>,
    bytes: Bytes,
) -> Response {
    answer(r, move |r| {
        let schema = body::<SchemaBody>(&bytes)?.submitted()?;
        Ok(describe_version(&r.read(|r| r.lookup(&subject, &schema, q.deleted))?))
    })
    .await
}

async fn delete_subject(State(r): Registries, Path(subject): Path<String>, Query(q): Query<Parameters>) -> Response {
    answer(r, move |r| {
        Ok(json!(r.change(|r| r.delete_subject(&subject, q.permanent))?))
    })
    .await
}

/// Answers about one version of a subject.
async fn about_version(
    r: EmbeddedRegistry,
    (subject, version): (String, String),
    deleted: bool,
    f: impl FnOnce(&Registry, &Found) -> Value + Send + 'static,
) -> Response {
    answer(r, move |r| {
        let version: VersionId = version.parse()?;
        r.read(|r| {
            let found = r.version(&subject, version, deleted)?;
            Ok(f(r, &found))
        })
    })
    .await
}

async fn version(State(r): Registries, Path(at): Path<(String, String)>, Query(q): Query<Parameters>) -> Response {
    about_version(r, at, q.deleted, |_, found| describe_version(found)).await
}

async fn version_schema(
    State(r): Registries,
    Path(at): Path<(String, String)>,
    Query(q): Query<Parameters>,
) -> Response {
    about_version(r, at, q.deleted, |_, found| raw(&found.stored)).await
}

async fn referenced_by(State(r): Registries, Path(at): Path<(String, String)>) -> Response {
    about_version(r, at, true, |r, found| {
        json!(r.referenced_by(&found.subject, found.version))
    })
    .await
}

async fn delete_version(
    State(r): Registries,
    Path((subject, version)): Path<(String, String)>,
    Query(q): Query<Parameters>,
) -> Response {
    answer(r, move |r| {
        let version: VersionId = version.parse()?;
        Ok(json!(r.change(|r| r.delete_version(&subject, version, q.permanent))?))
    })
    .await
}

/// Answers about one id.
async fn about_id(
    r: EmbeddedRegistry,
    id: String,
    f: impl FnOnce(&Registry, u32, &Stored) -> Value + Send + 'static,
) -> Response {
    answer(r, move |r| {
        let id: u32 = id.parse().map_err(|_| ApiError::no_such_path())?;
        r.read(|r| Ok(f(r, id, r.by_id(id)?)))
    })
    .await
}

async fn by_id(State(r): Registries, Path(id): Path<String>) -> Response {
    about_id(r, id, |_, _, stored| {
        let mut out = Map::new();
        describe(stored, &mut out);
        Value::Object(out)
    })
    .await
}

async fn by_id_schema(State(r): Registries, Path(id): Path<String>) -> Response {
    about_id(r, id, |_, _, stored| raw(stored)).await
}

async fn by_id_subjects(State(r): Registries, Path(id): Path<String>, Query(q): Query<Parameters>) -> Response {
    about_id(r, id, move |r, id, _| {
        let mut subjects: Vec<String> = r.all(q.deleted).filter(|f| f.id == id).map(|f| f.subject).collect();
        subjects.dedup();
        json!(subjects)
    })
    .await
}

async fn by_id_versions(State(r): Registries, Path(id): Path<String>, Query(q): Query<Parameters>) -> Response {
    about_id(r, id, move |r, id, _| {
        let wanted = |f: &Found| f.id == id && q.subject.as_ref().is_none_or(|s| *s == f.subject);
        let versions = r.all(q.deleted).filter(wanted);
        versions
            .map(|f| json!({"subject": f.subject, "version": f.version}))
            .collect()
    })
    .await
}

async fn schemas(State(r): Registries, Query(q): Query<Parameters>) -> Response {
    answer(r, move |r| {
        let prefix = q.subject_prefix.unwrap_or_default();
        let mut found: Vec<Found> = r.read(|r| r.all(q.deleted).filter(|f| f.subject.starts_with(&prefix)).collect());
        if q.latest_only {
            // versions of a subject follow one another, the newest last
            found.reverse();
            found.dedup_by(|later, first| later.subject == first.subject);
            found.reverse();
        }
        let page = found.iter().skip(q.offset).take(q.limit.unwrap_or(MOST_SCHEMAS));
        Ok(page.map(describe_version).collect())
    })
    .await
}

async fn types() -> Json<Value> {
    Json(json!(["JSON", "PROTOBUF", "AVRO"]))
}

async fn check_all(
    State(r): Registries,
    Path(subject): Path<String>,
    Query(q): Query<Parameters>,
    bytes: Bytes,
) -> Response {
    answer(r, move |r| {
        let schema = body::<SchemaBody>(&bytes)?.submitted()?;
        Ok(describe_check(r.read(|r| r.check(&subject, &schema))?, q.verbose))
    })
    .await
}

async fn check_one(
    State(r): Registries,
    Path((subject, version)): Path<(String, String)>,
    Query(q): Query<Parameters>,
    bytes: Bytes,
) -> Response {
    answer(r, move |r| {
        let version: VersionId = version.parse()?;
        let schema = body::<SchemaBody>(&bytes)?.submitted()?;
        Ok(describe_check(
            r.read(|r| r.check_version(&subject, version, &schema))?,
            q.verbose,
        ))
    })
    .await
}

/// The subject of `/config/{subject}` or `/mode/{subject}`; none for the global setting.
type Scope = Option<Path<String>>;

fn scope(path: Scope) -> Option<String> {
    path.map(|Path(subject)| subject)
}

/// A scope's own setting, else the global one where that is asked for; else the subject that has none.
fn in_force<'a, T>(
    own: Option<T>,
    subject: Option<&'a str>,
    q: &Parameters,
    inherited: impl FnOnce(&str) -> T,
) -> std::result::Result<T, &'a str> {
    match (own, subject) {
        (Some(own), _) => Ok(own),
        (None, Some(subject)) if q.default_to_global => Ok(inherited(subject)),
        (None, subject) => Err(subject.unwrap_or_default()),
    }
}

async fn level(State(r): Registries, path: Scope, Query(q): Query<Parameters>) -> Response {
    answer(r, move |r| {
        let subject = scope(path);
        let own = r.read(|r| r.own_level(subject.as_deref()));
        let inherited = |s: &str| r.read(|r| r.level(s));
        let level = in_force(own, subject.as_deref(), &q, inherited).map_err(ApiError::no_level)?;
        Ok(json!({"compatibilityLevel": level.as_str()}))
    })
    .await
}

async fn set_level(State(r): Registries, path: Scope, bytes: Bytes) -> Response {
    answer(r, move |r| {
        let level = body::<LevelBody>(&bytes)?.compatibility.unwrap_or_default();
        let level = r.change(|r| r.set_level(scope(path).as_deref(), &level))?;
        Ok(json!({"compatibility": level.as_str()}))
    })
    .await
}

async fn unset_level(State(r): Registries, path: Scope) -> Response {
    answer(r, move |r| {
        let level = r.change(|r| r.unset_level(scope(path).as_deref()))?;
        Ok(json!({"compatibilityLevel": level.as_str()}))
    })
    .await
}

async fn mode(State(r): Registries, path: Scope, Query(q): Query<Parameters>) -> Response {
    answer(r, move |r| {
        let subject = scope(path);
        let own = r.read(|r| r.own_mode(subject.as_deref()));
        let inherited = |s: &str| r.read(|r| r.mode(Some(s)));
        let mode = in_force(own, subject.as_deref(), &q, inherited).map_err(ApiError::no_mode)?;
        Ok(json!({"mode": mode.as_str()}))
    })
    .await
}

async fn set_mode(State(r): Registries, path: Scope, Query(q): Query<Parameters>, bytes: Bytes) -> Response {
    answer(r, move |r| {
        let mode = body::<ModeBody>(&bytes)?.mode.unwrap_or_default();
        let mode = r.change(|r| r.set_mode(scope(path).as_deref(), &mode, q.force))?;
        Ok(json!({"mode": mode.as_str()}))
    })
    .await
}

async fn unset_mode(State(r): Registries, path: Scope) -> Response {
    answer(r, move |r| {
        let mode = r.change(|r| r.unset_mode(scope(path).as_deref()))?;
        Ok(json!({"mode": mode.as_str()}))
    })
    .await
}

async fn metadata_id() -> Json<Value> {
    let clusters = json!({"kafka-cluster": "millstream", "schema-registry-cluster": "schema-registry"});
    Json(json!({"scope": {"path": [], "clusters": clusters}, "id": ""}))
}

async fn metadata_version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION"), "commitId": ""}))
}

async fn nothing() -> Json<Value> {
    Json(json!({}))
}

/// All routes of a registry.
pub fn app(registry: EmbeddedRegistry) -> Router {
    Router::new()
        .route("/", get(nothing).post(nothing))
        .route("/v1/metadata/id", get(metadata_id))
        .route("/v1/metadata/version", get(metadata_version))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(lookup).delete(delete_subject))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route(
            "/subjects/{subject}/versions/{version}",
            get(version).delete(delete_version),
        )
        .route("/subjects/{subject}/versions/{version}/schema", get(version_schema))
        .route(
            "/subjects/{subject}/versions/{version}/referencedby",
            get(referenced_by),
        )
        .route("/schemas", get(schemas))
        .route("/schemas/types", get(types))
        .route("/schemas/ids/{id}", get(by_id))
        .route("/schemas/ids/{id}/schema", get(by_id_schema))
        .route("/schemas/ids/{id}/subjects", get(by_id_subjects))
        .route("/schemas/ids/{id}/versions", get(by_id_versions))
        .route("/compatibility/subjects/{subject}/versions", post(check_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(check_one))
        .route("/config", get(level).put(set_level).delete(unset_level))
        .route("/config/{subject}", get(level).put(set_level).delete(unset_level))
        .route("/mode", get(mode).put(set_mode).delete(unset_mode))
        .route("/mode/{subject}", get(mode).put(set_mode).delete(unset_mode))
        .fallback(|| async { ApiError::no_such_path() })
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(registry)
}
