//! Point reads over HTTP: connections that are kept, each with one request at a time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Args;
use super::nexmark::Random;

/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);

/// What a connection has seen.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    bytes: u64,
    refused: u64,
}

/// Reads and prints rate and times.
pub fn reads(args: &Args) {
    let (host, path, keys) = (args.text(0).to_owned(), args.text(1).to_owned(), args.number(2));
    let (connections, seconds) = (args.number(3), args.number(4));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let from = Instant::now() + WARM_UP;
    let until = from + Duration::from_secs(seconds);
    let seen = runtime.block_on(async {
        let read = |n| {
            let (host, path) = (host.clone(), path.clone());
            tokio::spawn(async move { connection(&host, &path, keys, n, from..until).await })
        };
        let all: Vec<_> = (0..connections).map(read).collect();
        let mut seen = Seen::default();
        for one in all {
            let one = one.await.expect("a connection").expect("answers");
            seen.times.extend(one.times);
            seen.bytes += one.bytes;
            seen.refused += one.refused;
        }
        seen
    });
    let mut times = seen.times;
    times.sort_unstable();
    let us = |part: f64| {
        times
            .get((times.len() as f64 * part) as usize)
            .map_or(0, Duration::as_micros)
    };
    println!(
        "{{\"requests\":{},\"refused\":{},\"rate\":{:.0},\"p50_us\":{},\"p99_us\":{},\"mean_bytes\":{}}}",
        times.len(),
        seen.refused,
        times.len() as f64 / seconds as f64,
        us(0.5),
        us(0.99),
        seen.bytes / times.len().max(1) as u64
    );
}

async fn connection(
    host: &str,
    path: &str,
    keys: u64,
    number: u64,
    measured: std::ops::Range<Instant>,
) -> std::io::Result<Seen> {
    let mut stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let mut random = Random(number + 1);
    let (mut seen, mut buffer) = (Seen::default(), Vec::with_capacity(4096));
    loop {
        let path = path.replace("{key}", &random.below(keys).to_string());
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let begin = Instant::now();
        if begin >= measured.end {
            return Ok(seen);
        }
        stream.write_all(request.as_bytes()).await?;
        let (ok, bytes) = answer(&mut stream, &mut buffer).await?;
        if begin >= measured.start {
            seen.times.push(begin.elapsed());
            seen.bytes += bytes as u64;
            seen.refused += u64::from(!ok);
        }
    }
}

/// Reads one answer whole: whether it was 200, and the bytes of its body.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<(bool, usize)> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(head) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..head]);
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| std::io::Error::other(format!("an answer without length: {text}")))?;
        let ok = text.starts_with("HTTP/1.1 200");
        while buffer.len() < head + 4 + length {
            if stream.read_buf(buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        return Ok((ok, length));
    }
}
