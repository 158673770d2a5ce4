//! The topology that the simulation runs: ratings re-keyed and aggregated by movie, joined with the movies table; movies counted by genre, a
//! group-by over a table that retracts.

use millstream::expr::{AggregateCall, Expr};
use millstream::topology::{
    Aggregate, JoinKind, Node, Op, Relation, Repartition, Sink, Source, SourceTopic, StoreSpec, SubTopology, TablePlan,
    TableTableJoin, TimestampFrom, TopicSpec, Topology,
};
use millstream::types::{Column, Format, RelationKind, RelationSchema, SerdeSpec, SqlType};

pub const RATINGS: &str = "ratings";
pub const MOVIES: &str = "movies";
pub const RATED: &str = "rated-movies";
pub const GENRES: &str = "genres";

fn schema(key: &str, value: &[(&str, SqlType)]) -> RelationSchema {
    RelationSchema {
        key: vec![Column::new(key, SqlType::Bigint)],
        value: value
            .iter()
            .map(|(name, sql_type)| Column::new(*name, sql_type.clone()))
            .collect(),
    }
}

fn relation(name: &str, kind: RelationKind, topic: &str, schema: RelationSchema, derived: bool) -> Relation {
    Relation {
        name: name.into(),
        kind,
        schema,
        topic: TopicSpec {
            name: topic.into(),
            partitions: None,
            replicas: None,
            retention_ms: None,
            compacted: kind == RelationKind::Table,
        },
        key_format: SerdeSpec::key(Format::Kafka),
        value_format: SerdeSpec::value(Format::Internal),
        window: None,
        derived,
        sql: "".into(),
        headers: Vec::new(),
    }
}

struct Builder(Vec<Node>);

impl Builder {
    fn add(&mut self, sub: usize, kind: RelationKind, inputs: &[usize], schema: RelationSchema, op: Op) -> usize {
        let id = self.0.len();
        self.0.push(Node {
            id,
            name: format!("N{id}").into(),
            op,
            inputs: inputs.to_vec(),
            kind,
            schema,
            sub,
        });
        id
    }

    fn source(
        &mut self,
        sub: usize,
        kind: RelationKind,
        topic: SourceTopic,
        schema: RelationSchema,
        store: Option<u16>,
    ) -> usize {
        let source = Source {
            topic,
            relation: "X".into(),
            used: (0..schema.value.len()).collect(),
            columns: schema.clone(),
            pseudo: vec![],
            key_format: SerdeSpec::key(Format::Kafka),
            value_format: SerdeSpec::value(Format::Internal),
            timestamp: TimestampFrom::Record,
            window: None,
            store,
            history: None,
        };
        self.add(sub, kind, &[], schema, Op::Source(source))
    }

    fn sink(&mut self, sub: usize, input: usize, relation: &str, topic: &str) -> usize {
        let schema = self.0[input].schema.clone();
        let sink = Sink {
            relation: relation.into(),
            topic: topic.into(),
            key_format: SerdeSpec::key(Format::Kafka),
            value_format: SerdeSpec::value(Format::Internal),
            window: None,
            timestamp: TimestampFrom::Record,
        };
        self.add(sub, RelationKind::Table, &[input], schema, Op::Sink(sink))
    }
}

fn sub(id: usize, nodes: &[Node], stores: &[u16], like: Option<&str>) -> SubTopology {
    let own = nodes.iter().filter(|node| node.sub == id);
    SubTopology {
        id,
        nodes: own.clone().map(|node| node.id).collect(),
        sources: own
            .filter(|node| matches!(node.op, Op::Source(_)))
            .map(|node| node.id)
            .collect(),
        stores: stores.to_vec(),
        partitioned_like: like.map(Into::into),
    }
}

pub fn topology() -> Topology {
    use RelationKind::{Stream, Table};
    let (bigint, double, string) = (SqlType::Bigint, SqlType::Double, SqlType::String);
    let rating = schema("USER", &[("MOVIE", bigint.clone()), ("RATING", double.clone())]);
    let by_movie = schema("MOVIE", &[("RATING", double.clone())]);
    let averages = [
        ("N", bigint.clone()),
        ("TOTAL", double.clone()),
        ("AVERAGE", double.clone()),
    ];
    let movie = [("TITLE", string.clone()), ("GENRE", bigint.clone())];
    let rated = schema("MOVIE", &[&averages[..], &movie[..]].concat());
    let genre = schema("GENRE", &[("TITLE", string.clone())]);
    let genres = schema("GENRE", &[("N", bigint.clone())]);
    let call = |name: &str| AggregateCall::new(name, vec![(Expr::Value(0), SqlType::Double)]).unwrap();
    let calls = vec![AggregateCall::count_all(), call("SUM"), call("AVG")];
    let state_of = |calls: &[AggregateCall]| calls.iter().flat_map(AggregateCall::state_types).collect::<Vec<_>>();
    let aggregate = Aggregate {
        calls: calls.clone(),
        of_table: false,
        store: 0,
        elements: None,
        keep_empty: false,
    };
    let count = Aggregate {
        calls: vec![AggregateCall::count_all()],
        of_table: true,
        store: 2,
        elements: None,
        keep_empty: false,
    };
    let repartition = |name: &str, key: usize, value: usize| {
        Op::Repartition(Repartition {
            name: name.into(),
            key: vec![Expr::Value(key)],
            value: vec![Expr::Value(value)],
            partitions: None,
        })
    };
    let mut b = Builder(Vec::new());
    let ratings = b.source(0, Stream, SourceTopic::External("RATINGS".into()), rating.clone(), None);
    let rekeyed = b.add(0, Stream, &[ratings], by_movie.clone(), repartition("AVERAGES", 0, 1));
    let back = b.source(1, Stream, SourceTopic::Repartition(rekeyed), by_movie, None);
    let averaged = b.add(
        1,
        Table,
        &[back],
        schema("MOVIE", &averages),
        Op::Aggregate(aggregate.clone()),
    );
    let movies = b.source(
        1,
        Table,
        SourceTopic::External("MOVIES".into()),
        schema("MOVIE", &movie),
        Some(1),
    );
    let join = TableTableJoin {
        kind: JoinKind::Inner,
        left: TablePlan::Aggregate(aggregate),
        right: TablePlan::Store(1),
    };
    let joined = b.add(1, Table, &[averaged, movies], rated.clone(), Op::TableTableJoin(join));
    b.sink(1, joined, "RATED", RATED);
    let by_genre = b.add(1, Table, &[movies], genre.clone(), repartition("GENRES", 1, 0));
    let back = b.source(2, Table, SourceTopic::Repartition(by_genre), genre, None);
    let counted = b.add(2, Table, &[back], genres.clone(), Op::Aggregate(count.clone()));
    b.sink(2, counted, "GENRES", GENRES);
    let store = |id: u16, name: &str, value: Vec<SqlType>, sub: usize| StoreSpec {
        id,
        name: name.into(),
        key: vec![SqlType::Bigint],
        value,
        sub,
    };
    let counts = [vec![SqlType::Bigint], state_of(&count.calls)].concat();
    let subs = vec![
        sub(0, &b.0, &[], Some("RATINGS")),
        sub(1, &b.0, &[0, 1], Some("MOVIES")),
        sub(2, &b.0, &[2], None),
    ];
    Topology {
        name: "movies".into(),
        relations: vec![
            relation("RATINGS", Stream, RATINGS, rating, false),
            relation("MOVIES", Table, MOVIES, schema("MOVIE", &movie), false),
            relation("RATED", Table, RATED, rated, true),
            relation("GENRES", Table, GENRES, genres, true),
        ],
        nodes: b.0,
        subs,
        stores: vec![
            store(0, "AVERAGES", state_of(&calls), 1),
            store(1, "MOVIES", vec![string, bigint], 1),
            store(2, "GENRES", counts, 2),
        ],
        views: vec![],
        properties: vec![],
        inserts: Vec::new(),
        asserts: Vec::new(),
        globals: Vec::new(),
    }
}
