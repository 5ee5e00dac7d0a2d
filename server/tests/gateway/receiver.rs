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
pub(crate) enum Says {
    /// This status.
    Status(u16),
    /// A redirect to there.
    Redirect(String),
    /// Success, with so many bytes.
    Much(usize),
    /// Nothing, ever.
    Hangs,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
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
struct Memory {
    got: Vec<Got>,
    /// How the next requests are answered; then with 200.
    script: VecDeque<Says>,
}

/// The receiver; it ends with this value.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    _stop: DropGuard,
}

impl Receiver {
    pub(crate) async fn start(script: impl IntoIterator<Item = Says>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn at(address: SocketAddr, script: impl IntoIterator<Item = Says>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let memory = Arc::new(Mutex::new(Memory {
            got: Vec::new(),
            script: script.into_iter().collect(),
        }));
        let address = listener.local_addr().unwrap();
        let remembered = Arc::clone(&memory);
        let answer = move |request: Request| answer(Arc::clone(&remembered), request);
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
            memory,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?of=us", self.address)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.memory.lock().unwrap().got.clone()
    }

    /// From now on it answers like this first.
    pub(crate) fn will(&self, script: impl IntoIterator<Item = Says>) {
        self.memory.lock().unwrap().script.extend(script);
    }
}

async fn answer(memory: Arc<Mutex<Memory>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let got = Got {
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    let says = {
        let mut memory = memory.lock().unwrap();
        memory.got.push(got);
        memory.script.pop_front().unwrap_or(Says::Status(200))
    };
    let response = Response::builder();
    match says {
        Says::Status(status) => response
            .status(status)
            .body(Body::from(format!("said {status}")))
            .unwrap(),
        Says::Redirect(to) => response
            .status(307)
            .header("location", to)
            .body(Body::empty())
            .unwrap(),
        Says::Much(bytes) => response.body(Body::from(vec![b'x'; bytes])).unwrap(),
        Says::Hangs => std::future::pending().await,
    }
}
