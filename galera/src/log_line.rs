//! Lines of a log: text of other programs (names, errors, values in etcd) must not begin a line or control a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use crate::invisible::is_invisible;

/// Writes each event of a log to standard error as one line, whatever text of other programs it contains.
///
/// The formatter must not insert colors: their escape characters cannot be distinguished from those of other programs.
#[derive(Clone, Copy, Debug)]
pub struct LineWriter;

impl io::Write for LineWriter {
    /// Called once for each event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        io::stderr().write_all(single_line(&text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// `text` on one line: invisible characters, among them control characters and those that reorder text, are written as
/// `\n` or `\u{85}`. A final line feed stays.
#[must_use]
pub fn single_line(text: &str) -> Cow<'_, str> {
    let (body, end) = match text.strip_suffix('\n') {
        Some(body) => (body, "\n"),
        None => (text, ""),
    };
    let is_unsafe = |c: char| is_invisible(c) && c != '\t';
    if !body.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in body.chars() {
        if is_unsafe(c) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push_str(end);
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        for (text, expected) in [
            ("plain text\n", "plain text\n"),
            ("tab\tstays", "tab\tstays"),
            ("n1\r\n2026 ERROR forged\n", "n1\\r\\n2026 ERROR forged\n"),
            ("a\n\n", "a\\n\n"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            (
                "next\u{85}line\u{2028}\u{2029}",
                "next\\u{85}line\\u{2028}\\u{2029}",
            ),
            ("\u{9b}31m Grüße", "\\u{9b}31m Grüße"),
            ("\u{202e}n1 מסד", "\\u{202e}n1 מסד"),
        ] {
            assert_eq!(single_line(text), expected);
        }
    }
}
