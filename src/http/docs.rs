//! The reference page of the interface, made from the tables of routes and metrics; `docs/http.md` is the snapshot that a test compares.

use std::fmt::Write as _;

use super::metrics::{METRICS, MetricKind};
use super::routes::{ROUTES, Route};

const HEAD: &str = "\
# HTTP

Made from the tables of routes and metrics (`src/http/routes.rs`, `src/http/metrics.rs`); `/openapi.json` says the same for programs, `/` is a page for
people. It listens on loopback unless told otherwise (`--http HOST:PORT`). There is no login: put a proxy in front of an address that others reach.

## What every answer says

* **Only committed data.** Rows come from snapshots of what has been committed, and reading never makes a commit wait.
* **Its position.** `\"position\": {\"topic\": {\"partition\": next offset}}` names the inputs that the rows reflect: every record below the offset, none from
  it on, taken from the very snapshots that the rows came from. Behind a GROUP BY these are offsets of the internal repartition topic.
* **Errors** are `{\"error\": {\"code\", \"message\", \"hint\"}}`; `code` is a stable word. A request with several problems names all of them, by JSON path, under `problems`.

## Several instances

Instances of one application share its partitions, and **any of them answers for any key**: rows, pages, SQL and the description of a view are gathered from the
owners of their partitions, through the addresses that `GET /v1/instances` shows (`--advertised-url`: one http address that the others reach directly). A cursor works at
any instance. Limits of one query hold for the whole of it; how many run at a time is each instance's. They must run the same release and SQL.

Where the owner of a partition cannot be asked, the answer is 503 with `Retry-After`, and the message names the partitions and why. With `?max-staleness=10s` a standby
may answer instead, if the committed state that it shows is at most so old; the answer then names its partitions and their age: `\"standby\": [{\"partition\": 1,
\"behind_ms\": 40}]`, also in the header `Millstream-Standby`. While the owner answers, it does. An instance that hangs costs such a read a third of its time
(`query-timeout`), others all of it; reads that need no rows of it go on.

Feeds (`/changes`, `/ws`) are of one instance: they need all partitions of their view there, else they are 409 `spread_view`, and say where the others are. The page `/` reads
rows every two seconds then.

**Reading what was written.** A write answers with a `token`. A read with `?after=` and the token waits until the view reflects the records, through all stages between
them, and for 5 seconds at most unless `timeout=` says otherwise; then it is 504 with how far the view is. Records of other producers are named by their
acknowledgements: `?after=topic:partition:offset,...`. How far groups are is asked of Kafka: while that is away such a read is 504, others go on. Not waited for: records of
topics from which the view is not made; tables that every process holds whole (`GLOBAL = TRUE`); the rest of a foreign-key join's fan-out too large for one commit.
With `max-staleness`, too, a copy answers only once it reflects the token.

## Load balancers

Send requests to instances that are ready (`/health/ready`), and restart those that do not live (`/health/live`): never the other way round. While Kafka is away none is
ready, though all still answer reads, and a restart would help nobody: a balancer should then send to all of them. A new instance is `starting`, and not ready, while
it follows the state of the others (`warm-up-timeout`, 10 minutes at most), and later answers 503 for the partitions that it restores. Its time-out should be longer than
`query-timeout` (10 s) and `timeout=`; feeds last for ever, with a sign of life every 15 s. A 503 with `Retry-After` may be tried at another instance.

## Who may ask

There is no login: `--http` on an address that others reach needs a proxy that checks who asks, or a network of its own. The `Authorization` header of a request for rows
is shown to the instances that are asked on its behalf (of snapshots nothing is), so a proxy before each may check it. `/internal/v1/rows` and `/internal/v1/snapshots` answer
any instance, and so whoever reaches them, with all rows: a proxy for others must close `/internal/`. Writes can be left out by closing `POST /v1/streams/`. A page of another
site is refused (403 `foreign_origin`), and on loopback also a name that is not this machine's.

## Values in JSON

| SQL | JSON |
|---|---|
| BOOLEAN, INTEGER | as they are |
| BIGINT, DECIMAL | exact numbers, all digits and the scale kept; strings with `?numbers=string`, since a browser's numbers hold 53 bits |
| DOUBLE | the shortest number that reads back the same; `\"NaN\"`, `\"Infinity\"`, `\"-Infinity\"` |
| STRING | text |
| BYTES | base64 |
| DATE, TIME, TIMESTAMP | text, as in ksqlDB: `\"2020-02-29\"`, `\"23:59:59.999\"`, `\"2020-02-29T23:59:59.999\"` (UTC) |
| ARRAY, MAP, STRUCT | array, object, object |

Records that are written follow the same table; BIGINT and DECIMAL may be strings, a TIMESTAMP may be milliseconds. Names match regardless of case.

## Examples

```sh
curl 127.0.0.1:8080/v1/views/rated_movies/rows/1
curl '127.0.0.1:8080/v1/views/rated_movies/rows?from=10&to=20'
curl 127.0.0.1:8080/v1/query -d '{\"sql\": \"SELECT title, rating FROM rated_movies ORDER BY rating DESC LIMIT 5\"}'
curl 127.0.0.1:8080/v1/streams/ratings -d '{\"value\": {\"movie_id\": 1, \"rating\": 9.5, \"user_id\": 7}}'
curl '127.0.0.1:8080/v1/views/rated_movies/rows/1?max-staleness=10s'
curl '127.0.0.1:8080/v1/views/rated_movies/rows/1?after=ratings:0:119'
curl -N 127.0.0.1:8080/v1/views/rated_movies/changes
```

";

/// The page.
pub fn reference() -> String {
    let mut page = HEAD.to_string();
    page.push_str("## Routes\n");
    for route in ROUTES {
        write_route(route, &mut page);
    }
    page.push_str("\n## Metrics\n\nAt `/metrics`, in Prometheus' text format; counters count since the process started.\n\n| name | type | meaning |\n|---|---|---|\n");
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        // writing to a String cannot fail
        let _: std::fmt::Result = writeln!(page, "| `{}` | {kind} | {} |", metric.name, metric.help);
    }
    page
}

fn write_route(route: &Route, page: &mut String) {
    let _: std::fmt::Result = write!(
        page,
        "\n### `{} {}`\n\n{}. {}\n",
        route.method, route.path, route.summary, route.about
    );
    if !route.params.is_empty() {
        page.push_str("\n| parameter | meaning |\n|---|---|\n");
        for param in route.params {
            let _: std::fmt::Result = writeln!(page, "| `{}` | {} |", param.name, param.about);
        }
    }
    for (what, example) in [("Body", route.body), ("Answer", route.example)] {
        if let Some(example) = example {
            let _: std::fmt::Result = write!(page, "\n{what}:\n\n```json\n{example}\n```\n");
        }
    }
    if !route.errors.is_empty() {
        page.push_str("\n| status | when |\n|---|---|\n");
        for (status, when) in route.errors {
            let _: std::fmt::Result = writeln!(page, "| {status} | {when} |");
        }
    }
}
