//! Text of other programs on a terminal: names, errors and values come from databases, registries and other people, and
//! could contain escape sequences, forged lines, or characters that reverse what is read.

use std::borrow::Cow;
use std::fmt::Write;

use galera::invisible::is_invisible;

/// Whether `c` can change how other text is shown, or is not shown itself. Tags that Unicode has not assigned are among them.
fn is_unsafe(c: char) -> bool {
    is_invisible(c) || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// `text` on one line: control, bidirectional and invisible characters are written as `\u{1b}`.
#[must_use]
pub fn safe_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c, line| {
        // Writing to a string cannot fail.
        let _ = write!(line, "{}", c.escape_default());
    })
}

/// A serialized JSON document with the same content, in which no character controls a terminal.
#[must_use]
pub fn safe_json(json: &str) -> Cow<'_, str> {
    // Outside of strings, serde_json writes no other control character than a line feed.
    if !json.chars().any(|c| c != '\n' && is_unsafe(c)) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 32);
    for c in json.chars() {
        if c != '\n' && is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            escape(c, &mut line);
        } else {
            line.push(c);
        }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_controls_the_terminal() {
        for (text, expected) in [
            ("Grüße 漢字 <b>", "Grüße 漢字 <b>"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("n1\r\nforged", "n1\\r\\nforged"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}abc\u{2066}", "\\u{202e}abc\\u{2066}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("\u{e0041}", "\\u{e0041}"),
            ("tab\t", "tab\\t"),
        ] {
            assert_eq!(safe_line(text), expected);
        }
    }

    #[test]
    fn json_keeps_its_content() {
        let value = serde_json::json!({"\u{202e}name": "\u{1b}[31m \u{9b} \u{e0041} plain\nline"});
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let safe = safe_json(&pretty);
        assert!(!safe.chars().any(|c| c != '\n' && is_unsafe(c)), "{safe}");
        let read: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(read, value);
    }
}
