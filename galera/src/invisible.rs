//! Characters that cannot be seen: names that differ by them look the same, and some reorder the text around them.

/// Whether `c` is a control or a format character (general categories Cc and Cf of Unicode) or separates lines.
#[must_use]
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}'
    )
}

/// `text` with every invisible character as `\u{…}`.
pub(crate) fn show_invisible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_invisible(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        for (text, shown) in [
            ("n1", "n1"),
            ("größe मुंबई 東京", "größe मुंबई 東京"),
            ("n1\u{200b}", r"n1\u{200b}"),
            ("\u{202e}1n", r"\u{202e}1n"),
            ("a\r\nb", r"a\u{d}\u{a}b"),
            ("a\u{2028}b", r"a\u{2028}b"),
        ] {
            assert_eq!(show_invisible(text), shown);
        }
    }
}
