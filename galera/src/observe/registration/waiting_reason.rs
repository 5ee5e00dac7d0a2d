//! `waiting_for`: why a node's agent waits or refuses, in its own words. Text for people, never evidence.

use std::collections::BTreeMap;

/// Longest reason that is published or shown, in bytes.
pub const WAITING_REASON_MAX: usize = 500;

/// `text` as one line of at most [`WAITING_REASON_MAX`] bytes without control characters.
#[must_use]
pub fn bounded_reason(text: &str) -> String {
    const ELLIPSIS: &str = "…";
    let plain: String = text
        .chars()
        .take(WAITING_REASON_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let plain = plain.trim();
    if plain.len() <= WAITING_REASON_MAX && text.trim().len() <= WAITING_REASON_MAX {
        return plain.to_owned();
    }
    let mut end = plain.len().min(WAITING_REASON_MAX - ELLIPSIS.len());
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", &plain[..end])
}

/// The reason that a node's agent gives for waiting, bounded; `None` if it gives none.
#[must_use]
pub fn waiting_reason(fields: &BTreeMap<String, String>) -> Option<String> {
    let reason = bounded_reason(fields.get("waiting_for")?);
    (!reason.is_empty()).then_some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_bounded_line() {
        assert_eq!(
            bounded_reason(" waits\nfor\u{1b}[31m n2 "),
            "waits for [31m n2"
        );
        for long in [
            "x".repeat(10_000),
            "é".repeat(10_000),
            "\u{1f600}".repeat(900),
        ] {
            let bounded = bounded_reason(&long);
            assert!(bounded.len() <= WAITING_REASON_MAX && bounded.ends_with('…'));
        }
        let exact = "x".repeat(WAITING_REASON_MAX);
        assert_eq!(bounded_reason(&exact), exact);
        let fields = BTreeMap::from([("waiting_for".to_owned(), "\u{0}\n ".to_owned())]);
        assert_eq!(waiting_reason(&fields), None);
    }
}
