//! A receiver of notices that remembers what it got and answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How a receiver answers one request.
#[derive(Clone, Debug)]
pub(crate) enum ReceiverReply {
    /// This status.
    Status(u16),
    /// A redirect to there.
    Redirect(String),
    /// Success, with so many bytes.
    LargeBody(usize),
    /// Nothing, ever.
    Hang,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl ReceivedRequest {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn title(&self) -> String {
        self.json()["title"].as_str().unwrap().to_owned()
    }
}

#[derive(Default)]
struct ReceiverState {
    requests: Vec<ReceivedRequest>,
    /// How the next requests are answered; then with 200.
    script: VecDeque<ReceiverReply>,
}

/// The receiver; it ends with this value.
pub(crate) struct WebhookReceiver {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<ReceiverState>>,
    _stop: DropGuard,
}

impl WebhookReceiver {
    pub(crate) async fn start(script: impl IntoIterator<Item = ReceiverReply>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn at(
        address: SocketAddr,
        script: impl IntoIterator<Item = ReceiverReply>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let memory = Arc::new(Mutex::new(ReceiverState {
            requests: Vec::new(),
            script: script.into_iter().collect(),
        }));
        let address = listener.local_addr().unwrap();
        let remembered = Arc::clone(&memory);
        let answer = move |request: Request| handle_request(Arc::clone(&remembered), request);
        let router = axum::Router::new().fallback(answer);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        TaskTracker::new().spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                served = async { axum::serve(listener, router).await } => served.unwrap(),
            }
        });
        Self {
            address,
            state: memory,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?of=us", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.lock().unwrap().requests.clone()
    }

    /// From now on it answers like this first.
    pub(crate) fn script_replies(&self, script: impl IntoIterator<Item = ReceiverReply>) {
        self.state.lock().unwrap().script.extend(script);
    }
}

async fn handle_request(memory: Arc<Mutex<ReceiverState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let got = ReceivedRequest {
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    let says = {
        let mut memory = memory.lock().unwrap();
        memory.requests.push(got);
        memory
            .script
            .pop_front()
            .unwrap_or(ReceiverReply::Status(200))
    };
    let response = Response::builder();
    match says {
        ReceiverReply::Status(status) => response
            .status(status)
            .body(Body::from(format!("said {status}")))
            .unwrap(),
        ReceiverReply::Redirect(to) => response
            .status(307)
            .header("location", to)
            .body(Body::empty())
            .unwrap(),
        ReceiverReply::LargeBody(bytes) => response.body(Body::from(vec![b'x'; bytes])).unwrap(),
        ReceiverReply::Hang => std::future::pending().await,
    }
}
