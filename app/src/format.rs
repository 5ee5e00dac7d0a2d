//! Formatting of numbers and times. Pure, so that server and browser produce the same output.

use galera::Timestamp;

use crate::markup::{Content, El, el};

/// A duration in its two largest useful units: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn age(millis: i64) -> String {
    let millis = millis.max(0);
    let seconds = millis / 1000;
    match seconds {
        0..10 => [
            &seconds.to_string(),
            ".",
            &(millis % 1000 / 100).to_string(),
            " s",
        ]
        .concat(),
        10..60 => [&seconds.to_string(), " s"].concat(),
        60..3600 => two_units(seconds / 60, " min", seconds % 60, " s"),
        3600..86_400 => two_units(seconds / 3600, " h", seconds % 3600 / 60, " min"),
        _ => two_units(seconds / 86_400, " d", seconds % 86_400 / 3600, " h"),
    }
}

fn two_units(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        return [&large.to_string(), large_unit].concat();
    }
    [
        &large.to_string(),
        large_unit,
        " ",
        &small.to_string(),
        small_unit,
    ]
    .concat()
}

/// A timestamp in full: `2026-11-23 08:00:00 UTC`.
pub(crate) fn absolute(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(clock)) => [day, " ", clock, " UTC"].concat(),
        _ => text,
    }
}

/// One decimal below ten, otherwise rounded: `0.0`, `9.5`, `12`, `1500`.
pub(crate) fn rate(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "0.0".to_owned();
    }
    let tenths = round(value * 10.0);
    if tenths < 100 {
        return [&(tenths / 10).to_string(), ".", &(tenths % 10).to_string()].concat();
    }
    round(value).to_string()
}

/// A fraction as a percentage: `0 %`, `3.5 %`, `100 %`.
pub(crate) fn percent(fraction: f64) -> String {
    let fraction = fraction.clamp(0.0, 1.0);
    let text = if fraction == 0.0 {
        "0".to_owned()
    } else {
        rate(fraction * 100.0)
    };
    [&text, " %"].concat()
}

fn round(value: f64) -> u64 {
    // The cast saturates; callers have excluded NaN.
    (value + 0.5) as u64
}

/// A size with a decimal unit: `512 B`, `2.0 MB`.
#[cfg(any(feature = "ssr", test))]
pub(crate) fn bytes(count: usize) -> String {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    match count {
        0..1000 => [&count.to_string(), " B"].concat(),
        1000..1_000_000 => [&tenths(count, 1000), " kB"].concat(),
        _ => [&tenths(count, 1_000_000), " MB"].concat(),
    }
}

#[cfg(any(feature = "ssr", test))]
fn tenths(count: u64, unit: u64) -> String {
    let tenths = count / (unit / 10);
    [&(tenths / 10).to_string(), ".", &(tenths % 10).to_string()].concat()
}

/// A count with its noun: `1 node`, `3 nodes`.
pub(crate) fn pluralize(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    [&count.to_string(), " ", noun, plural].concat()
}

/// Splits digits into groups of three from the right.
fn digit_groups(digits: &str) -> Vec<&str> {
    let head = digits.len() % 3;
    let mut parts = Vec::new();
    let (first, rest) = digits.split_at(head);
    if !first.is_empty() {
        parts.push(first);
    }
    let mut rest = rest;
    while !rest.is_empty() {
        let (group, tail) = rest.split_at(3);
        parts.push(group);
        rest = tail;
    }
    parts
}

/// A number with its digits grouped by CSS, so that copying it yields plain digits.
pub(crate) fn number(value: u64) -> El {
    let digits = value.to_string();
    let number = el("span").class("num");
    if digits.len() < 5 {
        return number.child(digits);
    }
    let parts: Vec<El> = digit_groups(&digits)
        .into_iter()
        .map(|part| el("span").child(part.to_owned()))
        .collect();
    number.child(parts)
}

/// Placeholder for an unknown value.
pub(crate) fn unknown() -> El {
    el("span")
        .class("none")
        .child(el("span").attr("aria-hidden", "true").child("–"))
        .child(visually_hidden("not known"))
}

/// Text for screen readers only.
pub(crate) fn visually_hidden(text: impl Into<Content>) -> El {
    el("span").class("vh").child(text)
}

/// De-emphasized text.
pub(crate) fn quiet(text: impl Into<Content>) -> El {
    el("span").class("quiet").child(text)
}

/// A secondary line below a value.
pub(crate) fn sub(text: impl Into<Content>) -> El {
    el("span").class("sub").child(text)
}

pub(crate) fn code(text: impl Into<Content>) -> El {
    el("code").child(text)
}

pub(crate) fn link(href: String, text: impl Into<Content>) -> El {
    el("a").attr("href", href).child(text)
}

/// The text in a `span`, or the placeholder for an unknown value.
pub(crate) fn or_unknown(text: Option<String>) -> El {
    text.map_or_else(unknown, |text| el("span").child(text))
}

/// The number, or the placeholder for an unknown value.
pub(crate) fn number_or_unknown(value: Option<u64>) -> El {
    value.map_or_else(unknown, number)
}

/// A `<time>` element: the age if a clock is given (`now`, the server's), else the absolute time. The title and the
/// accessible name always contain the absolute time.
pub(crate) fn time_element(at: Timestamp, now: Option<Timestamp>, suffix: &'static str) -> El {
    match now {
        Some(now) => {
            let age = age(now.unix_millis() - at.unix_millis());
            let form = if suffix.is_empty() { "for" } else { "ago" };
            relative_time(at, [age.as_str(), suffix].concat(), form)
        }
        None => named_time(at, absolute(at), absolute(at)),
    }
}

/// `data-age` says how the browser keeps the text current (`app/browser/ages.js`).
fn relative_time(at: Timestamp, text: String, form: &'static str) -> El {
    let name = [&text, ", ", &absolute(at)].concat();
    named_time(at, text, name).attr("data-age", form)
}

fn named_time(at: Timestamp, text: String, accessible_name: String) -> El {
    el("time")
        .attr("datetime", at.to_string())
        .attr("title", absolute(at))
        .attr("aria-label", accessible_name)
        .child(text)
}

/// An age like `3 s ago`.
pub(crate) fn ago(at: Timestamp, now: Option<Timestamp>) -> El {
    time_element(at, now, " ago")
}

/// An age like `3 s ago`, or `just now` within the first second.
pub(crate) fn just_now_or_ago(at: Timestamp, now: Option<Timestamp>) -> El {
    match now {
        Some(now) if now.unix_millis() - at.unix_millis() < 1_000 => {
            relative_time(at, "just now".to_owned(), "just")
        }
        Some(now) => {
            let text = [&age(now.unix_millis() - at.unix_millis()), " ago"].concat();
            relative_time(at, text, "just")
        }
        None => ago(at, None),
    }
}

/// An age like `3 s ago`.
#[cfg(feature = "ssr")]
pub(crate) fn ticking_age(at: Timestamp, now: Timestamp) -> El {
    ago(at, Some(now))
}

/// Time left until `at`, counted down by the browser.
#[cfg(feature = "ssr")]
pub(crate) fn countdown(at: Timestamp, now: Timestamp) -> El {
    relative_time(at, age(at.unix_millis() - now.unix_millis()), "in")
}

/// `for 3 s`, or `since` the absolute time if no clock is given.
pub(crate) fn elapsed(since: Timestamp, now: Option<Timestamp>) -> El {
    let preposition = if now.is_some() { "for " } else { "since " };
    el("span")
        .child(preposition)
        .child(time_element(since, now, ""))
}

/// Transactions behind the most advanced member.
pub(crate) fn lag_text(count: u64) -> String {
    match count {
        0 => "up to date".to_owned(),
        count => [&count.to_string(), " behind"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_use_the_two_largest_units() {
        let cases = [
            (-5_000, "0.0 s"),
            (0, "0.0 s"),
            (449, "0.4 s"),
            (9_999, "9.9 s"),
            (12_345, "12 s"),
            (60_000, "1 min"),
            (185_000, "3 min 5 s"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(age(millis), expected);
        }
    }

    #[test]
    fn absolute_times_include_the_time_zone() {
        let at = Timestamp::from_unix_millis(1_795_420_800_123);
        assert_eq!(absolute(at), "2026-11-23 08:00:00 UTC");
    }

    #[test]
    fn formats_rates_and_percentages() {
        let rates: Vec<String> = [0.0, 0.04, 9.94, 9.96, 12.4, 1499.6, f64::NAN, -1.0]
            .into_iter()
            .map(rate)
            .collect();
        assert_eq!(
            rates,
            ["0.0", "0.0", "9.9", "10", "12", "1500", "0.0", "0.0"]
        );
        let fractions: Vec<String> = [0.0, 0.035, 0.5, 1.0, 7.0]
            .into_iter()
            .map(percent)
            .collect();
        assert_eq!(fractions, ["0 %", "3.5 %", "50 %", "100 %", "100 %"]);
    }

    #[test]
    fn formats_sizes() {
        assert_eq!(
            [bytes(512), bytes(1_500), bytes(2_097_152)],
            ["512 B", "1.5 kB", "2.0 MB"]
        );
    }

    #[test]
    fn groups_digits_in_threes() {
        assert_eq!(digit_groups("1234567"), ["1", "234", "567"]);
        assert_eq!(digit_groups("123456").concat(), "123456");
        assert!(digit_groups("").is_empty());
    }
}
