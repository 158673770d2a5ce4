//! Java's regular expressions and replacements in the words of our library. What differs: \\d, \\w, \\s and \\b are ASCII in Java, a point leaves out
//! every end of a line, and some escapes have other names.

use fancy_regex::Regex;

use super::EvalError;

/// The classes that differ, as they stand inside of brackets.
fn class(escape: char) -> Option<&'static str> {
    Some(match escape {
        'd' => "0-9",
        'w' => "a-zA-Z0-9_",
        's' => r" \t\n\x0B\f\r",
        'h' => r" \t\x{A0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}",
        _ => return None,
    })
}

/// `\\p{...}` of POSIX, which is ASCII in Java.
fn posix(name: &str) -> Option<&'static str> {
    Some(match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "Alpha" => "a-zA-Z",
        "Digit" => "0-9",
        "Alnum" => "a-zA-Z0-9",
        "Punct" => r"!-/:-@\[-`{-~",
        "Graph" => "!-~",
        "Print" => " -~",
        "Blank" => r" \t",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9a-fA-F",
        "Space" => r" \t\n\x0B\f\r",
        "ASCII" => r"\x00-\x7F",
        _ => return None,
    })
}

/// The same expression for our library.
pub(super) fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut depth = 0usize;
    // with the flag s the point takes the ends of lines, too
    let dot_all = pattern.contains("(?s") || pattern.contains("(?is") || pattern.contains("(?ms");
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, depth > 0, &mut out),
            '[' => {
                depth += 1;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if rest.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            ']' if depth > 0 => {
                depth -= 1;
                out.push(']');
            }
            // means a set operation to us, and nothing in Java
            '~' | '-' if depth > 0 && rest.peek() == Some(&c) => {
                out.push('\\');
                out.push(c);
            }
            '.' if depth == 0 && !dot_all => out.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
            c => out.push(c),
        }
    }
    out
}

fn escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, inside: bool, out: &mut String) {
    let Some(c) = rest.next() else {
        // an error of the expression, which the library tells
        out.push('\\');
        return;
    };
    let lower = c.to_ascii_lowercase();
    match (class(lower), c) {
        (Some(class), _) if c.is_ascii_lowercase() && inside => out.push_str(class),
        (Some(class), _) if c.is_ascii_lowercase() => out.push_str(&format!("[{class}]")),
        (Some(class), _) => out.push_str(&format!("[^{class}]")),
        (None, 'p' | 'P') => {
            let name: String = match rest.next_if_eq(&'{') {
                Some(_) => rest.by_ref().take_while(|c| *c != '}').collect(),
                None => rest.next().into_iter().collect(),
            };
            let name = name.strip_prefix("Is").unwrap_or(&name);
            match (posix(name), c, inside) {
                (Some(class), 'p', true) => out.push_str(class),
                (Some(class), 'p', false) => out.push_str(&format!("[{class}]")),
                (Some(class), ..) => out.push_str(&format!("[^{class}]")),
                (None, ..) => out.push_str(&format!("\\{c}{{{name}}}")),
            }
        }
        (None, 'Q') => {
            let mut quoted: String = rest.by_ref().collect();
            let mut behind = String::new();
            if let Some(end) = quoted.find("\\E") {
                behind = quoted.split_off(end + 2);
                quoted.truncate(end);
            }
            out.push_str(&fancy_regex::escape(&quoted));
            out.push_str(&translated(&behind));
        }
        (None, 'E') => {}
        (None, 'u') => {
            let digits: String = rest.by_ref().take(4).collect();
            out.push_str(&format!("\\x{{{digits}}}"));
        }
        (None, 'e') => out.push_str(r"\x1B"),
        (None, 'R') => out.push_str(r"(?:\r\n|[\n\x0B\f\r\x{85}\x{2028}\x{2029}])"),
        (None, 'Z') => out.push_str(r"(?=\n?\z)"),
        (None, 'b') if !inside => {
            out.push_str(r"(?:(?<![a-zA-Z0-9_])(?=[a-zA-Z0-9_])|(?<=[a-zA-Z0-9_])(?![a-zA-Z0-9_]))")
        }
        (None, '<' | '>') => out.push(c),
        (None, c) if c.is_ascii() => {
            out.push('\\');
            out.push(c);
        }
        (None, c) => out.push(c),
    }
}

/// A part of a replacement.
pub(super) enum Part {
    Text(String),
    Group(usize),
}

/// `$1` and `${name}` are groups, a backslash takes the next character as it is.
pub(super) fn replacement(text: &str, regex: &Regex) -> Result<Vec<Part>, EvalError> {
    let wrong = |why: String| EvalError::new(format!("REGEXP_REPLACE: the replacement '{text}' {why}"));
    let (mut parts, mut plain) = (Vec::new(), String::new());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '$' {
            let c = match c {
                '\\' => rest.next().ok_or_else(|| wrong("ends with a backslash".into()))?,
                c => c,
            };
            plain.push(c);
            continue;
        }
        parts.push(Part::Text(std::mem::take(&mut plain)));
        if rest.next_if_eq(&'{').is_some() {
            let name: String = rest.by_ref().take_while(|c| *c != '}').collect();
            let at = regex.capture_names().position(|known| known == Some(name.as_str()));
            parts.push(Part::Group(
                at.ok_or_else(|| wrong(format!("names the group {name}, which is none")))?,
            ));
            continue;
        }
        let digit = |c: Option<&char>| c.and_then(|c| c.to_digit(10)).map(|d| d as usize);
        let mut group = digit(rest.peek()).ok_or_else(|| wrong("has a $ without a group: write \\$".into()))?;
        rest.next();
        if group >= regex.captures_len() {
            return Err(wrong(format!("names the group {group}, which is none")));
        }
        // as many digits as there are groups for
        while let Some(longer) = digit(rest.peek()).map(|d| group * 10 + d) {
            if longer >= regex.captures_len() {
                break;
            }
            group = longer;
            rest.next();
        }
        parts.push(Part::Group(group));
    }
    parts.push(Part::Text(plain));
    Ok(parts)
}
