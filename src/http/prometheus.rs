//! Samples in Prometheus' text format.

use std::fmt::Write as _;

use crate::engine::{BUCKETS_MS, Histogram, PublishedStandby};

/// Writes the samples of one metric.
pub(super) struct Writer<'a> {
    pub name: &'static str,
    /// Labels that all samples have.
    pub common: Vec<(&'static str, String)>,
    pub out: &'a mut String,
}

impl Writer<'_> {
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.line("", labels, None, value);
    }

    pub fn standby(&mut self, standby: &PublishedStandby, value: impl std::fmt::Display) {
        let (sub, partition) = (standby.id.sub.to_string(), standby.id.partition.to_string());
        self.sample(&[("sub", &sub), ("partition", &partition)], value);
    }

    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let counts = histogram.cumulative();
        for (bound, count) in BUCKETS_MS.iter().zip(counts) {
            let seconds = (*bound as f64 / 1_000.0).to_string();
            self.line("_bucket", labels, Some(&seconds), count);
        }
        let all = counts.last().copied().unwrap_or_default();
        self.line("_bucket", labels, Some("+Inf"), all);
        self.line("_sum", labels, None, histogram.sum_seconds());
        self.line("_count", labels, None, all);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl std::fmt::Display) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let common = self.common.iter().map(|(name, text)| (*name, text.as_str()));
        let all = common
            .chain(labels.iter().copied())
            .chain(bound.map(|bound| ("le", bound)));
        let mut first = true;
        for (name, text) in all {
            self.out.push(if first { '{' } else { ',' });
            first = false;
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(text, self.out);
            self.out.push('"');
        }
        if !first {
            self.out.push('}');
        }
        // writing to a String cannot fail
        let _: std::fmt::Result = writeln!(self.out, " {value}");
    }
}

/// Appends a label's text as Prometheus' text format wants it.
fn escape(text: &str, out: &mut String) {
    for part in text.split_inclusive(['\\', '"', '\n']) {
        let plain = part.strip_suffix(['\\', '"', '\n']).unwrap_or(part);
        out.push_str(plain);
        match &part[plain.len()..] {
            "\n" => out.push_str("\\n"),
            "" => {}
            special => out.extend(["\\", special]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn labels_are_escaped() {
        for (text, escaped) in [
            ("", ""),
            ("plain", "plain"),
            ("a\\b\"c\nd", "a\\\\b\\\"c\\nd"),
            ("\n\n", "\\n\\n"),
        ] {
            let mut out = String::new();
            escape(text, &mut out);
            assert_eq!(out, escaped, "{text:?}");
        }
    }
}
