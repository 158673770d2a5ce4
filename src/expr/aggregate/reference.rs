//! The names of the aggregate functions, with what a manual says of each. It is not the type check: that is `resolve.rs`.

/// One line of the reference of aggregate functions.
#[derive(Clone, Copy, Debug)]
pub struct AggregateDoc {
    /// The SQL name.
    pub name: &'static str,
    /// Its arguments, as in a manual.
    pub arguments: &'static str,
    /// What it gives.
    pub doc: &'static str,
}

const fn doc(name: &'static str, arguments: &'static str, doc: &'static str) -> AggregateDoc {
    AggregateDoc { name, arguments, doc }
}

/// The aggregate functions: what the parser takes for one, and the manual.
pub const AGGREGATES: &[AggregateDoc] = &[
    doc("ATTR", "any", "The value if all rows have the same one, else NULL."),
    doc("AVG", "number", "The average, as DOUBLE; 0 of no rows."),
    doc(
        "COLLECT_LIST",
        "any",
        "An ARRAY of all values, NULL included, in the order of their arrival; at most ksql.functions.collect_list.limit.",
    ),
    doc(
        "COLLECT_SET",
        "any",
        "An ARRAY of the different values, NULL included, in the order of the first of each; at most ksql.functions.collect_set.limit.",
    ),
    doc("CORRELATION", "number, number", "Pearson's correlation coefficient."),
    doc(
        "COUNT",
        "* | any | DISTINCT any, ...",
        "How many rows, how many rows where the argument is not NULL, or exactly how many different values.",
    ),
    doc("COUNT_DISTINCT", "any", "How many different values, exactly."),
    doc(
        "EARLIEST_BY_OFFSET",
        "any [, n] [, ignore_nulls]",
        "The value of the first row, or an ARRAY of the first n; NULLs are skipped unless the last argument is FALSE. Over a table the row with the least event time is the first.",
    ),
    doc(
        "HISTOGRAM",
        "STRING",
        "A MAP of how often each value occurs; at most 1000 entries.",
    ),
    doc(
        "LATEST_BY_OFFSET",
        "any [, n] [, ignore_nulls]",
        "The value of the last row, or an ARRAY of the last n; NULLs are skipped unless the last argument is FALSE. Over a table the row with the greatest event time is the last.",
    ),
    doc("MAX", "ordered", "The greatest value."),
    doc("MIN", "ordered", "The least value."),
    doc(
        "STDDEV_SAMP",
        "number",
        "The variance of a sample, as ksqlDB computes it under this name; 0 of less than two rows.",
    ),
    doc(
        "STDDEV_SAMPLE",
        "number",
        "The standard deviation of a sample; 0 of less than two rows.",
    ),
    doc("SUM", "number", "The sum, of the argument's type; 0 of no rows."),
    doc(
        "SUM_LIST",
        "ARRAY of numbers",
        "The sum of the items of all arrays; 0 of no rows.",
    ),
    doc(
        "TOPK",
        "ordered [, any ...], k",
        "An ARRAY of the k greatest values, the greatest first; with further columns of STRUCTs of sort_col, col0, col1 and so on.",
    ),
    doc(
        "TOPKDISTINCT",
        "ordered, k",
        "An ARRAY of the k greatest different values, the greatest first.",
    ),
];
