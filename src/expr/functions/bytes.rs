//! Functions of bytes, and of the encodings of text.

use base64::Engine;

use super::string::{MAX_TEXT_BYTES, range, too_long};
use super::{CallContext, EvalError, Signature, Ty, length, number, text};
use crate::types::{BASE64, Value};

type Result = std::result::Result<Value, EvalError>;
type Decoded = std::result::Result<Vec<u8>, EvalError>;

const S: Ty = Ty::String;
const I: Ty = Ty::Integer;
const B: Ty = Ty::Bytes;

const FROM: &str = "The number in big-endian order; NULL if the bytes are not as many as it needs.";
const FROM_IN: &str = "The number in the order 'BIG_ENDIAN' or 'LITTLE_ENDIAN'; NULL for another word.";
const PAD_LEFT: &str = "The bytes filled up from the left to a length, or cut to it.";
const PAD_RIGHT: &str = "The bytes filled up from the right to a length, or cut to it.";

functions! {
    "BIGINT_FROM_BYTES"(B) -> Ty::Bigint, bigint, FROM, ["BIGINT_FROM_BYTES(TO_BYTES('AAAAASoF8gA=', 'base64'))" => "5000000000"];
    "BIGINT_FROM_BYTES"(B, S) -> Ty::Bigint, bigint, FROM_IN, [];
    "CONCAT"(B) -> B, concat, "The bytes one after the other; NULLs are left out.",
        ["CONCAT(TO_BYTES('a', 'utf8'), TO_BYTES('b', 'utf8'))" => "TO_BYTES('ab', 'utf8')"] .variadic() .sees_nulls();
    "CONCAT_WS"(B, B) -> B, concat_ws, "The bytes after the first, with the first between them; NULLs are left out.", [] .variadic() .sees_nulls();
    "DOUBLE_FROM_BYTES"(B) -> Ty::Double, double, FROM, ["DOUBLE_FROM_BYTES(TO_BYTES('QICm/ZvJ9YI=', 'base64'))" => "532.8738323"];
    "DOUBLE_FROM_BYTES"(B, S) -> Ty::Double, double, FROM_IN, [];
    "ENCODE"(S, S, S) -> S, encode, "The text of one encoding in another one: 'hex', 'utf8', 'ascii' or 'base64'.",
        ["ENCODE('4578616d706c65', 'hex', 'utf8')" => "'Example'", "ENCODE('Example', 'ascii', 'base64')" => "'RXhhbXBsZQ=='"];
    "FROM_BYTES"(B, S) -> S, |a, _| Ok(Value::string(Encoding::named(&a[1])?.encode(bytes(&a[0]), true))),
        "The bytes as text in the encoding 'hex', 'utf8', 'ascii' or 'base64'.", ["FROM_BYTES(TO_BYTES('hi', 'utf8'), 'hex')" => "'6869'"];
    "INT_FROM_BYTES"(B) -> I, integer, FROM, ["INT_FROM_BYTES(TO_BYTES('AAAH5Q==', 'base64'))" => "2021"];
    "INT_FROM_BYTES"(B, S) -> I, integer, FROM_IN, ["INT_FROM_BYTES(TO_BYTES('E5070000', 'hex'), 'LITTLE_ENDIAN')" => "2021"];
    "LEN"(B) -> I, |a, _| Ok(length(bytes(&a[0]).len())), "The number of bytes.", ["LEN(TO_BYTES('00FF', 'hex'))" => "2"];
    "LPAD"(B, I, B) -> B, |a, _| pad(a, true), PAD_LEFT, [];
    "RPAD"(B, I, B) -> B, |a, _| pad(a, false), PAD_RIGHT, [];
    "SPLIT"(B, B) -> Ty::Array(&B), split, "The parts between the delimiters; an empty delimiter gives the single bytes.", [];
    "SUBSTRING"(B, I) -> B, substring, "The bytes from a position on; a negative one counts from the end.", [];
    "SUBSTRING"(B, I, I) -> B, substring, "At most so many bytes from a position on.", [];
    "TO_BYTES"(S, S) -> B, |a, _| Ok(value(Encoding::named(&a[1])?.decode(text(&a[0]))?)),
        "The bytes of a text in the encoding 'hex', 'utf8', 'ascii' or 'base64'.", ["TO_BYTES('6869', 'hex')" => "TO_BYTES('hi', 'ascii')"];
}

pub(super) fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Bytes(bytes) => bytes,
        _ => &[],
    }
}

fn value(bytes: Vec<u8>) -> Value {
    Value::Bytes(bytes.into())
}

#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Hex,
    Utf8,
    Ascii,
    Base64,
}

impl Encoding {
    fn named(name: &Value) -> std::result::Result<Self, EvalError> {
        match text(name).to_lowercase().as_str() {
            "hex" => Ok(Self::Hex),
            "utf8" => Ok(Self::Utf8),
            "ascii" => Ok(Self::Ascii),
            "base64" => Ok(Self::Base64),
            _ => Err(EvalError::new(format!(
                "there is no encoding '{}'; there are 'hex', 'utf8', 'ascii' and 'base64'",
                text(name)
            ))),
        }
    }

    fn decode(self, text: &str) -> Decoded {
        match self {
            Self::Hex => from_hex(text),
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Ascii => Ok(text
                .chars()
                .map(|c| if c.is_ascii() { c as u8 } else { b'?' })
                .collect()),
            Self::Base64 => {
                let known = text.bytes().filter_map(|c| match c {
                    b'-' => Some(b'+'),
                    b'_' => Some(b'/'),
                    b'+' | b'/' => Some(c),
                    c => c.is_ascii_alphanumeric().then_some(c),
                });
                BASE64
                    .decode(known.collect::<Vec<u8>>())
                    .map_err(|e| EvalError::new(format!("no base64: {e}")))
            }
        }
    }

    fn encode(self, bytes: &[u8], upper: bool) -> String {
        match self {
            Self::Hex if upper => bytes.iter().map(|b| format!("{b:02X}")).collect(),
            Self::Hex => bytes.iter().map(|b| format!("{b:02x}")).collect(),
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Ascii => {
                let char = |b: &u8| {
                    if b.is_ascii() {
                        *b as char
                    } else {
                        char::REPLACEMENT_CHARACTER
                    }
                };
                bytes.iter().map(char).collect()
            }
            Self::Base64 => BASE64.encode(bytes),
        }
    }
}

/// `AB79`, `0xAB79` or `X'AB79'`.
fn from_hex(text: &str) -> Decoded {
    let quoted = text.strip_prefix(['x', 'X']).and_then(|t| t.strip_prefix('\''));
    let digits = match (text.strip_prefix("0x"), quoted.and_then(|t| t.strip_suffix('\''))) {
        (Some(digits), _) if digits.len() % 2 == 1 => format!("0{digits}"),
        (Some(digits), _) | (None, Some(digits)) => digits.to_string(),
        (None, None) => text.to_string(),
    };
    let wrong = || EvalError::new(format!("'{text}' is no hexadecimal text of whole bytes"));
    if digits.len() % 2 == 1 {
        return Err(wrong());
    }
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let all = digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    all.ok_or_else(wrong)
}

fn encode(args: &[Value], _: &CallContext<'_>) -> Result {
    let (from, to) = (Encoding::named(&args[1])?, Encoding::named(&args[2])?);
    if from == to {
        return Err(EvalError::new("ENCODE: the two encodings are the same"));
    }
    Ok(Value::string(to.encode(&from.decode(text(&args[0]))?, false)))
}

/// So many bytes in big-endian order; `None` when there are more or fewer, or for an unknown order.
fn ordered<const N: usize>(args: &[Value]) -> Option<[u8; N]> {
    let mut all: [u8; N] = bytes(&args[0]).try_into().ok()?;
    match args.get(1).map(text) {
        None => {}
        Some(order) if order.eq_ignore_ascii_case("BIG_ENDIAN") => {}
        Some(order) if order.eq_ignore_ascii_case("LITTLE_ENDIAN") => all.reverse(),
        Some(_) => return None,
    }
    Some(all)
}

fn integer(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(ordered(args).map_or(Value::Null, |b| Value::Integer(i32::from_be_bytes(b))))
}

fn bigint(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(ordered(args).map_or(Value::Null, |b| Value::Bigint(i64::from_be_bytes(b))))
}

fn double(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(ordered(args).map_or(Value::Null, |b| Value::Double(f64::from_be_bytes(b))))
}

fn concat(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(value(args.iter().flat_map(bytes).copied().collect()))
}

fn concat_ws(args: &[Value], _: &CallContext<'_>) -> Result {
    let [Value::Bytes(separator), parts @ ..] = args else {
        return Ok(Value::Null);
    };
    if parts.len().saturating_mul(separator.len()) > MAX_TEXT_BYTES {
        return Err(too_long("CONCAT_WS"));
    }
    let parts: Vec<&[u8]> = parts.iter().filter(|p| !p.is_null()).map(bytes).collect();
    Ok(value(parts.join(&separator[..])))
}

fn pad(args: &[Value], left: bool) -> Result {
    let (given, fill) = (bytes(&args[0]), bytes(&args[2]));
    let Ok(wanted) = usize::try_from(number(&args[1])) else {
        return Ok(Value::Null);
    };
    if fill.is_empty() {
        return Ok(Value::Null);
    }
    let Some(missing) = wanted.checked_sub(given.len()) else {
        return Ok(Value::Bytes(given[..wanted].into()));
    };
    if wanted > MAX_TEXT_BYTES {
        return Err(too_long(if left { "LPAD" } else { "RPAD" }));
    }
    let filling = fill.iter().copied().cycle().take(missing);
    Ok(value(if left {
        filling.chain(given.iter().copied()).collect()
    } else {
        given.iter().copied().chain(filling).collect()
    }))
}

fn split(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, delimiter) = (bytes(&args[0]), bytes(&args[1]));
    if delimiter.is_empty() && !all.is_empty() {
        return Ok(Value::Array(all.iter().map(|b| Value::Bytes([*b].into())).collect()));
    }
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while !delimiter.is_empty() && at + delimiter.len() <= all.len() {
        if all[at..].starts_with(delimiter) {
            parts.push(Value::Bytes(all[start..at].into()));
            at += delimiter.len();
            start = at;
        } else {
            at += 1;
        }
    }
    parts.push(Value::Bytes(all[start..].into()));
    Ok(Value::Array(parts.into()))
}

fn substring(args: &[Value], _: &CallContext<'_>) -> Result {
    let all = bytes(&args[0]);
    let range = range(all.len(), number(&args[1]), args.get(2).map(number));
    Ok(Value::Bytes(all[range].into()))
}
