//! JSON with comments to JSON.

/// Replaces `//` and `/* */` comments outside of strings by blanks; line ends stay, so that errors keep their lines.
pub fn comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '/']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (kept, dropped) = if rest.starts_with('"') {
            (string_end(rest), 0)
        } else if rest.starts_with("//") {
            (0, rest.find('\n').unwrap_or(rest.len()))
        } else if let Some(inside) = rest.strip_prefix("/*") {
            (0, inside.find("*/").map_or(rest.len(), |end| end + 4))
        } else {
            (1, 0)
        };
        out.push_str(&rest[..kept]);
        out.extend(rest[..dropped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[kept + dropped..];
    }
    out.push_str(rest);
    out
}

/// One past the closing quote of the string that the text begins with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::comments;

    #[test]
    fn comments_go_and_strings_stay() {
        let text = "{ // one\n \"a//b\": \"\\\"/* no */\", /* two\n lines */ \"c\": 1 / 2 } // end";
        let stripped = comments(text);
        assert_eq!(stripped.lines().count(), text.lines().count());
        assert!(stripped.contains("\"a//b\": \"\\\"/* no */\","));
        assert!(stripped.contains("\"c\": 1 / 2 }"));
        assert!(!stripped.contains("one") && !stripped.contains("two") && !stripped.contains("end"));
    }

    #[test]
    fn unfinished_text_ends() {
        for text in ["\"abc", "/* abc", "//", "\"\\", "/"] {
            let _ = comments(text);
        }
        assert_eq!(comments("é/*ü*/é").trim_start_matches('é').trim(), "é");
    }
}
