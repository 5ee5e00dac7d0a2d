//! Exports to real sockets: what a collector receives, and that none of any kind holds the console up.

mod receiver;

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use console_core::trace_context::TraceContext;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use registry::spans;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

use super::openmetrics::{PointTimes, metrics_of};
use super::*;
use receiver::{CollectorMode, TestCollector};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn settings(url: &str) -> OtlpSettings {
    let resource = ResourceAttributes {
        version: "1.2.3".to_owned(),
        instance: "host/1".to_owned(),
        others: vec![("deployment.environment.name".to_owned(), "test".to_owned())],
    };
    OtlpSettings {
        timeout: Duration::from_millis(500),
        metrics_interval: None,
        batch_interval: Duration::from_millis(10),
        queue_spans: 64,
        ..OtlpSettings::new(url.parse().unwrap(), resource)
    }
}

fn no_metrics() -> MetricsSource {
    Box::new(|| Box::new(std::iter::empty()))
}

/// A running export, whose spans are those of this thread.
fn start(settings: OtlpSettings) -> (RunningExport, Arc<ExportCounts>, DefaultGuard) {
    start_with(settings, no_metrics())
}

fn start_with(
    settings: OtlpSettings,
    source: MetricsSource,
) -> (RunningExport, Arc<ExportCounts>, DefaultGuard) {
    let (prepared, layer) = PreparedExport::new(settings);
    prepared.continue_traces();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let counts = prepared.counts();
    let running = prepared.start(Resolver::default(), source).unwrap();
    (running, counts, guard)
}

fn work(name: &str) -> tracing::Span {
    tracing::info_span!(target: spans::TARGET, "work", otel.name = name, action.id = tracing::field::Empty)
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_trace_is_continued_and_named() {
    let receiver = TestCollector::start(CollectorMode::Accept).await;
    let headers = OtlpSettings::parse_headers("# of the collector\n\nX-Scope: team 7\n").unwrap();
    let (running, counts, _guard) = start(OtlpSettings {
        headers,
        ..settings(&receiver.url())
    });
    let parent = TraceContext::parse(&format!("00-{TRACE}-{PARENT}-01"));
    let outer = work("outer");
    let trace = TraceContext::begin(&outer, parent).unwrap();
    assert_eq!(trace.trace_id(), TRACE);
    let outgoing = outer.in_scope(|| {
        let inner = work("inner");
        inner.record("action.id", "a1");
        let outgoing = inner.in_scope(TraceContext::outgoing_header);
        // Neither lines of the log nor other spans are exported.
        tracing::error!(password = "hunter2", "hunter2");
        drop(tracing::info_span!("other", secret = "hunter2").entered());
        outgoing.unwrap()
    });
    drop(outer);
    receiver.until(|receiver| receiver.spans().len() == 2).await;
    let sent = receiver.spans();
    let span = |name: &str| sent.iter().find(|span| span.name == name).unwrap();
    let (outer, inner) = (span("outer"), span("inner"));
    assert_eq!(hex(&outer.trace_id), TRACE);
    assert_eq!(hex(&outer.parent_span_id), PARENT);
    assert_eq!(inner.trace_id, outer.trace_id);
    assert_eq!(inner.parent_span_id, outer.span_id);
    assert_eq!(attribute(&inner.attributes, "action.id"), Some("a1"));
    assert_eq!(outgoing, format!("00-{TRACE}-{}-01", hex(&inner.span_id)));
    let request = &receiver.traces()[0];
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    for (key, value) in [
        ("service.name", "galera-console"),
        ("service.version", "1.2.3"),
        ("service.instance.id", "host/1"),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(attribute(&resource.attributes, key), Some(value));
    }
    assert!(receiver.heads()[0].contains("x-scope: team 7\r\n"));
    assert!(!receiver.everything().contains("hunter2"));
    running.finish().await;
    assert_eq!((counts.exported_spans(), counts.dropped_spans()), (2, 0));
}

#[tokio::test]
async fn the_sender_of_a_trace_decides_whether_it_is_sampled() {
    let receiver = TestCollector::start(CollectorMode::Accept).await;
    let (running, counts, _guard) = start(OtlpSettings {
        sampling: 0.0,
        ..settings(&receiver.url())
    });
    for flags in ["00", "01"] {
        let span = work(flags);
        let parent = TraceContext::parse(&format!("00-{TRACE}-{PARENT}-{flags}"));
        let trace = TraceContext::begin(&span, parent).unwrap();
        assert_eq!(trace.is_sampled(), flags == "01");
    }
    // It begins here, where nothing is sampled, but has an id for the log.
    let span = work("own");
    assert!(TraceContext::begin(&span, None).is_some());
    drop(span);
    running.finish().await;
    let names: Vec<String> = receiver.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["01"]);
    assert_eq!((counts.exported_spans(), counts.dropped_spans()), (1, 0));
}

/// An address at which nothing listens.
fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn no_collector_holds_up_work_or_the_end() {
    const SPANS: u64 = 2_000;
    let other = TestCollector::start(CollectorMode::Accept).await;
    for mode in [
        None,
        Some(CollectorMode::Hang),
        Some(CollectorMode::Trickle),
        Some(CollectorMode::Flood(100 * 1024 * 1024)),
        Some(CollectorMode::Redirect(other.url())),
        Some(CollectorMode::Status(400)),
        Some(CollectorMode::Status(503)),
        Some(CollectorMode::Garbage),
        Some(CollectorMode::Close),
    ] {
        let receiver = match &mode {
            Some(mode) => Some(TestCollector::start(mode.clone()).await),
            None => None,
        };
        let url = receiver
            .as_ref()
            .map_or_else(closed_address, TestCollector::url);
        let (running, counts, guard) = start(settings(&url));
        let began = Instant::now();
        for _ in 0..SPANS {
            // The worker gets its turns, as beside requests.
            tokio::task::yield_now().await;
            drop(work("work"));
        }
        let worked = began.elapsed();
        if let Some(receiver) = &receiver {
            receiver.until(|receiver| receiver.requests() > 0).await;
        }
        let ending = Instant::now();
        running.finish().await;
        let ended = ending.elapsed();
        drop(guard);
        assert!(worked < Duration::from_secs(5), "{mode:?}: {worked:?}");
        assert!(ended < Duration::from_secs(5), "{mode:?}: {ended:?}");
        assert_eq!(counts.exported_spans(), 0, "{mode:?}");
        assert_eq!(counts.dropped_spans(), SPANS, "{mode:?}");
    }
    assert_eq!(other.requests(), 0, "a redirect was followed");
}

#[tokio::test]
async fn spans_of_an_outage_arrive_afterwards() {
    let receiver = TestCollector::start(CollectorMode::Status(503)).await;
    let (running, counts, _guard) = start(settings(&receiver.url()));
    drop(work("during"));
    receiver.until(|receiver| receiver.requests() >= 2).await;
    receiver.set(CollectorMode::Accept);
    receiver
        .until(|receiver| !receiver.spans().is_empty())
        .await;
    drop(work("after"));
    running.finish().await;
    let names: Vec<String> = receiver.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["during", "after"]);
    assert_eq!((counts.exported_spans(), counts.dropped_spans()), (2, 0));
}

#[tokio::test]
async fn spans_that_the_collector_refuses_are_counted() {
    for (refused, counted) in [(1, 1), (-7, 0), (i64::MAX, 3)] {
        let receiver = TestCollector::start(CollectorMode::AcceptBut(refused)).await;
        let (running, counts, _guard) = start(settings(&receiver.url()));
        for _ in 0..3 {
            drop(work("work"));
        }
        running.finish().await;
        assert_eq!(counts.exported_spans(), 3 - counted, "{refused}");
        assert_eq!(counts.dropped_spans(), counted, "{refused}");
    }
}

/// Lines of the log.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn one_line_is_logged_when_the_state_of_the_collector_changes() {
    let lines = LogLines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    tracing::subscriber::with_default(log.finish(), || {
        let settings = settings("http://127.0.0.1:1");
        let collector = CollectorClient::new(&settings, Resolver::default()).unwrap();
        let fault = collector::ExportFault {
            cause: "no answer".to_owned(),
            is_transient: true,
        };
        for faults in [3, 0, 4] {
            for _ in 0..faults {
                collector.note(counts::TelemetrySignal::Traces, Some(&fault));
            }
            for _ in 0..3 {
                collector.note(counts::TelemetrySignal::Traces, None);
            }
        }
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!(count("does not accept traces: no answer"), 2, "{text}");
    assert_eq!(count("accepts traces again"), 2, "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
}

const METRICS: &str = r#"# HELP galera_console_http_requests HTTP answers by route and status.
# TYPE galera_console_http_requests counter
galera_console_http_requests_total{method="GET",route="/a \"b\" \\ {c},\n",status="200"} 7
galera_console_http_requests_total{method="PUT",route="",status="404"} 2 # {trace_id="x"} 1
# HELP galera_console_leader Whether this replica leads.
# TYPE galera_console_leader gauge
galera_console_leader 1
# HELP galera_console_seconds Time.
# TYPE galera_console_seconds histogram
galera_console_seconds_sum 1.5
galera_console_seconds_count 6
galera_console_seconds_bucket{le="0.1"} 1
galera_console_seconds_bucket{le="1.0"} 4
galera_console_seconds_bucket{le="+Inf"} 6
# EOF
"#;

#[tokio::test]
async fn metrics_keep_their_names_and_labels() {
    let receiver = TestCollector::start(CollectorMode::Accept).await;
    let settings = OtlpSettings {
        metrics_interval: Some(Duration::from_secs(60)),
        ..settings(&receiver.url())
    };
    let source: MetricsSource = Box::new(|| Box::new(std::iter::once(METRICS.to_owned())));
    let (running, _, _guard) = start_with(settings, source);
    receiver
        .until(|receiver| !receiver.metrics().is_empty())
        .await;
    running.finish().await;
    let request = receiver.metrics().remove(0);
    let resource = &request.resource_metrics[0];
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    assert_eq!(attribute(attributes, "service.instance.id"), Some("host/1"));
    let metrics = &resource.scope_metrics[0].metrics;
    let named = |name: &str| {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
        metric.data.clone().unwrap()
    };
    let Data::Sum(requests) = named("galera_console_http_requests_total") else {
        panic!("{metrics:?}");
    };
    assert!(requests.is_monotonic);
    let point = &requests.data_points[0];
    assert_eq!(
        attribute(&point.attributes, "route"),
        Some("/a \"b\" \\ {c},\n")
    );
    assert_eq!(point.value, Some(Value::AsDouble(7.0)));
    assert_eq!(requests.data_points[1].value, Some(Value::AsDouble(2.0)));
    assert!(point.start_time_unix_nano <= point.time_unix_nano);
    let Data::Gauge(leader) = named("galera_console_leader") else {
        panic!("{metrics:?}");
    };
    assert_eq!(leader.data_points[0].value, Some(Value::AsDouble(1.0)));
    let Data::Histogram(seconds) = named("galera_console_seconds") else {
        panic!("{metrics:?}");
    };
    let point = &seconds.data_points[0];
    assert_eq!((point.count, point.sum), (6, Some(1.5)));
    assert_eq!(point.explicit_bounds, [0.1, 1.0]);
    assert_eq!(point.bucket_counts, [1, 3, 2]);
}

#[test]
fn lines_that_are_no_samples_are_left_out() {
    let times = PointTimes { started: 1, at: 2 };
    for text in [
        "",
        "#",
        "# TYPE",
        "a",
        "a{",
        "a{b",
        "a{b=\"c",
        "a{b=\"c\\",
        "a{b=\"c\"}",
        "a{b=\"c\"} x",
        "{}",
        "a{b=c} 1",
        "# TYPE a histogram\na_bucket{le=\"x\"",
        " ",
    ] {
        assert_eq!(metrics_of(text, times).1, 0, "{text:?}");
    }
    // Without its type, a sample is a gauge.
    assert_eq!(metrics_of("a 1\nb{c=\"d\"} NaN\n", times).1, 2);
}

#[test]
fn headers_are_parsed_line_by_line_and_never_shown() {
    let headers = OtlpSettings::parse_headers("Authorization: Bearer hunter2\r\n x-tenant : a:b\n");
    let headers = headers.unwrap();
    assert_eq!(headers["authorization"], "Bearer hunter2");
    assert_eq!(headers["x-tenant"], "a:b");
    assert!(!format!("{headers:?}").contains("hunter2"));
    for bad in [
        "hunter2",
        "a b: hunter2",
        ": hunter2",
        "Host: hunter2",
        "x: hun\u{1}ter2",
    ] {
        let error = OtlpSettings::parse_headers(&format!("ok: 1\n{bad}")).unwrap_err();
        assert!(
            error.contains("line 2") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
