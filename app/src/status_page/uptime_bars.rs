//! Ninety days of uptime as bars. Each cluster is one radio group, so that a day's figures are available by pointer,
//! touch and arrow keys without scripts.

use galera::publish::status_pages::{DayFigures, PublicCluster, PublicState};

use crate::markup::{Content, El, el};

/// The bars of a cluster. The last one is today and initially selected.
pub(super) fn bars(index: usize, shown: &PublicCluster) -> Option<El> {
    let last = shown.days.len().checked_sub(1)?;
    let bars: Vec<El> = shown
        .days
        .iter()
        .enumerate()
        .map(|(day, figures)| day_bar(index, figures, day == last))
        .collect();
    let legend = format!("{}, day by day", shown.name);
    let group = el("fieldset")
        .class("days")
        .child(el("legend").class("vh").child(legend))
        .child(bars);
    let scale = el("p")
        .class("scale")
        .attr("aria-hidden", "true")
        .child(el("span").child(format!("{last} days ago")))
        .child(el("span").child("today"));
    Some(el("div").child(group).child(scale))
}

fn day_bar(index: usize, figures: &DayFigures, chosen: bool) -> El {
    let input = el("input")
        .attr("type", "radio")
        .attr("name", format!("c{index}"))
        .attr("value", figures.date.to_string())
        .optional_attr("checked", chosen.then_some(""));
    el("label")
        .class(match figures.worst() {
            None => "d",
            Some(PublicState::Outage) => "d bad",
            Some(PublicState::Degraded) => "d warn",
            Some(PublicState::Unknown) => "d off",
            Some(_) => "d ok",
        })
        .child(input)
        .child(el("span").child(day_summary(figures)))
}

/// A day in words: `2026-11-24: 99.93 % up, 1 min down`.
fn day_summary(figures: &DayFigures) -> String {
    let mut parts = Vec::new();
    match figures.up {
        Some(up) => parts.push(format!("{} up", percent(up))),
        None if figures.unknown == 0 => parts.push("no data".to_owned()),
        None => {}
    }
    for (seconds, what) in [
        (figures.down, "down"),
        (figures.degraded, "degraded"),
        (figures.unknown, "without data"),
    ] {
        if seconds > 0 {
            parts.push(format!("{} {what}", duration(seconds)));
        }
    }
    format!("{}: {}", figures.date, parts.join(", "))
}

/// Formats hundredths of a percent: `100 %`, `99.98 %`.
pub(super) fn percent(hundredths: u32) -> String {
    match (hundredths / 100, hundredths % 100) {
        (whole, 0) => format!("{whole} %"),
        (whole, rest) => format!("{whole}.{rest:02} %"),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        _ if seconds % 3_600 / 60 == 0 => format!("{} h", seconds / 3_600),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Uptime over 7, 30 and 90 days, and since when there are data if that is less.
pub(super) fn uptime_figures(shown: &PublicCluster) -> El {
    let uptime = &shown.uptime;
    let mut days = shown.days.iter();
    // The first of the days that has data.
    let first = days.position(|day| day.up.is_some());
    let since = first
        .filter(|index| *index > 0)
        .and_then(|index| shown.days.get(index))
        .map(|day| {
            let text = format!("Data since {}; earlier days do not count.", day.date);
            el("p").class("quiet").child(text)
        });
    let figure = |name: &'static str, value: Option<u32>| {
        let value: Content = match value {
            Some(value) => percent(value).into(),
            None => el("span").class("quiet").child("no data").into(),
        };
        el("div")
            .child(el("dt").child(name))
            .child(el("dd").child(value))
    };
    let figures = el("dl").class("uptime").child([
        figure("Uptime, 7 days", uptime.week),
        figure("30 days", uptime.month),
        figure("90 days", uptime.quarter),
    ]);
    el("div").child(figures).child(since)
}

#[cfg(test)]
mod tests {
    use galera::Timestamp;
    use galera::record::uptime::Date;

    use super::*;

    #[test]
    fn days_are_summarized_in_words() {
        let date = Date::of(Timestamp::parse("2026-11-24T12:00:00Z").unwrap());
        let none = DayFigures {
            date,
            up: None,
            down: 0,
            degraded: 0,
            unknown: 0,
        };
        assert_eq!(day_summary(&none), "2026-11-24: no data");
        let unobserved = DayFigures {
            unknown: 86_400,
            ..none
        };
        assert_eq!(day_summary(&unobserved), "2026-11-24: 24 h without data");
        let bad = DayFigures {
            up: Some(9_993),
            down: 60,
            degraded: 3_900,
            ..none
        };
        assert_eq!(
            day_summary(&bad),
            "2026-11-24: 99.93 % up, 1 min down, 1 h 5 min degraded"
        );
        assert_eq!(percent(10_000), "100 %");
    }
}
