//! A small HTTP/1.1 client for talking to a running instance, or to a registry: JSON over one kept connection.
//!
//! It is *not* a general client: no redirects, no proxies. `query`, `load` and the commands that steer topologies need no more. An https address, such as
//! that of a proxy before the instance, is spoken to through the client of the schema registry, which only programs with the feature `kafka` have.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::Failure;

/// Longest wait for one answer: a query's or a batch's time limit is well below it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest answer; a query's own limit is lower.
const MAX_ANSWER_BYTES: u64 = 1 << 30;

/// A connection to one instance, opened when it is needed.
pub struct Client {
    authority: String,
    base: String,
    /// The value of that header.
    authorization: Option<String>,
    /// For https.
    #[cfg(feature = "kafka")]
    tls: Option<reqwest::blocking::Client>,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of a successful answer as JSON.
    ///
    /// # Errors
    /// The server's own message, or what came instead of JSON.
    pub fn json(self) -> Result<serde_json::Value, Failure> {
        let text = String::from_utf8_lossy(&self.body);
        let value: serde_json::Value = match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(_) if self.body.is_empty() => serde_json::Value::Null,
            Err(_) => return Err(Failure::failed(format!("status {}: {}", self.status, text.trim()))),
        };
        if (200..300).contains(&self.status) {
            return Ok(value);
        }
        Err(Failure::failed(error_text(self.status, &value)))
    }
}

/// The message of an error answer, whatever its shape.
fn error_text(status: u16, value: &serde_json::Value) -> String {
    let error = value.get("error").unwrap_or(value);
    let message = error
        .as_str()
        .or_else(|| error.get("message")?.as_str())
        .or_else(|| value.get("message")?.as_str());
    let hint = error
        .get("hint")
        .or_else(|| value.get("hint"))
        .and_then(|hint| hint.as_str());
    match (message, hint) {
        (Some(message), Some(hint)) => format!("{message}\n  hint: {hint}"),
        (Some(message), None) => message.to_owned(),
        (None, _) => format!("status {status}: {value}"),
    }
}

impl Client {
    /// A client of `http[s]://[user:password@]host[:port][/base]`.
    ///
    /// # Errors
    /// For other schemes; for https in a program that was built without it.
    pub fn new(url: &str) -> Result<Self, Failure> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => {
                return Err(Failure::usage(format!(
                    "{}: an address begins with http:// or https://",
                    without_user(url)
                )));
            }
        };
        let (authority, base) = rest
            .split_once('/')
            .map_or((rest, String::new()), |(a, b)| (a, format!("/{b}")));
        let (user, authority) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(u, a)| (Some(u), a));
        let authority = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
            _ => format!("{authority}:{port}"),
        };
        #[cfg(not(feature = "kafka"))]
        if scheme == "https" {
            return Err(Failure::usage(format!(
                "https://{authority}: this program was built without the feature `kafka`, which brings TLS; use an http:// address"
            )));
        }
        let client = Self {
            #[cfg(feature = "kafka")]
            tls: (scheme == "https").then(|| tls_client(&authority)).transpose()?,
            authority,
            base: base.trim_end_matches('/').to_owned(),
            authorization: None,
            connection: None,
        };
        Ok(match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((user, password)) => client.with_basic(&percent_decoded(user), &percent_decoded(password)),
            None => client,
        })
    }

    /// With basic authentication.
    pub fn with_basic(mut self, user: &str, password: &str) -> Self {
        use base64::Engine as _;

        let token = crate::types::BASE64.encode(format!("{user}:{password}"));
        self.authorization = Some(format!("Basic {token}"));
        self
    }

    /// Sends a request and reads the answer. A kept connection that the server closed meanwhile is opened again, once, as long as nothing of
    /// an answer has come.
    ///
    /// # Errors
    /// When the instance cannot be reached, or does not speak HTTP.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer, Failure> {
        #[cfg(feature = "kafka")]
        if let Some(tls) = &self.tls {
            return self.send_tls(tls, method, path, body);
        }
        if let Some(mut kept) = self.connection.take()
            && self.write(&mut kept, method, path, body).is_ok()
            && let Ok(true) = kept.fill_buf().map(|bytes| !bytes.is_empty())
        {
            return self.read(kept);
        }
        let stream = TcpStream::connect(&self.authority).map_err(|error| {
            Failure::failed(format!(
                "no instance answers at {}: {error}; is `millstream dev` or `run` up? (--url)",
                self.authority
            ))
        })?;
        let away = |error: std::io::Error| Failure::failed(format!("{}: {error}", self.authority));
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(away)?;
        stream.set_nodelay(true).map_err(away)?;
        let mut connection = BufReader::new(stream);
        self.write(&mut connection, method, path, body).map_err(away)?;
        self.read(connection)
    }

    #[cfg(feature = "kafka")]
    fn send_tls(
        &self,
        tls: &reqwest::blocking::Client,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Answer, Failure> {
        let away = |error: reqwest::Error| {
            let cause = std::iter::successors(std::error::Error::source(&error), |e| e.source()).last();
            let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
            Failure::failed(format!("https://{}: {cause}", self.authority))
        };
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(Failure::failed)?;
        let url = format!("https://{}{}{path}", self.authority, self.base);
        let mut request = tls
            .request(method, url)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(body.to_vec());
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let answer = request.send().map_err(away)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        answer
            .take(MAX_ANSWER_BYTES)
            .read_to_end(&mut body)
            .map_err(|error| Failure::failed(format!("https://{}: {error}", self.authority)))?;
        Ok(Answer { status, body })
    }

    fn write(
        &self,
        connection: &mut BufReader<TcpStream>,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> std::io::Result<()> {
        let authorization = self.authorization.as_ref();
        let authorization = authorization.map_or(String::new(), |value| format!("authorization: {value}\r\n"));
        let head = format!(
            "{method} {}{path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json\r\ncontent-length: {}\r\n{}\r\n",
            self.base,
            self.authority,
            body.len(),
            authorization
        );
        let stream = connection.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }

    fn read(&mut self, mut connection: BufReader<TcpStream>) -> Result<Answer, Failure> {
        let answer = read_answer(&mut connection);
        let (answer, keep) =
            answer.map_err(|error| Failure::failed(format!("{}: the answer broke off: {error}", self.authority)))?;
        if keep {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

/// An address as it may be shown.
fn without_user(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

/// `%40` is `@`; what is not of this form stays.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A value for a query string.
pub fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(feature = "kafka")]
fn tls_client(authority: &str) -> Result<reqwest::blocking::Client, Failure> {
    reqwest::blocking::Client::builder()
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| Failure::failed(format!("https://{authority}: {error}")))
}

fn invalid(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}

fn read_line(from: &mut impl BufRead) -> std::io::Result<String> {
    /// Longest line of an answer's head.
    const MAX_LINE: u64 = 64 * 1024;
    let mut line = String::new();
    from.by_ref().take(MAX_LINE).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(invalid("not a line of HTTP"));
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// The answer, and whether the connection can be kept.
fn read_answer(from: &mut impl BufRead) -> std::io::Result<(Answer, bool)> {
    let status_line = read_line(from)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status
        .filter(|_| status_line.starts_with("HTTP/1."))
        .ok_or_else(|| invalid("this is not HTTP"))?;
    let (mut length, mut chunked, mut keep) = (None, false, true);
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.parse::<u64>().map_err(|_| invalid("bad content-length"))?),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => keep = !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(from, &mut body)?;
    } else if let Some(length) = length.filter(|length| *length <= MAX_ANSWER_BYTES) {
        if from.take(length).read_to_end(&mut body)? as u64 != length {
            return Err(invalid("the body is shorter than announced"));
        }
    } else {
        keep = false;
        from.take(MAX_ANSWER_BYTES).read_to_end(&mut body)?;
    }
    Ok((Answer { status, body }, keep))
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let line = read_line(from)?;
        let size = line.split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size.trim(), 16).map_err(|_| invalid("bad chunk size"))?;
        if size + body.len() as u64 > MAX_ANSWER_BYTES {
            return Err(invalid("the answer is too long"));
        }
        if from.take(size).read_to_end(body)? as u64 != size {
            return Err(invalid("a chunk is shorter than announced"));
        }
        // The line end after the chunk; after the last one also trailers, up to an empty line.
        let end = read_line(from)?;
        if size == 0 && end.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_length_and_by_chunks() {
        let mut plain = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rest"[..];
        let (answer, keep) = read_answer(&mut plain).expect("an answer");
        assert_eq!(
            (answer.status, answer.body.as_slice(), keep, plain),
            (200, &b"{}"[..], true, &b"rest"[..])
        );
        let mut chunked = &b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n"[..];
        let (answer, keep) = read_answer(&mut chunked).expect("an answer");
        assert_eq!(
            (answer.status, answer.body.as_slice(), keep),
            (404, &b"{\"a\":1}"[..], false)
        );
        assert!(read_answer(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"[..]).is_err());
        assert!(read_answer(&mut &b"SSH-2.0-OpenSSH\r\n"[..]).is_err());
    }

    #[test]
    fn addresses_have_a_scheme_perhaps_a_user_and_a_port() {
        let client = Client::new("http://me:p%40ss@host/base/").expect("a client");
        assert_eq!((client.authority.as_str(), client.base.as_str()), ("host:80", "/base"));
        assert_eq!(client.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        let refused = Client::new("ftp://me:secret@host").err().expect("refused");
        assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
        let tls = Client::new("https://host");
        #[cfg(feature = "kafka")]
        assert_eq!(tls.expect("a client").authority, "host:443");
        #[cfg(not(feature = "kafka"))]
        assert!(format!("{:?}", tls.err()).contains("built without"));
    }

    #[test]
    fn error_answers_become_their_message() {
        let answer = Answer {
            status: 404,
            body: br#"{"error":{"code":"x","message":"no view","hint":"try MOVIES"}}"#.to_vec(),
        };
        assert_eq!(
            answer.json(),
            Err(Failure::Failed("no view\n  hint: try MOVIES".into()))
        );
    }
}
