//! A client of the console that tests start.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use galera::publish::api::ProblemDetails;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN, SET_COOKIE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::etcd::TIMEOUT;
use crate::openapi;
use crate::test_console::PASSWORD;

/// A client with or without a session cookie.
#[derive(Clone)]
pub(crate) struct TestClient {
    pub(crate) router: Router,
    pub(crate) cookie: Option<String>,
    /// An API token.
    pub(crate) bearer: Option<String>,
}

impl TestClient {
    pub(crate) async fn get(&self, path: &str) -> TestResponse {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> TestResponse {
        self.send(
            self.request(Method::DELETE, path)
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn sign_in(&self, username: &str, password: &str) -> TestResponse {
        let body = serde_json::json!({"username": username, "password": password}).to_string();
        self.post("/api/v1/session", "application/json", body).await
    }

    pub(crate) async fn sign_in_with_code(&self, username: &str, code: &str) -> TestResponse {
        let body = serde_json::json!({"username": username, "password": PASSWORD, "code": code});
        self.send_json(Method::POST, "/api/v1/session", &body).await
    }

    pub(crate) async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> TestResponse {
        let request = self
            .request(method, path)
            .header(CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_string().into()).unwrap())
            .await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        media_type: &str,
        body: impl Into<Body>,
    ) -> TestResponse {
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, media_type);
        self.send(request.body(body.into()).unwrap()).await
    }

    /// A same-origin request as a browser sends it.
    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "console.test");
        if let Some(token) = &self.bearer {
            return request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.header(ORIGIN, "http://console.test");
        match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    /// Sends the request and reads the whole response; a timeout fails the test.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> TestResponse {
        // As every client of HTTP/1.1 does.
        if request.uri().authority().is_none() {
            let host = http::HeaderValue::from_static("console.test");
            request.headers_mut().entry(HOST).or_insert(host);
        }
        let what = format!("{} {}", request.method(), request.uri());
        let router = self.router.clone();
        let answer = async move {
            let (request, sent) = remember(request).await;
            let response = TestResponse::collect(router.oneshot(request).await.unwrap()).await;
            openapi::check(&sent, response.status, &response.headers, &response.body);
            response
        };
        tokio::time::timeout(TIMEOUT, answer)
            .await
            .unwrap_or_else(|_| panic!("no answer within {TIMEOUT:?}: {what}"))
    }
}

/// A request, as far as the document describes it.
pub(crate) struct SentRequest {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// The body, if it is JSON.
    pub(crate) body: Option<serde_json::Value>,
}

/// The request, and what of it is compared with the API's document. A body of unknown size is left as it is.
async fn remember(request: Request<Body>) -> (Request<Body>, SentRequest) {
    let mut sent = SentRequest {
        method: request.method().clone(),
        uri: request.uri().clone(),
        body: None,
    };
    if http_body::Body::size_hint(request.body()).exact().is_none() {
        return (request, sent);
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    sent.body = serde_json::from_slice(&body).ok();
    (Request::from_parts(parts, Body::from(body)), sent)
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl TestResponse {
    async fn collect(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The problem document, checked against the response's head.
    pub(crate) fn problem(&self) -> ProblemDetails {
        assert_eq!(
            self.header(CONTENT_TYPE),
            "application/problem+json",
            "{} {}",
            self.status,
            self.text()
        );
        let problem: ProblemDetails = self.json();
        assert_eq!(problem.status, self.status.as_u16());
        assert_eq!(problem.request_id, self.header("x-request-id"));
        assert!(!problem.title.is_empty() && !problem.detail.is_empty());
        problem
    }

    /// The session token set by the response.
    pub(crate) fn token(&self) -> &str {
        let pair = self.header(SET_COOKIE).split(';').next().unwrap();
        pair.split_once('=').unwrap().1
    }
}
