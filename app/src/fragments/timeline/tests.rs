use galera::record::history::StateChange;
use galera::view::{NodeState, VerdictState};

use super::*;
use crate::fixtures::{fixed_now, state_transfer};

fn event(sequence: u64, seconds_ago: i64, change: StateChange) -> HistoryEvent {
    HistoryEvent {
        sequence,
        at: fixed_now().shifted(-seconds_ago * 1_000),
        change,
    }
}

fn read(at: Option<&str>, recorded: Option<Result<RecordedClusterView, ProblemDetails>>) -> String {
    let view = state_transfer("lab", 90_000);
    let node = view.nodes[0].id.clone();
    let read = TimelineRead {
        range: TimeRange::from_query(&crate::fragments::api_client::PageQuery::from_uri(
            &"/x?range=15m".parse().unwrap(),
        )),
        from: fixed_now().shifted(-900_000),
        to: fixed_now(),
        events: vec![
            event(
                7,
                600,
                StateChange::Verdict {
                    from: Some(VerdictState::Healthy),
                    to: VerdictState::Degraded,
                    reasons: Vec::new(),
                },
            ),
            event(
                8,
                300,
                StateChange::Node {
                    node,
                    name: None,
                    from: Some(NodeState::Synced),
                    to: Some(NodeState::Donor),
                },
            ),
        ],
        complete_since: Some(fixed_now().shifted(-900_000)),
        at: at.map(str::to_owned),
        speed: None,
        recorded,
    };
    page(&view, &read, fixed_now()).html()
}

#[test]
fn each_block_links_to_its_time_and_names_state_and_duration() {
    let html = read(None, None);
    for expected in [
        "Cluster: Healthy since before 2026-11-23 07:45:00 UTC, for 5 min",
        "Cluster: Degraded since 2026-11-23 07:50:00 UTC, for 10 min",
        "href=\"?range=15m&amp;at=2026-11-23T07:50:01Z\"",
        "Donor since 2026-11-23 07:55:00 UTC, for 5 min",
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
    assert!(!html.contains("id=\"then\""));
}

#[test]
fn the_recorded_view_has_the_ages_of_its_time() {
    let mut view = state_transfer("lab", 90_000);
    view.verdict.since = fixed_now().shifted(-700_000);
    let recorded = RecordedClusterView {
        view,
        recorded_at: fixed_now().shifted(-400_000),
    };
    let html = read(Some("2026-11-23T07:53:24Z"), Some(Ok(recorded)));
    for expected in [
        "lab at 2026-11-23 07:53:24 UTC",
        ">5 min 4 s<",
        "recorded 4.0 s before",
        "at=2026-11-23T07:53:14Z",
        "Previous change",
        "at=2026-11-23T07:50:00Z",
        "Next change",
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
    assert!(
        !html.contains("data-age"),
        "ages of the past do not tick: {html}"
    );
}

#[test]
fn a_time_without_a_record_shows_the_problem() {
    let problem = ProblemDetails {
        status: 404,
        ..crate::data::local_problem("not_recorded_then", "Not found", "Nothing <b>then</b>.")
    };
    let html = read(Some("2026-11-23T07:53:24Z"), Some(Err(problem)));
    assert!(html.contains("Nothing &lt;b&gt;then&lt;/b&gt;."), "{html}");
}

#[test]
fn times_are_completed() {
    for (typed, complete) in [
        ("2026-11-24", "2026-11-24T00:00:00Z"),
        ("2026-11-24 08:00", "2026-11-24T08:00:00Z"),
        ("2026-11-24 08:00:07", "2026-11-24T08:00:07Z"),
        ("2026-11-24 08:00:07 UTC", "2026-11-24T08:00:07Z"),
        ("2026-11-24T08:00:07+01:00", "2026-11-24T08:00:07+01:00"),
        ("yesterday", "yesterday"),
    ] {
        assert_eq!(complete_time(typed), complete);
    }
}

#[test]
fn a_time_that_plays_passes_as_fast_as_chosen_and_not_beyond_now() {
    let now = fixed_now();
    let begin = now.shifted(-600_000);
    let query = |text: &str| {
        let uri = format!("/clusters/lab/timeline?{text}").parse().unwrap();
        TimePlayback::from_query(&crate::fragments::api_client::PageQuery::from_uri(&uri))
    };
    for (play, started, reached) in [
        (1, -5_000, Some(-595_000)),
        (10, -5_000, Some(-550_000)),
        (60, -5_000, Some(-300_000)),
        (60, -50_000, Some(0)),
        // A link from a computer whose clock is ahead.
        (60, 50_000, Some(-600_000)),
        (7, -5_000, None),
    ] {
        let started = now.shifted(started);
        let playback = query(&format!("play={play}&started={started}"));
        let time = playback.map(|playback| playback.time(begin, now));
        assert_eq!(time, reached.map(|reached| now.shifted(reached)), "{play}");
    }
    assert!(query("play=1").is_none() && query("play=x&started=y").is_none());
}

#[test]
fn the_slider_keeps_its_range_and_names_its_time() {
    let position = |query: &str| {
        let uri = format!("/x?range=1h{query}").parse().unwrap();
        let query = crate::fragments::api_client::PageQuery::from_uri(&uri);
        let range = TimeRange::from_query(&query);
        let slider = SliderPosition::from_query(&query, range, fixed_now())?;
        Some(slider.time(range).to_string())
    };
    let from = "&from=2026-11-23T06:30:00Z";
    for (query, expected) in [
        (format!("{from}&step=0"), Some("2026-11-23T06:30:00Z")),
        (format!("{from}&step=150"), Some("2026-11-23T07:00:00Z")),
        (format!("{from}&step=300"), Some("2026-11-23T07:30:00Z")),
        (format!("{from}&step=301"), None),
        (format!("{from}&step=-1"), None),
        (format!("{from}&step=x"), None),
        ("&from=2026-11-23T07:30:00Z&step=1".to_owned(), None),
        ("&from=9999-12-31T23:59:59Z&step=1".to_owned(), None),
        ("&step=1".to_owned(), None),
    ] {
        assert_eq!(position(&query).as_deref(), expected, "{query}");
    }
    let html = read(Some("2026-11-23T07:50:00Z"), None);
    for expected in [
        "value=\"100\"",
        "aria-valuetext=\"2026-11-23 07:50:00 UTC\"",
        "name=\"from\" value=\"2026-11-23T07:45:00Z\"",
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
}
