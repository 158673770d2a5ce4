//! Trees of every shape, printed and parsed: the same tree comes back.

mod words;

use proptest::prelude::*;
use proptest::sample::select;

use words::{NAMES, NUMBERS, TEXTS};

use super::super::*;
use crate::expr::{ArithmeticOp, CompareOp};
use crate::sql::ast::*;
use crate::topology::JoinKind;
use crate::types::{RelationKind, StructField};

fn name() -> impl Strategy<Value = Name> {
    let text = prop_oneof![4 => select(NAMES).prop_map(str::to_string), 1 => "\\PC{1,6}"];
    text.prop_map(|text| Name {
        text: text.into(),
        span: Span::default(),
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![select(TEXTS).prop_map(str::to_string), "\\PC{0,6}"]
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Boolean),
        select(NUMBERS).prop_map(|n| Literal::Number(n.into())),
        text().prop_map(Literal::String),
    ]
}

fn sql_type() -> BoxedStrategy<SqlType> {
    let plain = vec![
        SqlType::Boolean,
        SqlType::Integer,
        SqlType::Bigint,
        SqlType::Double,
        SqlType::Decimal {
            precision: 38,
            scale: 0,
        },
        SqlType::Decimal { precision: 4, scale: 4 },
        SqlType::String,
        SqlType::Bytes,
        SqlType::Date,
        SqlType::Time,
        SqlType::Timestamp,
    ];
    let nested = select(plain).prop_recursive(3, 8, 3, |inner| {
        let fields = proptest::collection::btree_map(name().prop_map(|n| n.text), inner.clone(), 0..3);
        prop_oneof![
            inner.clone().prop_map(|t| SqlType::Array(t.into())),
            (inner.clone(), inner).prop_map(|(k, v)| SqlType::Map(k.into(), v.into())),
            fields.prop_map(|fields| {
                let fields = fields
                    .into_iter()
                    .map(|(name, sql_type)| StructField { name, sql_type });
                SqlType::Struct(fields.collect())
            }),
        ]
    });
    nested.boxed()
}

fn at(kind: ExpressionKind) -> Expression {
    Expression {
        kind,
        span: Span::default(),
    }
}

fn negated(e: Expression) -> Expression {
    match &e.kind {
        // the parser makes a negative number of it
        ExpressionKind::Literal(Literal::Number(n)) if !n.starts_with('-') => e,
        _ => at(ExpressionKind::Negate(e.into())),
    }
}

const ARITHMETIC: [ArithmeticOp; 5] = [
    ArithmeticOp::Add,
    ArithmeticOp::Subtract,
    ArithmeticOp::Multiply,
    ArithmeticOp::Divide,
    ArithmeticOp::Modulo,
];

const COMPARE: [CompareOp; 6] = [
    CompareOp::Equal,
    CompareOp::NotEqual,
    CompareOp::Less,
    CompareOp::LessOrEqual,
    CompareOp::Greater,
    CompareOp::GreaterOrEqual,
];

/// Conditions and arithmetic over smaller expressions.
fn operators(e: BoxedStrategy<Expression>) -> BoxedStrategy<ExpressionKind> {
    use ExpressionKind::*;
    let two = || (e.clone().prop_map(Box::new), e.clone().prop_map(Box::new));
    let many = proptest::collection::vec(e.clone(), 1..3);
    prop_oneof![
        e.clone().prop_map(|a| Not(a.into())),
        e.clone().prop_map(|a| negated(a).kind),
        two().prop_map(|(a, b)| And(a, b)),
        two().prop_map(|(a, b)| Or(a, b)),
        (select(&COMPARE[..]), two()).prop_map(|(op, (a, b))| Compare(op, a, b)),
        (select(&ARITHMETIC[..]), two()).prop_map(|(op, (a, b))| Arithmetic(op, a, b)),
        (e.clone(), any::<bool>()).prop_map(|(a, not)| IsNull(a.into(), not)),
        (two(), any::<bool>()).prop_map(|((a, b), not)| IsDistinct(a, b, not)),
        (e.clone(), many, any::<bool>()).prop_map(|(a, all, not)| In(a.into(), all, not)),
        (two(), e.clone(), any::<bool>()).prop_map(|((a, b), c, not)| Between(a, b, c.into(), not)),
        (two(), any::<Option<char>>(), any::<bool>()).prop_map(|((a, b), escape, not)| Like(a, b, escape, not)),
    ]
    .boxed()
}

/// What is made of smaller expressions by words and brackets.
fn constructors(e: BoxedStrategy<Expression>) -> BoxedStrategy<ExpressionKind> {
    use ExpressionKind::*;
    let list = |from: usize| proptest::collection::vec(e.clone(), from..3);
    let pairs = |from: usize| proptest::collection::vec((e.clone(), e.clone()), from..3);
    let lambda = (proptest::collection::vec(name(), 1..3), e.clone());
    let lambda = lambda.prop_map(|(params, body)| at(Lambda(params, body.into())));
    let argument = prop_oneof![3 => e.clone(), 1 => lambda];
    let boxed = |e: Expression| Box::new(e);
    prop_oneof![
        (
            proptest::option::of(e.clone()),
            pairs(1),
            proptest::option::of(e.clone())
        )
            .prop_map(move |(operand, whens, otherwise)| Case {
                operand: operand.map(boxed),
                whens,
                otherwise: otherwise.map(boxed),
            }),
        (e.clone(), sql_type()).prop_map(|(a, to)| Cast(a.into(), to)),
        (e.clone(), name()).prop_map(|(a, field)| Field(a.into(), field)),
        (e.clone(), e.clone()).prop_map(|(a, i)| Subscript(a.into(), i.into())),
        list(0).prop_map(Array),
        pairs(0).prop_map(Map),
        proptest::collection::vec((name(), e.clone()), 0..3).prop_map(Struct),
        (list(1), proptest::collection::vec((e.clone(), any::<bool>()), 1..3))
            .prop_map(|(partition_by, order_by)| { RowNumber { partition_by, order_by } }),
        (name(), proptest::collection::vec(argument, 0..3))
            .prop_filter("ROW_NUMBER() wants OVER", |(name, args)| &*name.text != "ROW_NUMBER"
                || !args.is_empty())
            .prop_map(|(name, args)| Call(name, args)),
        (name(), list(1), proptest::option::of(e.clone())).prop_map(move |(name, args, filter)| Aggregate {
            name,
            distinct: true,
            args,
            filter: filter.map(boxed),
        }),
        (name(), list(0), e.clone()).prop_map(|(name, args, filter)| Aggregate {
            name,
            distinct: false,
            args,
            filter: Some(filter.into()),
        }),
    ]
    .boxed()
}

fn expression_tree() -> BoxedStrategy<Expression> {
    let leaf = prop_oneof![
        literal().prop_map(ExpressionKind::Literal),
        (proptest::option::of(name()), name()).prop_map(|(relation, name)| ExpressionKind::Column(relation, name)),
    ];
    let tree = leaf.prop_map(at).prop_recursive(4, 16, 3, |inner| {
        let inner = inner.boxed();
        prop_oneof![operators(inner.clone()), constructors(inner)].prop_map(at)
    });
    tree.boxed()
}

fn duration() -> impl Strategy<Value = Duration> {
    let units = [
        TimeUnit::Days,
        TimeUnit::Hours,
        TimeUnit::Minutes,
        TimeUnit::Seconds,
        TimeUnit::Milliseconds,
    ];
    (0..1000u64, select(units.to_vec())).prop_map(|(count, unit)| Duration {
        count,
        unit,
        span: Span::default(),
    })
}

fn window() -> impl Strategy<Value = Window> {
    let kind = prop_oneof![
        duration().prop_map(|size| WindowType::Tumbling { size }),
        (duration(), duration()).prop_map(|(size, advance)| WindowType::Hopping { size, advance }),
        duration().prop_map(|gap| WindowType::Session { gap }),
    ];
    let optional = || proptest::option::of(duration());
    (kind, optional(), optional()).prop_map(|(window, retention, grace)| Window {
        window,
        retention,
        grace,
        span: Span::default(),
    })
}

fn within() -> impl Strategy<Value = Raw> {
    (
        duration(),
        proptest::option::of(duration()),
        proptest::option::of(duration()),
    )
        .prop_map(|(before, after, grace)| {
            let time = match after {
                Some(after) => format!("( {before} , {after} )"),
                None => before.to_string(),
            };
            let grace = grace.map_or(String::new(), |grace| format!(" GRACE PERIOD {grace}"));
            Raw {
                text: time + &grace,
                span: Span::default(),
            }
        })
}

fn table_ref() -> impl Strategy<Value = TableRef> {
    let named = (proptest::option::of(name()), name(), proptest::option::of(name()));
    named.prop_map(|(topology, name, alias)| TableRef { topology, name, alias })
}

fn query_tree() -> BoxedStrategy<Query> {
    let e = expression_tree;
    let span = Span::default();
    let item = prop_oneof![
        proptest::option::of(name()).prop_map(move |qualifier| SelectItem::All { qualifier, span }),
        (e(), proptest::option::of(name())).prop_map(|(expression, alias)| SelectItem::One { expression, alias }),
        e().prop_map(|of| SelectItem::One {
            expression: at(ExpressionKind::AllFields(of.into())),
            alias: None,
        }),
    ];
    let kinds = vec![JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full];
    let join = (
        select(kinds),
        table_ref(),
        proptest::option::of(e()),
        proptest::option::of(within()),
        e(),
    );
    let join = join.prop_map(move |(kind, right, as_of, within, on)| Join {
        kind,
        right,
        as_of,
        within,
        on,
        span,
    });
    let keys = || proptest::collection::vec(expression_tree(), 0..3);
    let emit = proptest::option::of(select(vec![(Emit::Changes, span), (Emit::Final, span)]));
    let first = (
        proptest::collection::vec(item, 1..3),
        table_ref(),
        proptest::collection::vec(join, 0..2),
        proptest::option::of(window()),
        proptest::option::of(e()),
        keys(),
        keys(),
    );
    let last = (
        proptest::option::of(e()),
        proptest::option::of(e()),
        emit,
        proptest::collection::vec((e(), any::<bool>()), 0..3),
        proptest::option::of(any::<u64>().prop_map(move |n| (n, span))),
    );
    (first, last)
        .prop_map(move |(first, (having, qualify, emit, order_by, limit))| {
            let (select, from, joins, window, filter, group_by, partition_by) = first;
            Query {
                select,
                from,
                joins,
                window,
                filter,
                group_by,
                partition_by,
                having,
                qualify,
                emit,
                order_by,
                limit,
                span,
            }
        })
        .boxed()
}

fn column(roles: Vec<ColumnRole>) -> impl Strategy<Value = ColumnDef> {
    (name(), sql_type(), select(roles)).prop_map(|(name, sql_type, role)| ColumnDef {
        name,
        sql_type,
        role,
        span: Span::default(),
    })
}

fn properties() -> impl Strategy<Value = Vec<Property>> {
    let property = (name(), literal()).prop_map(|(name, value)| Property {
        // names of properties fold
        name: Name {
            text: name.text.to_uppercase().into(),
            span: name.span,
        },
        value,
        span: Span::default(),
    });
    proptest::collection::vec(property, 1..3)
}

fn create() -> BoxedStrategy<StatementKind> {
    let roles = vec![
        ColumnRole::Value,
        ColumnRole::Key,
        ColumnRole::PrimaryKey,
        ColumnRole::Headers(None),
        ColumnRole::Headers(Some("it's".into())),
    ];
    let kind = select(vec![RelationKind::Stream, RelationKind::Table]);
    let columns = proptest::option::of(proptest::collection::vec(column(roles), 0..3));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let query = proptest::option::of(query_tree().prop_map(Box::new));
    (kind, flags, name(), columns, properties(), query)
        .prop_map(
            |(kind, (or_replace, source, if_not_exists), name, columns, with, query)| {
                StatementKind::Create(Create {
                    kind,
                    or_replace,
                    source: source && query.is_none(),
                    if_not_exists,
                    name,
                    columns: columns.filter(|_| query.is_none()),
                    with,
                    query,
                })
            },
        )
        .boxed()
}

fn assertion() -> BoxedStrategy<StatementKind> {
    let resource = || name();
    let topic = (resource(), properties()).prop_map(|(name, with)| Asserted::Topic { name, with });
    let schema = (resource(), proptest::option::of(any::<u32>())).prop_map(|(subject, id)| Asserted::Schema {
        subject: Some(subject),
        id,
    });
    (
        any::<bool>(),
        prop_oneof![topic, schema],
        proptest::option::of(any::<u32>()),
    )
        .prop_map(|(absent, what, ms)| {
            StatementKind::Assert(Assert {
                absent,
                what,
                timeout_ms: ms.map(u64::from),
            })
        })
        .boxed()
}

fn statement_tree() -> BoxedStrategy<StatementKind> {
    let kind = || select(vec![RelationKind::Stream, RelationKind::Table]);
    let added = proptest::collection::vec(column(vec![ColumnRole::Value]), 1..3);
    let values = proptest::collection::vec(expression_tree(), 1..3);
    prop_oneof![
        3 => create(),
        2 => query_tree().prop_map(|query| StatementKind::Query(query.into())),
        1 => assertion(),
        1 => (name(), query_tree()).prop_map(|(into, query)| StatementKind::InsertSelect { into, query: query.into() }),
        1 => (name(), proptest::collection::vec(name(), 0..3), values)
            .prop_map(|(into, columns, values)| StatementKind::InsertValues { into, columns, values }),
        1 => (kind(), any::<bool>(), name(), any::<bool>()).prop_map(|(kind, if_exists, name, delete_topic)| {
            StatementKind::Drop { kind, if_exists, name, delete_topic }
        }),
        1 => (text(), text()).prop_map(|(name, value)| StatementKind::Set(name, value)),
        1 => text().prop_map(StatementKind::Unset),
        1 => (kind(), name(), added).prop_map(|(kind, name, columns)| StatementKind::Alter { kind, name, columns }),
        1 => (any::<bool>(), name(), sql_type()).prop_map(|(if_not_exists, name, sql_type)| StatementKind::CreateType {
            if_not_exists,
            name,
            sql_type,
        }),
        1 => name().prop_map(|name| StatementKind::DropType { if_exists: true, name }),
        1 => (name(), text()).prop_map(|(name, value)| StatementKind::Define(name, value)),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn an_expression_printed_and_parsed_is_the_same(tree in expression_tree()) {
        let printed = tree.to_string();
        let parsed = expression(&printed);
        prop_assert_eq!(parsed.as_ref(), Ok(&tree), "{}", printed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_statement_printed_and_parsed_is_the_same(kind in statement_tree()) {
        let tree = Statement { kind, span: Span::default() };
        let printed = tree.to_string();
        let (parsed, problems) = statements(&printed);
        prop_assert_eq!(problems, [], "{}", printed);
        prop_assert_eq!(parsed, [tree], "{}", printed);
    }
}

/// What the random trees found.
#[test]
fn what_looks_like_something_else_is_quoted_when_printed() {
    for text in [
        "`ARRAY`[1]",
        "F(`DAYS`, `MAP`, `STRUCT`)",
        "`MAP`(A)",
        "(-1)[2]",
        "(-1)->A",
        "SUM() FILTER (WHERE A)",
    ] {
        let tree = expression(text).unwrap_or_else(|p| panic!("{text}: {p:?}"));
        assert_eq!(expression(&tree.to_string()), Ok(tree), "{text}");
    }
    let (parsed, problems) = statements("CREATE TABLE o AS SELECT x FROM s GROUP BY (a = 1) AND (b = 2);");
    assert_eq!((parsed.len(), problems), (1, vec![]));
    let (parsed, problems) = statements("CREATE STREAM o AS SELECT * FROM s QUALIFY `ORDER`();");
    assert_eq!((parsed.len(), problems), (1, vec![]));
}
