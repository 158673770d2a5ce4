//! Functions of arrays and maps, and of lists of arguments.

use rustc_hash::FxHashSet;

use super::string::{MAX_TEXT_BYTES, too_long};
use super::{CallContext, EvalError, Signature, Ty, length, number, text};
use crate::expr::text::in_hash_order;
use crate::expr::{CompareOp, cast_value, comparable};
use crate::types::{SqlType, StructField, Value, map_value};

type Result = std::result::Result<Value, EvalError>;

const T: Ty = Ty::Any('T');
const K: Ty = Ty::Any('K');
const V: Ty = Ty::Any('V');
const S: Ty = Ty::String;
const I: Ty = Ty::Integer;
const L: Ty = Ty::Bigint;
const ARRAY: Ty = Ty::Array(&T);
const MAP: Ty = Ty::Map(&K, &V);

/// A larger array is an error of the row: no single value should be able to fill the memory.
const MAX_ITEMS: i128 = 1 << 21;

const SERIES: &str = "The whole numbers from the first argument to the second, both included.";
const SERIES_BY: &str = "The same in steps of the third argument.";

functions! {
    "ARRAY_CONCAT"(ARRAY, ARRAY) -> ARRAY, concat, "The items of both arrays one after the other; of NULL and an array, the array.",
        ["ARRAY_CONCAT(ARRAY[1, 2], ARRAY[2])" => "ARRAY[1, 2, 2]"] .sees_nulls();
    "ARRAY_CONTAINS"(ARRAY, T) -> Ty::Boolean, contains, "Whether the array has the value; FALSE if it is NULL.",
        ["ARRAY_CONTAINS(ARRAY[1, 2, 3], 3)" => "TRUE"] .sees_nulls();
    "ARRAY_DISTINCT"(ARRAY) -> ARRAY, |a, _| Ok(set(&a[0], |_| true)), "Each different item once, in the order in which they come first.",
        ["ARRAY_DISTINCT(ARRAY[1, 1, 2, 1])" => "ARRAY[1, 2]"];
    "ARRAY_EXCEPT"(ARRAY, ARRAY) -> ARRAY, except, "Each different item of the first array that is not in the second.",
        ["ARRAY_EXCEPT(ARRAY[1, 2, 3, 1], ARRAY[2, 3])" => "ARRAY[1]"];
    "ARRAY_INTERSECT"(ARRAY, ARRAY) -> ARRAY, intersect, "Each different item of the first array that is in the second, too.",
        ["ARRAY_INTERSECT(ARRAY[1, 2, 3, 1], ARRAY[2, 1])" => "ARRAY[1, 2]"];
    "ARRAY_JOIN"(ARRAY) -> S, join, "The items as text with commas between them; NULL prints as null.",
        ["ARRAY_JOIN(ARRAY[1, NULL, 3])" => "'1,null,3'"] .computed(joined);
    "ARRAY_JOIN"(ARRAY, S) -> S, join, "The items as text with the delimiter between them.",
        ["ARRAY_JOIN(ARRAY['a', 'b'], ' - ')" => "'a - b'"] .computed(joined) .sees_nulls();
    "ARRAY_LENGTH"(ARRAY) -> I, array_length, "The number of items.", ["ARRAY_LENGTH(ARRAY[1, 2])" => "2"];
    "ARRAY_MAX"(ARRAY) -> T, |a, _| Ok(known(&a[0]).max().cloned().unwrap_or_default()), "The greatest item; NULLs are left out.",
        ["ARRAY_MAX(ARRAY['Foo', NULL, 'baz'])" => "'baz'"] .computed(item);
    "ARRAY_MIN"(ARRAY) -> T, |a, _| Ok(known(&a[0]).min().cloned().unwrap_or_default()), "The least item; NULLs are left out.",
        ["ARRAY_MIN(ARRAY[2, NULL, 1])" => "1"] .computed(item);
    "ARRAY_REMOVE"(ARRAY, T) -> ARRAY, remove, "The array without the items that are equal to a value, which may be NULL.",
        ["ARRAY_REMOVE(ARRAY[1, 2, 3, 2], 2)" => "ARRAY[1, 3]"] .sees_nulls();
    "ARRAY_SORT"(ARRAY) -> ARRAY, sort, "The items in ascending order, NULLs last.", ["ARRAY_SORT(ARRAY[3, NULL, 1])" => "ARRAY[1, 3, NULL]"]
        .computed(sorted);
    "ARRAY_SORT"(ARRAY, S) -> ARRAY, sort, "The items in the order 'ASC' or 'DESC', NULLs last; NULL for another word.",
        ["ARRAY_SORT(ARRAY[1, NULL, 3], 'DESC')" => "ARRAY[3, 1, NULL]"] .computed(sorted);
    "ARRAY_UNION"(ARRAY, ARRAY) -> ARRAY, union, "Each different item of both arrays, in the order in which they come first.",
        ["ARRAY_UNION(ARRAY[1, 2, 1], ARRAY[4, 1])" => "ARRAY[1, 2, 4]"];
    "AS_MAP"(Ty::Array(&S), Ty::Array(&T)) -> Ty::Map(&S, &T), as_map, "A map of a list of keys and a list of values; missing values are NULL.",
        ["AS_MAP(ARRAY['a', 'b'], ARRAY[1, 2])" => "MAP('a' := 1, 'b' := 2)"];
    "ELT"(I, S) -> S, elt, "The nth of the following arguments; NULL outside.", ["ELT(2, 'a', 'b')" => "'b'"] .variadic() .sees_nulls();
    "ENTRIES"(Ty::Map(&S, &V), Ty::Boolean) -> Ty::Array(&Ty::Entry(&V)), entries,
        "The entries of a map as an array of STRUCTs with fields K and V. Sorted they come in the order of the keys, else in that of Java's HashMap, as in ksqlDB.",
        ["ENTRIES(MAP('b' := 2, 'a' := 1), TRUE)" => "ARRAY[STRUCT(K := 'a', V := 1), STRUCT(K := 'b', V := 2)]"] .computed(entry_array);
    "FIELD"(S, S) -> I, field, "The position of the first argument among the following; 0 if it is not there.",
        ["FIELD('b', 'a', 'b')" => "2"] .variadic() .sees_nulls();
    "GENERATE_SERIES"(I, I) -> Ty::Array(&I), series, SERIES, ["GENERATE_SERIES(1, 3)" => "ARRAY[1, 2, 3]", "GENERATE_SERIES(1, -1)" => "ARRAY[1, 0, -1]"];
    "GENERATE_SERIES"(L, L) -> Ty::Array(&L), series, SERIES, [];
    "GENERATE_SERIES"(I, I, I) -> Ty::Array(&I), series, SERIES_BY, ["GENERATE_SERIES(0, 5, 2)" => "ARRAY[0, 2, 4]"];
    "GENERATE_SERIES"(L, L, I) -> Ty::Array(&L), series, SERIES_BY, [];
    "MAP_KEYS"(MAP) -> Ty::Array(&K), |a, _| Ok(side(&a[0], |(k, _)| k)), "The keys of a map, in the order of Java's HashMap, as in ksqlDB.", ["MAP_KEYS(MAP('a' := 1))" => "ARRAY['a']"];
    "MAP_UNION"(MAP, MAP) -> MAP, map_union, "The entries of both maps; of a key in both, the second one's value. NULL if both are NULL.",
        ["MAP_UNION(MAP('a' := 1, 'b' := 2), MAP('a' := 5))" => "MAP('a' := 5, 'b' := 2)"] .sees_nulls();
    "MAP_VALUES"(MAP) -> Ty::Array(&V), |a, _| Ok(side(&a[0], |(_, v)| v)), "The values of a map, in the order of MAP_KEYS.",
        ["MAP_VALUES(MAP('a' := 1))" => "ARRAY[1]"];
    "SLICE"(ARRAY, I, I) -> ARRAY, slice, "The items from one position to another, both included and counted from 1; NULL outside of the array.",
        ["SLICE(ARRAY[1, 2, 3, 4], 2, 3)" => "ARRAY[2, 3]"] .sees_nulls();
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

fn known(array: &Value) -> impl Iterator<Item = &Value> {
    items(array).iter().filter(|v| !v.is_null())
}

fn item_type(args: &[SqlType]) -> std::result::Result<&SqlType, String> {
    match args.first() {
        Some(SqlType::Array(item)) => Ok(item),
        _ => Err("an ARRAY is wanted".into()),
    }
}

/// The type of the items, which must have an order; BOOLEANs have one here: FALSE before TRUE.
fn item(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    let item = item_type(args)?;
    if *item == SqlType::Boolean || comparable(item, CompareOp::Less) {
        Ok(item.clone())
    } else {
        Err(format!("the items must have an order: {item} has none"))
    }
}

fn sorted(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    Ok(SqlType::Array(item(args)?.into()))
}

fn joined(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    match item_type(args)? {
        of @ (SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_) | SqlType::Bytes) => {
            Err(format!("ARRAY_JOIN takes items that have a text, not {of}"))
        }
        _ => Ok(SqlType::String),
    }
}

fn entry_array(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    let Some(SqlType::Map(key, value)) = args.first() else {
        return Err("ENTRIES takes a MAP".into());
    };
    let field = |name: &str, sql_type: &SqlType| StructField {
        name: name.into(),
        sql_type: sql_type.clone(),
    };
    let fields = vec![field("K", key), field("V", value)];
    Ok(SqlType::Array(SqlType::Struct(fields.into()).into()))
}

fn concat(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match (&args[0], &args[1]) {
        (Value::Null, other) | (other, Value::Null) => other.clone(),
        (a, b) => Value::Array(items(a).iter().chain(items(b)).cloned().collect()),
    })
}

fn contains(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(Value::Boolean(items(&args[0]).contains(&args[1])))
}

/// Each different item once, if it is wanted.
fn set<'a>(array: impl IntoItems<'a>, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut seen = FxHashSet::default();
    Value::Array(
        array
            .values()
            .filter(|v| wanted(v) && seen.insert(*v))
            .cloned()
            .collect(),
    )
}

/// One array or two.
trait IntoItems<'a> {
    fn values(self) -> impl Iterator<Item = &'a Value>;
}

impl<'a> IntoItems<'a> for &'a Value {
    fn values(self) -> impl Iterator<Item = &'a Value> {
        items(self).iter()
    }
}

impl<'a> IntoItems<'a> for (&'a Value, &'a Value) {
    fn values(self) -> impl Iterator<Item = &'a Value> {
        items(self.0).iter().chain(items(self.1))
    }
}

fn except(args: &[Value], _: &CallContext<'_>) -> Result {
    let without: FxHashSet<&Value> = items(&args[1]).iter().collect();
    Ok(set(&args[0], |v| !without.contains(v)))
}

fn intersect(args: &[Value], _: &CallContext<'_>) -> Result {
    let with: FxHashSet<&Value> = items(&args[1]).iter().collect();
    Ok(set(&args[0], |v| with.contains(v)))
}

fn union(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(set((&args[0], &args[1]), |_| true))
}

fn join(args: &[Value], _: &CallContext<'_>) -> Result {
    let Value::Array(all) = &args[0] else {
        return Ok(Value::Null);
    };
    let delimiter = args.get(1).map_or(",", text);
    let texts: usize = all
        .iter()
        .map(|item| if let Value::String(s) = item { s.len() } else { 0 })
        .sum();
    if all.len().saturating_mul(delimiter.len()).saturating_add(texts) > MAX_TEXT_BYTES {
        return Err(too_long("ARRAY_JOIN"));
    }
    let mut out = String::new();
    for (i, item) in all.iter().enumerate() {
        if i > 0 {
            out.push_str(delimiter);
        }
        match cast_value(item, &SqlType::String)? {
            Value::String(s) => out.push_str(&s),
            _ => out.push_str("null"),
        }
    }
    Ok(Value::string(out))
}

fn array_length(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(length(items(&args[0]).len()))
}

fn remove(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match &args[0] {
        Value::Array(items) => Value::Array(items.iter().filter(|v| **v != args[1]).cloned().collect()),
        _ => Value::Null,
    })
}

fn sort(args: &[Value], _: &CallContext<'_>) -> Result {
    let descending = match args.get(1).map(|d| text(d).to_uppercase()).as_deref() {
        None | Some("ASC" | "ASCENDING") => false,
        Some("DESC" | "DESCENDING") => true,
        Some(_) => return Ok(Value::Null),
    };
    let mut sorted: Vec<Value> = items(&args[0]).to_vec();
    sorted.sort_by(|a, b| {
        let order = if descending { b.cmp(a) } else { a.cmp(b) };
        a.is_null().cmp(&b.is_null()).then(order)
    });
    Ok(Value::Array(sorted.into()))
}

fn as_map(args: &[Value], _: &CallContext<'_>) -> Result {
    let values = items(&args[1]);
    let mut entries = Vec::new();
    for (i, key) in items(&args[0]).iter().enumerate() {
        if key.is_null() {
            return Err(EvalError::new(format!("AS_MAP: the key {} is NULL", i + 1)));
        }
        entries.push((key.clone(), values.get(i).cloned().unwrap_or_default()));
    }
    Ok(map_value(entries))
}

fn elt(args: &[Value], _: &CallContext<'_>) -> Result {
    let at = usize::try_from(number(&args[0])).unwrap_or(0);
    Ok(if at == 0 {
        Value::Null
    } else {
        args.get(at).cloned().unwrap_or_default()
    })
}

fn entries(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match &args[0] {
        Value::Map(entries) => {
            let entry = |(k, v): &(Value, Value)| Value::Struct([k.clone(), v.clone()].into());
            let sorted = args[1] == Value::Boolean(true);
            Value::Array(if sorted {
                entries.iter().map(entry).collect()
            } else {
                in_hash_order(entries).into_iter().map(entry).collect()
            })
        }
        _ => Value::Null,
    })
}

fn field(args: &[Value], _: &CallContext<'_>) -> Result {
    if args[0].is_null() {
        return Ok(Value::Integer(0));
    }
    Ok(length(
        args[1..].iter().position(|v| *v == args[0]).map_or(0, |i| i + 1),
    ))
}

fn series(args: &[Value], call: &CallContext<'_>) -> Result {
    let (start, end) = (i128::from(number(&args[0])), i128::from(number(&args[1])));
    let step = match args.get(2) {
        Some(step) => i128::from(number(step)),
        None if start < end => 1,
        None => -1,
    };
    if step == 0 {
        return Err(EvalError::new("GENERATE_SERIES: the step is 0"));
    }
    if (end - start).signum() * step.signum() < 0 {
        return Err(EvalError::new(format!(
            "GENERATE_SERIES: steps of {step} do not lead from {start} to {end}"
        )));
    }
    let count = (end - start) / step + 1;
    if count > MAX_ITEMS {
        return Err(EvalError::new(format!(
            "GENERATE_SERIES: {count} items, {MAX_ITEMS} are allowed"
        )));
    }
    let small = matches!(call.sql_type, SqlType::Array(item) if **item == SqlType::Integer);
    let item = |i: i128| {
        let n = (start + i * step) as i64;
        if small {
            Value::Integer(n as i32)
        } else {
            Value::Bigint(n)
        }
    };
    Ok(Value::Array((0..count).map(item).collect()))
}

fn side(map: &Value, pick: fn(&(Value, Value)) -> &Value) -> Value {
    match map {
        Value::Map(entries) => Value::Array(in_hash_order(entries).into_iter().map(|e| pick(e).clone()).collect()),
        _ => Value::Null,
    }
}

fn map_union(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match (&args[0], &args[1]) {
        (Value::Map(a), Value::Map(b)) => map_value(a.iter().chain(b.iter()).cloned().collect()),
        (Value::Null, other) | (other, _) => other.clone(),
    })
}

fn slice(args: &[Value], _: &CallContext<'_>) -> Result {
    let Value::Array(all) = &args[0] else {
        return Ok(Value::Null);
    };
    let start = if args[1].is_null() { 0 } else { number(&args[1]) - 1 };
    let end = if args[2].is_null() {
        all.len() as i64
    } else {
        number(&args[2])
    };
    let part = match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) => all.get(start..end),
        _ => None,
    };
    Ok(part.map_or(Value::Null, |part| Value::Array(part.into())))
}
