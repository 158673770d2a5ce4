//! The table of routes: the router, the parameter checks, `/openapi.json` and its snapshot come from it.

use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::metrics::RouteCounters;
use super::{
    ApiError, App, feed, guard, health, instances, internal, metrics, openapi, snapshots, starting, streams,
    topologies, views,
};

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The page for people.
    Console,
    /// The process runs.
    Live,
    /// Everything is restored.
    Ready,
    /// Prometheus.
    Metrics,
    /// This interface's description.
    OpenApi,
    /// All views.
    Views,
    /// One view.
    View,
    /// Rows by key, prefix or range.
    Rows,
    /// One row.
    Row,
    /// Snapshot and changes as server-sent events.
    Changes,
    /// The same through a WebSocket.
    Socket,
    /// A pull query.
    Query,
    /// Streams and tables that take records.
    Streams,
    /// Writes records.
    Write,
    /// All topologies.
    Topologies,
    /// One topology.
    Topology,
    /// All instances.
    Instances,
    /// Stops consuming.
    Pause,
    /// Goes on.
    Resume,
}

/// A parameter of the query string.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// What it does.
    pub endpoint: Endpoint,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// With `{name}` for what varies.
    pub path: &'static str,
    /// One line.
    pub summary: &'static str,
    /// More.
    pub about: &'static str,
    /// Of the query string.
    pub params: &'static [Param],
    /// An example of the body it takes.
    pub body: Option<&'static str>,
    /// The type of its answer.
    pub answers: &'static str,
    /// An example of its answer, if that is JSON.
    pub example: Option<&'static str>,
    /// Statuses beside 200, and when.
    pub errors: &'static [(u16, &'static str)],
}

const NUMBERS: Param = Param {
    name: "numbers",
    about: "exact (the default): BIGINT and DECIMAL are JSON numbers with all their digits. string: they are strings, for readers such as browsers whose numbers hold 53 bits.",
};
const MAX_STALENESS: Param = Param {
    name: "max-staleness",
    about: "How old the state of a standby's copy may be that answers where the owner of rows cannot be asked, such as 10s; 0s (the default): owners only. A copy is some 100 ms behind, while the work moves some seconds: 5s to 30s make sense, 24h is the most. The answer then names the partitions under standby, and in the header Millstream-Standby. With after, a copy answers only if it reflects the token.",
};
const AFTER: Param = Param {
    name: "after",
    about: "A token, or records as topic:partition:offset,...: the rows reflect what was written. At any instance. Records of topics that the view is not made from are not waited for. Needs Kafka, unlike other reads.",
};
const TIMEOUT: Param = Param {
    name: "timeout",
    about: "How long the token is waited for, such as 500ms; 5s unless told, 60s at most. Kafka's silence does not lengthen it.",
};
const NO_VIEW: (u16, &str) = (404, "no view has this name");
const NOT_READY: (u16, &str) = (
    503,
    "with Retry-After: starting (nothing is deployed yet), not_ready (some of the view's rows are being restored, or nobody who has them can be asked: which and why), \
     peer (an instance broke off amid its rows), store (the task has just moved), busy (too many queries, or waiting readers, at a time)",
);
const FEEDS: (u16, &str) = (
    503,
    "with Retry-After: starting (nothing is deployed yet), not_ready (some of the view's rows are being restored, or nobody has them), busy (too many feeds, or queries, at a time)",
);
const SPREAD: (u16, &str) = (
    409,
    "spread_view: other instances have partitions of the view, and a feed needs all of them here; the message says which are where. Read /rows now and then",
);
const BEHIND: (u16, &str) = (
    504,
    "the view has not caught up with the token in time; the message says how far it is",
);
const LIMIT: (u16, &str) = (
    422,
    "query_limit: a limit of rows, bytes or time was reached (a page ends early instead, where it has a row)",
);
const JSON: &str = "application/json";

/// All routes.
pub const ROUTES: &[Route] = &[
    Route {
        endpoint: Endpoint::Console,
        method: "GET",
        path: "/",
        summary: "A page that shows the views live",
        about: "One self-contained page: views, rows as they change, a query box and a form that writes a record.",
        params: &[],
        body: None,
        answers: "text/html",
        example: None,
        errors: &[],
    },
    Route {
        endpoint: Endpoint::Live,
        method: "GET",
        path: "/health/live",
        summary: "The process runs",
        about: "Answers 200 as long as the process can answer at all.",
        params: &[],
        body: None,
        answers: JSON,
        example: Some(r#"{"status": "live"}"#),
        errors: &[],
    },
    Route {
        endpoint: Endpoint::Ready,
        method: "GET",
        path: "/health/ready",
        summary: "Everything is deployed, restored and running",
        about: "503 with the reasons while topologies start, tasks restore, Kafka is away, or a topology has stopped. A paused topology is ready: its views answer.",
        params: &[Param {
            name: "topology",
            about: "Ask for this topology only.",
        }],
        body: None,
        answers: JSON,
        example: Some(r#"{"status": "ready", "reasons": []}"#),
        errors: &[(503, "not ready: the same body with status not_ready and the reasons")],
    },
    Route {
        endpoint: Endpoint::Metrics,
        method: "GET",
        path: "/metrics",
        summary: "Metrics for Prometheus",
        about: "The text format, version 0.0.4.",
        params: &[],
        body: None,
        answers: "text/plain",
        example: None,
        errors: &[],
    },
    Route {
        endpoint: Endpoint::OpenApi,
        method: "GET",
        path: "/openapi.json",
        summary: "This description",
        about: "OpenAPI 3.1.",
        params: &[],
        body: None,
        answers: JSON,
        example: None,
        errors: &[],
    },
    Route {
        endpoint: Endpoint::Views,
        method: "GET",
        path: "/v1/views",
        summary: "Lists the views",
        about: "Every table that can be queried here.",
        params: &[],
        body: None,
        answers: JSON,
        example: Some(
            r#"{"views": [{"name": "RATED_MOVIES", "topology": "ratings", "key": ["MOVIE_ID"], "columns": [{"name": "MOVIE_ID", "type": "BIGINT"}]}]}"#,
        ),
        errors: &[],
    },
    Route {
        endpoint: Endpoint::View,
        method: "GET",
        path: "/v1/views/{name}",
        summary: "Describes a view",
        about: "Columns, key, the SQL that made it, partitions, the number of rows (counted as far as the limits allow, at all instances) and the input offsets that it reflects; under missing, partitions that nobody answers for. A name that several topologies use is written topology.NAME.",
        params: &[],
        body: None,
        answers: JSON,
        example: Some(
            r#"{"name": "RATED_MOVIES", "topology": "ratings", "key": ["MOVIE_ID"], "columns": [{"name": "MOVIE_ID", "type": "BIGINT"}], "sql": "CREATE TABLE ...", "partitions": 2, "rows": {"count": 919, "exact": true}, "position": {"ratings": {"0": 120, "1": 98}}}"#,
        ),
        errors: &[NO_VIEW, NOT_READY],
    },
    Route {
        endpoint: Endpoint::Rows,
        method: "GET",
        path: "/v1/views/{name}/rows",
        summary: "Reads rows by key, in key order, a page at a time",
        about: "Keys of several columns are written with commas (17,42) or as a JSON array ([17,\"a,b\"]). A cursor goes on strictly behind the last key of its page and never back: rows whose key does not change are neither skipped nor repeated, whichever instance is asked for which page. Each partition's part of a page is one committed snapshot.",
        params: &[
            Param {
                name: "key",
                about: "Exactly this key.",
            },
            Param {
                name: "prefix",
                about: "Keys that begin with these columns; with all columns given and the last one a STRING, keys whose last column begins with the text.",
            },
            Param {
                name: "from",
                about: "Keys at or after this one; it may have fewer columns.",
            },
            Param {
                name: "to",
                about: "Keys before this one.",
            },
            Param {
                name: "order",
                about: "asc (the default) or desc.",
            },
            Param {
                name: "limit",
                about: "Rows at most, 1 to 10000; 100 unless told. A page may hold fewer and still have a cursor.",
            },
            Param {
                name: "cursor",
                about: "From the page before; the other parameters stay the same.",
            },
            NUMBERS,
            MAX_STALENESS,
            AFTER,
            TIMEOUT,
        ],
        body: None,
        answers: JSON,
        example: Some(
            r#"{"rows": [{"MOVIE_ID": 1, "TITLE": "Lethal Weapon"}], "cursor": "AQ...", "position": {"ratings": {"0": 120, "1": 98}}}"#,
        ),
        errors: &[(400, "a parameter is wrong"), NO_VIEW, LIMIT, NOT_READY, BEHIND],
    },
    Route {
        endpoint: Endpoint::Row,
        method: "GET",
        path: "/v1/views/{name}/rows/{key}",
        summary: "Reads the row of a key",
        about: "A point read. Keys of several columns are written with commas or as a JSON array, percent-encoded.",
        params: &[NUMBERS, MAX_STALENESS, AFTER, TIMEOUT],
        body: None,
        answers: JSON,
        example: Some(r#"{"row": {"MOVIE_ID": 1, "TITLE": "Lethal Weapon"}, "position": {"ratings": {"0": 120}}}"#),
        errors: &[
            (400, "the key does not fit the key columns"),
            (404, "no such view, or it has no row of this key"),
            NOT_READY,
            BEHIND,
        ],
    },
    Route {
        endpoint: Endpoint::Changes,
        method: "GET",
        path: "/v1/views/{name}/changes",
        summary: "Streams a view: its rows, then each committed change",
        about: "Server-sent events, where all partitions of the view are on this instance. snapshot: {\"rows\": [...], \"complete\": false} as often as needed, the last one complete, with the position; changes: {\"changes\": [{\"op\": \"upsert\", \"row\": {...}} or {\"op\": \"delete\", \"key\": {...}}], \"position\": {...}}, one a commit of a partition; error: {\"error\": {...}}, then the end. A reader slower than the commits is told so and disconnected.",
        params: &[
            Param {
                name: "snapshot",
                about: "true (the default), or false to get changes only.",
            },
            NUMBERS,
        ],
        body: None,
        answers: "text/event-stream",
        example: None,
        errors: &[NO_VIEW, SPREAD, FEEDS],
    },
    Route {
        endpoint: Endpoint::Socket,
        method: "GET",
        path: "/v1/views/{name}/ws",
        summary: "The same through a WebSocket",
        about: "Text messages: the JSON of the events of /changes with their name as \"type\".",
        params: &[
            Param {
                name: "snapshot",
                about: "true (the default), or false to get changes only.",
            },
            NUMBERS,
        ],
        body: None,
        answers: JSON,
        example: None,
        errors: &[(426, "not a WebSocket handshake"), NO_VIEW, SPREAD, FEEDS],
    },
    Route {
        endpoint: Endpoint::Query,
        method: "POST",
        path: "/v1/query",
        summary: "Runs a pull query",
        about: "SELECT with WHERE, ORDER BY and LIMIT over one view, on committed snapshots. WHERE on the leading key columns, and ORDER BY the key behind them, read only the rows that are needed.",
        params: &[NUMBERS, MAX_STALENESS, AFTER, TIMEOUT],
        body: Some(
            r#"{"sql": "SELECT title, rating FROM rated_movies WHERE rating > 9 ORDER BY rating DESC LIMIT 10;"}"#,
        ),
        answers: JSON,
        example: Some(
            r#"{"columns": [{"name": "TITLE", "type": "STRING"}], "rows": [{"TITLE": "Lethal Weapon"}], "position": {"ratings": {"0": 120, "1": 98}}}"#,
        ),
        errors: &[
            (400, "the request or its SQL is wrong"),
            NO_VIEW,
            LIMIT,
            NOT_READY,
            BEHIND,
        ],
    },
    Route {
        endpoint: Endpoint::Streams,
        method: "GET",
        path: "/v1/streams",
        summary: "Lists streams and tables with their topics",
        about: "Those that a query of ours writes are not writable.",
        params: &[],
        body: None,
        answers: JSON,
        example: Some(
            r#"{"streams": [{"name": "RATINGS", "kind": "STREAM", "topology": "ratings", "topic": "ratings", "key": [], "columns": [{"name": "MOVIE_ID", "type": "BIGINT"}], "formats": {"key": "KAFKA", "value": "AVRO"}, "writable": true}]}"#,
        ),
        errors: &[],
    },
    Route {
        endpoint: Endpoint::Write,
        method: "POST",
        path: "/v1/streams/{name}",
        summary: "Writes one record or a batch",
        about: "One record is an object with value and optionally key, timestamp (milliseconds or ISO text) and headers (text, or {\"base64\": ...}); a batch is {\"records\": [...]}. A key of one column may be written bare; key columns may also stand in the value. Of a table, a null value deletes. Checked against the columns before anything is written; answered once the log has it, with the position of each record and a token: a read with ?after= and this token reflects them. BYTES are base64; BIGINT and DECIMAL may be strings.",
        params: &[],
        body: Some(r#"{"records": [{"value": {"MOVIE_ID": 1, "RATING": 9.5, "USER_ID": 7}}]}"#),
        answers: JSON,
        example: Some(
            r#"{"positions": [{"topic": "ratings", "partition": 0, "offset": 120}], "token": "AQAHcmF0aW5ncwAAAAEAAAAAAAAAAAAAAHnDZxXL"}"#,
        ),
        errors: &[
            (400, "the body is not JSON of this shape"),
            (404, "no stream or table has this name"),
            (403, "read_only: this instance takes no records"),
            (409, "it is written by a query, or the topic or its schema does not fit"),
            (413, "the request or a record is too large"),
            (
                422,
                "records do not fit the columns: each problem with its JSON path; nothing was written",
            ),
            (503, "the log cannot be reached; nothing was written"),
            (504, "the outcome is not known: records may have been written"),
        ],
    },
    Route {
        endpoint: Endpoint::Topologies,
        method: "GET",
        path: "/v1/topologies",
        summary: "Lists the topologies of this instance",
        about: "Status (starting, running, waiting, paused, stopped) with its reason.",
        params: &[],
        body: None,
        answers: JSON,
        example: Some(r#"{"topologies": [{"name": "ratings", "status": "running", "generation": 0}]}"#),
        errors: &[],
    },
    Route {
        endpoint: Endpoint::Topology,
        method: "GET",
        path: "/v1/topologies/{name}",
        summary: "Shows a topology",
        about: "Status, plan, tasks with their restore progress, positions and lag, and a replay that runs beside it.",
        params: &[],
        body: None,
        answers: JSON,
        example: None,
        errors: &[(404, "no topology has this name")],
    },
    Route {
        endpoint: Endpoint::Instances,
        method: "GET",
        path: "/v1/instances",
        summary: "Lists the live instances of the application",
        about: "Each with the URL under which the others reach it (null: they cannot), the tasks that it owns and can show, and the tasks that it follows as a standby: lag is in changelog offsets, behind_ms is the age of the committed state that it shows; null while not known. One without a URL among several says so under problem. Instances say so about every three seconds, and at each change of their tasks; one that is silent for ten is not listed.",
        params: &[],
        body: None,
        answers: JSON,
        example: Some(
            r#"{"instances": [{"instance": "4f1a9c2e77b0", "url": "http://10.0.0.7:8080", "self": true, "topologies": [{"topology": "ratings", "generation": 0, "tasks": ["0_0"], "standbys": [{"task": "0_1", "lag": 12, "behind_ms": 900}]}]}]}"#,
        ),
        errors: &[],
    },
    Route {
        endpoint: Endpoint::Pause,
        method: "POST",
        path: "/v1/topologies/{name}/pause",
        summary: "Pauses a topology",
        about: "It stops consuming after its next commit; its views go on answering.",
        params: &[],
        body: None,
        answers: JSON,
        example: Some(r#"{"name": "ratings", "status": "paused"}"#),
        errors: &[
            (404, "no topology has this name"),
            (409, "it is not in a state to be paused"),
        ],
    },
    Route {
        endpoint: Endpoint::Resume,
        method: "POST",
        path: "/v1/topologies/{name}/resume",
        summary: "Resumes a paused topology",
        about: "It goes on from its last commit.",
        params: &[],
        body: None,
        answers: JSON,
        example: Some(r#"{"name": "ratings", "status": "running"}"#),
        errors: &[(404, "no topology has this name"), (409, "it is not paused")],
    },
];

fn handler(endpoint: Endpoint) -> MethodRouter<App> {
    match endpoint {
        Endpoint::Console => get(views::console),
        Endpoint::Live => get(health::live),
        Endpoint::Ready => get(health::ready),
        Endpoint::Metrics => get(metrics::metrics),
        Endpoint::OpenApi => get(openapi::document),
        Endpoint::Views => get(views::list),
        Endpoint::View => get(views::describe),
        Endpoint::Rows => get(views::rows),
        Endpoint::Row => get(views::row),
        Endpoint::Changes => get(feed::changes),
        Endpoint::Socket => get(feed::socket),
        Endpoint::Query => post(views::query),
        Endpoint::Streams => get(streams::list),
        Endpoint::Write => post(streams::write),
        Endpoint::Topologies => get(topologies::list),
        Endpoint::Topology => get(topologies::describe),
        Endpoint::Instances => get(instances::list),
        Endpoint::Pause => post(topologies::pause),
        Endpoint::Resume => post(topologies::resume),
    }
}

/// The router over its state.
pub fn app(state: App) -> Router {
    let router = ROUTES.iter().fold(Router::new(), |router, route| {
        router.route(route.path, handler(route.endpoint))
    });
    let router = router.route(internal::PATH, post(internal::rows));
    router
        .merge(snapshots::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(state.settings().body_bytes))
        .layer(middleware::from_fn_with_state(state.clone(), every))
        .with_state(state)
}

/// What every request goes through.
async fn every(State(app): State<App>, request: Request, next: Next) -> Response {
    let (place, begun) = (RouteCounters::place_of(&request), Instant::now());
    let checked = guard::check(&app, &request).and_then(|()| starting::check(&app, &request));
    let answer = match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    app.counters().count(place, &answer, begun.elapsed());
    answer
}

async fn unknown_path() -> impl IntoResponse {
    ApiError::not_found(
        "unknown_path",
        "nothing is here",
        "GET /openapi.json lists the paths; / is a page for people.",
    )
}

async fn wrong_method() -> impl IntoResponse {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "the path takes another method",
        "GET /openapi.json lists paths and methods.",
    )
}
