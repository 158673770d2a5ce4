//! Reading files for `millstream load`: lines, CSV or JSON, compressed or not, one record at a time.
//!
//! *Is not* about types: a CSV field is text here; `commands::load` gives it the type of its column.

mod csv;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use csv::CsvReader;

/// How a file's records stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// A line is a record of one column.
    Lines,
    /// RFC 4180, the first line names the columns.
    Csv,
    /// A JSON object a line.
    Json,
}

impl FileFormat {
    /// By the file's name: `.csv` and `.json` (also `.jsonl`, `.ndjson`) are what they say, anything else is lines.
    pub fn of_name(path: &Path) -> Self {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Self::Csv,
            Some("json" | "jsonl" | "ndjson") => Self::Json,
            _ => Self::Lines,
        }
    }
}

/// A record of a file, untyped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A whole line.
    Line(String),
    /// Fields in the order of the header; an empty field is `None`.
    Fields(Vec<Option<String>>),
    /// JSON text.
    Json(String),
}

/// Longest record: a line or a quoted field that never ends shall not fill the memory.
const MAX_RECORD_BYTES: usize = 16 << 20;

/// Bytes read of the (compressed) file, for progress.
pub struct Counted<R> {
    inner: R,
    count: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

/// Reads records one after the other.
pub struct RecordReader {
    text: Box<dyn BufRead>,
    format: FileFormat,
    header: Vec<String>,
    csv: CsvReader,
    line: u64,
    done: std::rc::Rc<std::cell::Cell<u64>>,
    size: u64,
}

impl RecordReader {
    /// Opens a file, `-` being standard input. Gzip is recognised by its first bytes.
    ///
    /// # Errors
    /// When it cannot be read, or a CSV file has no header.
    pub fn open(path: &Path, format: FileFormat) -> Result<Self, String> {
        let show = path.display();
        let done = std::rc::Rc::new(std::cell::Cell::new(0));
        let (source, size): (Box<dyn Read>, u64) = match path.to_str() {
            Some("-") => (Box::new(std::io::stdin()), 0),
            _ => {
                let file = File::open(path).map_err(|error| format!("{show}: {error}"))?;
                let size = file.metadata().map_or(0, |meta| meta.len());
                (Box::new(file), size)
            }
        };
        let counted = Counted {
            inner: source,
            count: done.clone(),
        };
        let mut plain = BufReader::with_capacity(1 << 16, counted);
        let zipped = plain
            .fill_buf()
            .map_err(|error| format!("{show}: {error}"))?
            .starts_with(&[0x1f, 0x8b]);
        let text: Box<dyn BufRead> = match zipped {
            true => Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(plain))),
            false => Box::new(plain),
        };
        let mut reader = Self {
            text,
            format,
            header: Vec::new(),
            csv: CsvReader::default(),
            line: 0,
            done,
            size,
        };
        if format == FileFormat::Csv {
            let header = reader
                .fields()?
                .ok_or_else(|| format!("{show}: the file is empty; a CSV file begins with a header"))?;
            reader.header = header.into_iter().map(Option::unwrap_or_default).collect();
            if let Some(first) = reader.header.first_mut() {
                *first = first.trim_start_matches('\u{feff}').to_owned();
            }
        }
        Ok(reader)
    }

    /// The names of a CSV file's columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Bytes read and the file's size; the size is 0 where it is not known.
    pub fn progress(&self) -> (u64, u64) {
        (self.done.get(), self.size)
    }

    /// The line where the last record began.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next record; empty lines of JSON and CSV files are passed over.
    ///
    /// # Errors
    /// With the line: text that is not UTF-8, a record without end, a CSV line with another number of fields than the header.
    pub fn next_record(&mut self) -> Result<Option<Record>, String> {
        match self.format {
            FileFormat::Lines => Ok(self.text_line()?.map(Record::Line)),
            FileFormat::Json => loop {
                match self.text_line()? {
                    Some(line) if line.trim().is_empty() => {}
                    line => return Ok(line.map(Record::Json)),
                }
            },
            FileFormat::Csv => {
                let fields = self.fields()?;
                match &fields {
                    Some(fields) if fields.len() != self.header.len() => Err(format!(
                        "line {}: {} fields, but the header has {}",
                        self.line,
                        fields.len(),
                        self.header.len()
                    )),
                    _ => Ok(fields.map(Record::Fields)),
                }
            }
        }
    }

    fn text_line(&mut self) -> Result<Option<String>, String> {
        let mut bytes = Vec::new();
        self.line += 1;
        let wrong = |line: u64, what: &str| format!("line {line}: {what}");
        let limit = MAX_RECORD_BYTES as u64 + 1;
        let read = self
            .text
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut bytes)
            .map_err(|e| wrong(self.line, &e.to_string()))?;
        if read == 0 {
            return Ok(None);
        }
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(wrong(self.line, "longer than 16 MiB"));
        }
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| wrong(self.line, "not UTF-8 text"))
    }

    fn fields(&mut self) -> Result<Option<Vec<Option<String>>>, String> {
        loop {
            let first = self.line + 1;
            let mut lines = 0;
            let found = loop {
                let Some(line) = self.text_line()? else {
                    break match self.csv.end() {
                        true => None,
                        false => return Err(format!("line {first}: a quoted field has no end")),
                    };
                };
                lines += 1;
                if let Some(fields) = self.csv.push_line(&line) {
                    break Some(fields);
                }
                if self.csv.pending_bytes() > MAX_RECORD_BYTES {
                    return Err(format!("line {first}: a quoted field is longer than 16 MiB"));
                }
            };
            self.line = first + u64::saturating_sub(lines, 1);
            match found {
                // A line without any text is no record.
                Some(fields) if fields.len() == 1 && fields[0].is_none() && self.header.len() != 1 => {}
                found => return Ok(found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(name: &str, bytes: &[u8], format: FileFormat) -> Result<(Vec<String>, Vec<Record>), String> {
        let path = std::env::temp_dir().join(format!("millstream-load-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).expect("written");
        let outcome = (|| {
            let mut reader = RecordReader::open(&path, format)?;
            let mut records = Vec::new();
            while let Some(record) = reader.next_record()? {
                records.push(record);
            }
            Ok((reader.header().to_vec(), records))
        })();
        std::fs::remove_file(&path).expect("removed");
        outcome
    }

    #[test]
    fn gzip_and_quotes_are_read() {
        let text = "A,B\r\n1,\"x, \"\"y\"\"\r\nz\"\r\n,\r\n\r\n";
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(text.as_bytes()).expect("zipped");
        for (name, bytes) in [
            ("plain", text.as_bytes().to_vec()),
            ("zip", zip.finish().expect("zipped")),
        ] {
            let (header, records) = read(name, &bytes, FileFormat::Csv).expect("readable");
            assert_eq!(header, ["A", "B"]);
            let fields = vec![Some("1".to_owned()), Some("x, \"y\"\nz".to_owned())];
            assert_eq!(records, [Record::Fields(fields), Record::Fields(vec![None, None])]);
        }
    }

    #[test]
    fn lines_and_json() {
        let (_, lines) = read("lines", b"a::b\n\nc", FileFormat::Lines).expect("readable");
        assert_eq!(lines, ["a::b", "", "c"].map(|line| Record::Line(line.to_owned())));
        let (_, json) = read("json", b"{\"a\":1}\n\n", FileFormat::Json).expect("readable");
        assert_eq!(json, [Record::Json("{\"a\":1}".to_owned())]);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        assert_eq!(
            read("short", b"A,B\n1,2\n3\n", FileFormat::Csv),
            Err("line 3: 1 fields, but the header has 2".to_owned())
        );
        assert_eq!(
            read("open", b"A\n\"x\ny\n", FileFormat::Csv),
            Err("line 2: a quoted field has no end".to_owned())
        );
        assert_eq!(
            read("latin", b"caf\xe9\n", FileFormat::Lines),
            Err("line 1: not UTF-8 text".to_owned())
        );
    }

    #[test]
    fn formats_come_from_names() {
        assert_eq!(
            FileFormat::of_name(Path::new("a/online-retail.csv.gz")),
            FileFormat::Csv
        );
        assert_eq!(FileFormat::of_name(Path::new("x.JSONL")), FileFormat::Json);
        assert_eq!(FileFormat::of_name(Path::new("movies.dat")), FileFormat::Lines);
    }
}
