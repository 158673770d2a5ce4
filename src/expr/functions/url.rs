//! Functions of URLs, after RFC 2396 as Java's `java.net.URI` reads it, which is what ksqlDB uses.

use super::{CallContext, EvalError, Signature, Ty, text};
use crate::types::Value;

type Result = std::result::Result<Value, EvalError>;

const S: Ty = Ty::String;

functions! {
    "URL_DECODE_PARAM"(S) -> S, |a, _| decode_param(text(&a[0])), "The text of a part of a query: %20 and + are blanks.",
        ["URL_DECODE_PARAM('url%20encoded')" => "'url encoded'"];
    "URL_ENCODE_PARAM"(S) -> S, |a, _| Ok(Value::string(encode_param(text(&a[0])))), "The text as a part of a query; a blank becomes +.",
        ["URL_ENCODE_PARAM('?foo $bar')" => "'%3Ffoo+%24bar'"];
    "URL_EXTRACT_FRAGMENT"(S) -> S, |a, _| part(a, |url| url.fragment), "What stands behind #, decoded; NULL if there is nothing.",
        ["URL_EXTRACT_FRAGMENT('http://test.com#frag%20space')" => "'frag space'"];
    "URL_EXTRACT_HOST"(S) -> S, host, "The name of the host; NULL if there is none.", ["URL_EXTRACT_HOST('http://a@test.com:8080/path')" => "'test.com'"];
    "URL_EXTRACT_PARAMETER"(S, S) -> S, parameter, "The value of a parameter of the query, decoded; NULL if it is not there.",
        ["URL_EXTRACT_PARAMETER('http://test.com?a%20b=c%20d', 'a b')" => "'c d'"];
    "URL_EXTRACT_PATH"(S) -> S, |a, _| part(a, |url| url.path), "The path, decoded; empty if there is none.",
        ["URL_EXTRACT_PATH('http://test.com/path/to#a')" => "'/path/to'"];
    "URL_EXTRACT_PORT"(S) -> Ty::Integer, port, "The number of the port; NULL if there is none.",
        ["URL_EXTRACT_PORT('http://localhost:8080/path')" => "8080"];
    "URL_EXTRACT_PROTOCOL"(S) -> S, |a, _| part(a, |url| url.scheme), "The scheme; NULL if there is none.",
        ["URL_EXTRACT_PROTOCOL('http://test.com')" => "'http'"];
    "URL_EXTRACT_QUERY"(S) -> S, |a, _| part(a, |url| url.query), "What stands behind ?, decoded; NULL if there is nothing.",
        ["URL_EXTRACT_QUERY('http://test.com?a=foo%20bar&b=baz')" => "'a=foo bar&b=baz'"];
}

/// The parts as they are written.
struct Url<'a> {
    scheme: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<i32>,
    path: Option<&'a str>,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

fn parse(text: &str) -> std::result::Result<Url<'_>, EvalError> {
    let wrong = |why: &str| EvalError::new(format!("'{text}' is no URL: {why}"));
    if let Some(c) = illegal(text) {
        return Err(wrong(&format!("{c:?} must be written as % and two hexadecimal digits")));
    }
    let (rest, fragment) = match text.split_once('#') {
        Some((_, fragment)) if fragment.contains('#') => return Err(wrong("it has a second #")),
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (text, None),
    };
    let (scheme, rest) = match rest.find([':', '/', '?']) {
        Some(at) if rest.as_bytes()[at] == b':' => (Some(&rest[..at]), &rest[at + 1..]),
        _ => (None, rest),
    };
    if let Some(scheme) = scheme {
        let tail = scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
        if !tail || !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(wrong("its scheme is none"));
        }
        if rest.is_empty() {
            return Err(wrong("it ends behind the scheme"));
        }
        if !rest.starts_with('/') {
            // opaque, as `mailto:a@b`: it has no parts
            return Ok(Url {
                scheme: Some(scheme),
                host: None,
                port: None,
                path: None,
                query: None,
                fragment,
            });
        }
    }
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if authority.is_empty() && path.is_empty() {
                return Err(wrong("it has no authority"));
            }
            (authority, path)
        }
        None => ("", rest),
    };
    if path.contains(['[', ']']) {
        return Err(wrong("its path has brackets"));
    }
    let (host, port) = server(authority).unwrap_or((None, None));
    Ok(Url {
        scheme,
        host,
        port,
        path: Some(path),
        query,
        fragment,
    })
}

/// The first character that must not stand in a URL.
fn illegal(text: &str) -> Option<char> {
    for (i, c) in text.char_indices() {
        let hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        let fine = match c {
            '%' => hex(i + 1) && hex(i + 2),
            c if c.is_ascii() => c.is_ascii_alphanumeric() || "-_.!~*'();/?:@&=+$,[]#".contains(c),
            c => !c.is_control() && !c.is_whitespace(),
        };
        if !fine {
            return Some(c);
        }
    }
    None
}

/// Host and port of `user@host:port`; `None` if it is no server, but a name of another kind.
fn server(authority: &str) -> Option<(Option<&str>, Option<i32>)> {
    if authority.is_empty() {
        return None;
    }
    let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    let host_end = match server.starts_with('[') {
        true => server.find(']')? + 1,
        false => server.find(':').unwrap_or(server.len()),
    };
    let (host, port) = server.split_at(host_end);
    let label = |l: &str| {
        let inner = l.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        inner && !l.is_empty() && !l.starts_with('-') && !l.ends_with('-')
    };
    let named = host.strip_suffix('.').unwrap_or(host).split('.');
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let address = host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
    if !address && (!named.clone().all(label) || !last.starts_with(|c: char| c.is_ascii_alphabetic())) {
        return None;
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((Some(host), port))
}

/// %XX as UTF-8; bytes that are none become the replacement character.
fn decode(text: &str, plus: bool) -> std::result::Result<String, EvalError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(c) = bytes.next() {
        match c {
            b'%' => {
                let digit = |c: Option<u8>| c.and_then(|c| (c as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err(EvalError::new(format!(
                        "'{text}' has a % without two hexadecimal digits"
                    )));
                };
                out.push((high << 4 | low) as u8);
            }
            b'+' if plus => out.push(b' '),
            c => out.push(c),
        }
    }
    Ok(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn decode_param(text: &str) -> Result {
    Ok(Value::string(decode(text, true)?))
}

fn encode_param(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.bytes() {
        match c {
            b' ' => out.push('+'),
            c if c.is_ascii_alphanumeric() || b"-_.*".contains(&c) => out.push(c as char),
            c => out.push_str(&format!("%{c:02X}")),
        }
    }
    out
}

fn part(args: &[Value], pick: for<'a> fn(Url<'a>) -> Option<&'a str>) -> Result {
    match pick(parse(text(&args[0]))?) {
        Some(part) => Ok(Value::string(decode(part, false)?)),
        None => Ok(Value::Null),
    }
}

fn host(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(parse(text(&args[0]))?.host.map_or(Value::Null, Value::from))
}

fn port(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(parse(text(&args[0]))?.port.map_or(Value::Null, Value::from))
}

fn parameter(args: &[Value], _: &CallContext<'_>) -> Result {
    let Some(query) = parse(text(&args[0]))?.query else {
        return Ok(Value::Null);
    };
    let (query, wanted) = (decode(query, false)?, text(&args[1]));
    let found = query.split('&').find_map(|param| {
        let (name, value) = param.split_once('=').unwrap_or((param, ""));
        (name == wanted).then_some(value)
    });
    Ok(found.map_or(Value::Null, Value::from))
}
