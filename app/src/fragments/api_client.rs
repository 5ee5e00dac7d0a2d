//! API client of the fragments, and the query string of a page.

use axum::body::Body;
use galera::publish::api::ProblemDetails;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, Method, Request, Uri};
use serde::de::DeserializeOwned;

use crate::data::{InProcessApi, call_api, unreadable_response};
use crate::shell::DisplayChoice;

/// Calls the API on behalf of the user who requested the page.
pub(super) struct ApiClient<'a> {
    api: &'a InProcessApi,
    headers: &'a HeaderMap,
}

impl<'a> ApiClient<'a> {
    pub(super) fn new(api: &'a InProcessApi, headers: &'a HeaderMap) -> Self {
        Self { api, headers }
    }

    /// What the reader has chosen for this browser.
    pub(super) fn display(&self) -> DisplayChoice {
        DisplayChoice::of_headers(self.headers, "")
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProblemDetails> {
        self.request(Method::GET, path, Body::empty()).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, ProblemDetails> {
        self.request(Method::POST, path, Body::from(body.to_string()))
            .await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, ProblemDetails> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json");
        // The session, and the origin by which the user reaches the console.
        for name in [COOKIE, HOST] {
            for value in self.headers.get_all(&name) {
                request = request.header(&name, value);
            }
        }
        let request = request.body(body).map_err(|_| unreadable_response())?;
        let text = call_api(self.api, request).await?;
        serde_json::from_str(&text).map_err(|_| unreadable_response())
    }
}

/// The decoded query string of a page.
pub(super) struct PageQuery(Vec<(String, String)>);

impl PageQuery {
    pub(super) fn from_uri(uri: &Uri) -> Self {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        Self(pairs.map(|pairs| pairs.0).unwrap_or_default())
    }

    /// Every value of `name`, such as those of check boxes.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first non-empty value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(key, value)| key == name && !value.trim().is_empty());
        found.map(|(_, value)| value.as_str())
    }
}
