//! A collector over a real socket, which decodes what it gets and answers as a test has it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

/// How a collector answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CollectorMode {
    Accept,
    /// Accepts, and reports that it refused so many spans.
    AcceptBut(i64),
    Status(u16),
    Redirect(String),
    /// Reads the request and never answers.
    Hang,
    /// Announces and sends a body of so many bytes.
    Flood(usize),
    /// One byte of the head each time.
    Trickle,
    Garbage,
    Close,
}

#[derive(Default)]
struct ReceivedExports {
    heads: Vec<String>,
    bodies: Vec<Vec<u8>>,
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
}

struct CollectorState {
    mode: Mutex<CollectorMode>,
    received: Mutex<ReceivedExports>,
    changed: Notify,
}

/// A listening collector; its connections end with the runtime of the test.
#[derive(Clone)]
pub(super) struct TestCollector {
    pub(super) address: SocketAddr,
    state: Arc<CollectorState>,
}

impl TestCollector {
    pub(super) async fn start(mode: CollectorMode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(CollectorState {
            mode: Mutex::new(mode),
            received: Mutex::default(),
            changed: Notify::new(),
        });
        let serving = Arc::clone(&state);
        let tracker = TaskTracker::new();
        tracker.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tracker.spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn set(&self, mode: CollectorMode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    pub(super) fn requests(&self) -> usize {
        self.state.received.lock().unwrap().heads.len()
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.state.received.lock().unwrap().heads.clone()
    }

    /// Everything that was received, as one text.
    pub(super) fn everything(&self) -> String {
        let received = self.state.received.lock().unwrap();
        let bodies = received.bodies.iter();
        let bodies = bodies.map(|body| String::from_utf8_lossy(body).into_owned());
        bodies.collect()
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let received = self.state.received.lock().unwrap();
        let resources = received.traces.iter().flat_map(|one| &one.resource_spans);
        let scopes = resources.flat_map(|one| &one.scope_spans);
        scopes.flat_map(|one| one.spans.clone()).collect()
    }

    pub(super) fn traces(&self) -> Vec<ExportTraceServiceRequest> {
        self.state.received.lock().unwrap().traces.clone()
    }

    pub(super) fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.state.received.lock().unwrap().metrics.clone()
    }

    /// Waits until `holds`.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let reached = async {
            loop {
                let changed = self.state.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), reached).await;
        assert!(waited.is_ok(), "{} requests", self.requests());
    }
}

async fn serve(mut stream: TcpStream, state: Arc<CollectorState>) {
    let Some((head, body)) = read_request(&mut stream).await else {
        return;
    };
    let mode = state.mode.lock().unwrap().clone();
    {
        let mut received = state.received.lock().unwrap();
        if matches!(mode, CollectorMode::Accept | CollectorMode::AcceptBut(_)) {
            if head.starts_with("POST /v1/traces ") {
                let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
                received.traces.push(request);
            } else {
                assert!(head.starts_with("POST /v1/metrics "), "{head}");
                let request = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
                received.metrics.push(request);
            }
        }
        received.heads.push(head);
        received.bodies.push(body);
    }
    state.changed.notify_waiters();
    // A client that has gone is what some tests are about.
    let _ = answer(&mut stream, mode).await;
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap().parse().unwrap();
    let mut body = bytes[end..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

async fn answer(stream: &mut TcpStream, mode: CollectorMode) -> std::io::Result<()> {
    let ok = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    match mode {
        CollectorMode::Accept => stream.write_all(&ok(b"")).await,
        CollectorMode::AcceptBut(rejected_spans) => {
            let body = ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: "too old".to_owned(),
                }),
            };
            stream.write_all(&ok(&body.encode_to_vec())).await
        }
        CollectorMode::Status(status) => {
            let head = format!("HTTP/1.1 {status} Refused\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        CollectorMode::Redirect(to) => {
            let head = format!("HTTP/1.1 307 Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        CollectorMode::Hang => std::future::pending().await,
        CollectorMode::Flood(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let block = vec![b'x'; 64 * 1024];
            for _ in 0..bytes / block.len() {
                stream.write_all(&block).await?;
            }
            Ok(())
        }
        CollectorMode::Trickle => {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                stream.write_all(b"H").await?;
            }
        }
        CollectorMode::Garbage => stream.write_all(b"\0\x01not http\r\n\r\n").await,
        CollectorMode::Close => Ok(()),
    }
}
