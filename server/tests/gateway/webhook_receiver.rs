//! A receiver of notifications that records its requests and replies from a script.

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
use tokio_util::sync::DropGuard;

use crate::http_server::serve_until_dropped;

/// How a receiver replies to one request.
#[derive(Clone, Debug)]
pub(crate) enum ReceiverReply {
    /// With this status.
    Status(u16),
    /// With a redirect to this URL.
    Redirect(String),
    /// With success and a body of this many bytes.
    LargeBody(usize),
    /// Never.
    Hang,
}

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
    /// Replies to the next requests; 200 afterwards.
    script: VecDeque<ReceiverReply>,
    /// Whether responses repeat the body of the request.
    echoes: bool,
    /// Whether what is not scripted gets 503.
    is_down: bool,
}

/// The receiver; it stops when this is dropped.
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
        let state = Arc::new(Mutex::new(ReceiverState {
            requests: Vec::new(),
            script: script.into_iter().collect(),
            echoes: false,
            is_down: false,
        }));
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        let handler = move |request: Request| handle_request(Arc::clone(&shared), request);
        let router = axum::Router::new().fallback(handler);
        Self {
            address,
            state,
            _stop: serve_until_dropped(listener, router),
        }
    }

    /// A receiver whose responses repeat the link that it received.
    pub(crate) async fn echoing() -> Self {
        let receiver = Self::start([]).await;
        receiver.state.lock().unwrap().echoes = true;
        receiver
    }

    /// A receiver that replies with 503 until [`WebhookReceiver::recover`].
    pub(crate) async fn down() -> Self {
        let receiver = Self::start([]).await;
        receiver.state.lock().unwrap().is_down = true;
        receiver
    }

    /// Replies with 200 from now on.
    pub(crate) fn recover(&self) {
        self.state.lock().unwrap().is_down = false;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?of=us", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Replies to the next requests like this.
    pub(crate) fn script_replies(&self, script: impl IntoIterator<Item = ReceiverReply>) {
        self.state.lock().unwrap().script.extend(script);
    }
}

async fn handle_request(state: Arc<Mutex<ReceiverState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let received = ReceivedRequest {
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    let reply = {
        let mut state = state.lock().unwrap();
        if state.echoes {
            // The link, whatever the format of the message.
            let text = String::from_utf8_lossy(&received.body).into_owned();
            let link = text.find("/approve/").map_or("", |at| &text[at..]);
            let response = Response::new(Body::from(link.to_owned()));
            state.requests.push(received);
            return response;
        }
        state.requests.push(received);
        let unscripted = if state.is_down { 503 } else { 200 };
        let scripted = state.script.pop_front();
        scripted.unwrap_or(ReceiverReply::Status(unscripted))
    };
    let response = Response::builder();
    match reply {
        ReceiverReply::Status(status) => response
            .status(status)
            .body(Body::from(format!("status {status}")))
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
