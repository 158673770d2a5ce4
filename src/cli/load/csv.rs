//! CSV as RFC 4180 has it: quotes around fields, doubled inside; a quoted field may hold line ends.

/// Collects lines until a record is whole.
#[derive(Debug, Default)]
pub struct CsvReader {
    pending: String,
    open: bool,
}

impl CsvReader {
    /// Takes a line without its end; gives the fields when a record is complete. An unquoted empty field is `None`.
    pub fn push_line(&mut self, line: &str) -> Option<Vec<Option<String>>> {
        if self.open {
            self.pending.push('\n');
        }
        self.pending.push_str(line);
        // A quote inside a quoted field is doubled: an odd number of quotes leaves a field open.
        self.open ^= line.bytes().filter(|byte| *byte == b'"').count() % 2 == 1;
        if self.open {
            return None;
        }
        Some(fields(&std::mem::take(&mut self.pending)))
    }

    /// Whether the file may end here.
    pub fn end(&self) -> bool {
        !self.open
    }

    /// Bytes of a record that is not complete.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }
}

fn fields(record: &str) -> Vec<Option<String>> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted),
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                ((end > 0).then(|| rest[..end].to_owned()), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return fields,
        }
    }
}

/// The field after its opening quote, and what follows. Text between the closing quote and the comma is kept as it is.
fn quoted_field(text: &str) -> (Option<String>, &str) {
    let mut field = String::new();
    let mut rest = text;
    while let Some(quote) = rest.find('"') {
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                field.push_str(&rest[..end]);
                return (Some(field), &rest[end..]);
            }
        }
    }
    field.push_str(rest);
    (Some(field), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split() {
        let show = |record: &str| {
            fields(record)
                .into_iter()
                .map(|f| f.unwrap_or_else(|| "-".into()))
                .collect::<Vec<_>>()
        };
        assert_eq!(show("a,,c"), ["a", "-", "c"]);
        assert_eq!(show("\"\",\"a,b\",\"say \"\"hi\"\"\""), ["", "a,b", "say \"hi\""]);
        assert_eq!(show("a,"), ["a", "-"]);
        assert_eq!(show("\"a\"x,b"), ["ax", "b"]);
    }
}
