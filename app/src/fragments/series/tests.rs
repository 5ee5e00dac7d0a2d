use galera::publish::series::RecordingState;

use super::annotations::{Annotation, is_cut_off};
use super::*;
use crate::fixtures;

fn node_series(node: &str, metric: SeriesMetric, values: &[Option<f64>]) -> NodeSeries {
    NodeSeries {
        node: node.parse().unwrap(),
        name: metric.as_str().to_owned(),
        unit: metric.unit().to_owned(),
        min: values
            .iter()
            .map(|value| value.map(|value| value / 2.0))
            .collect(),
        mean: values.to_vec(),
        max: values
            .iter()
            .map(|value| value.map(|value| value * 2.0))
            .collect(),
    }
}

fn read(values: &[Option<f64>]) -> SeriesRead {
    let now = fixtures::fixed_now();
    let from = now.shifted(-60_000 * i64::try_from(values.len()).unwrap());
    let nodes = ["127.0.0.1", "127.0.0.2"];
    let series = nodes
        .iter()
        .flat_map(|node| CHARTED.map(|metric| node_series(node, metric, values)));
    SeriesRead {
        range: TimeRange::from_query(&crate::fragments::PageQuery::from_uri(
            &"/".parse().unwrap(),
        )),
        series: Ok(SeriesView {
            cluster: "lab".parse().unwrap(),
            from,
            to: now,
            step: 60,
            recorded_since: Some(from),
            state: RecordingState {
                recording: true,
                problem: None,
            },
            metrics_server: None,
            sources: Vec::new(),
            series: series.collect(),
        }),
        annotations: Annotations::new(
            vec![Annotation {
                at: from.shifted(90_000),
                text: "Verdict <b>".to_owned(),
                href: None,
            }],
            from,
            false,
        ),
    }
}

fn html(read: &SeriesRead) -> String {
    page(
        &fixtures::healthy("lab", 90_000),
        read,
        fixtures::fixed_now(),
    )
    .html()
}

#[test]
fn what_the_metrics_server_serves_is_named_with_its_age() {
    let mut read = read(&[Some(1.0), Some(2.0)]);
    assert!(!html(&read).contains("365d"));
    let series = read.series.as_mut().unwrap();
    series.metrics_server = Some("https://metrics.example.org".to_owned());
    series.state.recording = false;
    series.state.problem = Some("this console does not record figures".to_owned());
    let part = SeriesPart {
        source: SeriesSource::MetricsServer,
        from: series.from,
        to: series.to,
        read_at: fixtures::fixed_now(),
        newest: Some(series.from.shifted(60_000)),
        without: vec!["connections".to_owned()],
        problem: None,
    };
    series.sources = vec![part];
    let page = html(&read);
    let (to, newest) = {
        let part = &read.series.as_ref().unwrap().sources[0];
        (absolute(part.to), absolute(part.newest.unwrap()))
    };
    let expected = format!(
        "Figures before {to} are from the metrics server https://metrics.example.org, read at {to}, newest value {newest}. Not available there: Connections."
    );
    assert!(page.contains(&expected), "{page}");
    assert!(page.contains("365d") && !page.contains("Not recording now"));
    read.series.as_mut().unwrap().sources[0].problem = Some("<b>no answer</b>".to_owned());
    let page = html(&read);
    let expected = "can be missing: &lt;b&gt;no answer&lt;/b&gt;.";
    assert!(page.contains(expected), "{page}");
}

#[test]
fn a_gap_is_shaded_and_no_line_crosses_it() {
    let html = html(&read(&[
        Some(4.0),
        Some(4.0),
        None,
        None,
        Some(8.0),
        Some(8.0),
    ]));
    let line = html.split("class=\"line\" d=\"").nth(1).unwrap();
    let line = line.split('"').next().unwrap();
    assert_eq!(
        line,
        "M0.0 80.0L83.3 80.0L250.0 80.0L333.3 80.0M666.7 60.0L750.0 60.0L916.7 60.0L1000.0 60.0"
    );
    assert!(
        html.contains("class=\"gap\" d=\"M333.3 0.0H666.7V100H333.3Z\""),
        "{html}"
    );
    assert!(html.contains("<td class=\"n\">no readings</td>"));
    assert!(!html.contains(" style="));
}

#[test]
fn values_and_marks_are_readable_without_the_picture() {
    let html = html(&read(&[Some(4.0), None, None, None, None, None]));
    for expected in [
        "Commits per second, n1 (127.0.0.1): no readings now, highest 8.0/s; ",
        "<summary>Values</summary>",
        "<summary>Marked: 1 event</summary>",
        "Verdict &lt;b&gt;",
        "aria-current=\"true\">1 h</a>",
        "/clusters/lab/nodes/127.0.0.1?range=1h",
    ] {
        assert!(html.contains(expected), "{expected}");
    }
}

#[test]
fn nothing_recorded_is_nothing_drawn() {
    let html = html(&read(&[None; 6]));
    assert!(html.contains("class=\"line\" d=\"\"") && html.contains("no readings"));
    assert!(!html.contains("NaN") && !html.contains("inf"));
}

#[test]
fn says_how_to_begin_to_record() {
    let mut read = read(&[None]);
    read.series = Err(crate::data::local_problem(
        "series_not_recorded",
        "Not found",
        "…",
    ));
    assert!(html(&read).contains("--data-dir DIR"));
    assert!(
        node_section(&read, fixtures::fixed_now())
            .html()
            .contains("--data-dir DIR")
    );
}

#[test]
fn scales_are_round_and_above_every_value() {
    let top = |metric, highest: f64| {
        let series = node_series("n1", metric, &[Some(highest / 2.0)]);
        chart::top(metric, [&series].into_iter())
    };
    assert_eq!(top(SeriesMetric::CommitRate, 0.0), 1.0);
    assert_eq!(top(SeriesMetric::CommitRate, 1.0), 1.0);
    assert_eq!(top(SeriesMetric::CommitRate, 510.0), 1_000.0);
    assert_eq!(top(SeriesMetric::FlowControlPaused, 0.7), 1.0);
    assert_eq!(top(SeriesMetric::RecvQueue, 21.0), 50.0);
}

#[test]
fn only_the_newest_annotations_are_marked() {
    let at = |second: i64| Annotation {
        at: Timestamp::from_unix_millis(second * 1_000),
        text: second.to_string(),
        href: None,
    };
    let all = Annotations::new(
        (0..30).map(at).collect(),
        Timestamp::from_unix_millis(5_000),
        false,
    );
    assert_eq!((all.shown.len(), all.older), (20, 5));
    assert_eq!(all.shown[0].text, "10");
}

#[test]
fn annotations_beyond_the_first_page_are_said() {
    let at = |second: i64| Timestamp::from_unix_millis(second * 1_000);
    let page = || (10..30).map(at);
    assert!(is_cut_off(true, page(), at(5)));
    assert!(!is_cut_off(false, page(), at(5)), "the last page");
    assert!(!is_cut_off(true, page(), at(15)), "it covers the range");
    let mut read = read(&[Some(1.0), Some(2.0)]);
    let now = fixtures::fixed_now();
    let events = (0..30).map(|second| Annotation {
        at: now.shifted(-1_000 * second),
        text: second.to_string(),
        href: None,
    });
    read.annotations = Annotations::new(events.collect(), now.shifted(-60_000), false);
    assert!(html(&read).contains("10 earlier ones are not marked."));
    read.annotations.more = true;
    assert!(html(&read).contains("10 or more earlier ones are not marked."));
}
