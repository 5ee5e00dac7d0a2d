//! What the API says, as far as these pages read it.

use std::collections::BTreeMap;

use axum::body::Body;
use galera::action::{Action, SwitchedOff};
use galera::api::Problem;
use galera::{ClusterName, NodeId, Timestamp};
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, Method, Request, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::data::{InProcessApi, ask, unreadable};

/// Asks the API in the name of whoever asked for the page.
pub(super) struct Client<'a> {
    api: &'a InProcessApi,
    headers: &'a HeaderMap,
}

impl<'a> Client<'a> {
    pub(super) fn new(api: &'a InProcessApi, headers: &'a HeaderMap) -> Self {
        Self { api, headers }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.ask(Method::GET, path, Body::empty()).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Problem> {
        self.ask(Method::POST, path, Body::from(body.to_string()))
            .await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, Problem> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json");
        for cookie in self.headers.get_all(COOKIE) {
            request = request.header(COOKIE, cookie);
        }
        let request = request.body(body).map_err(|_| unreadable())?;
        let text = ask(self.api, request).await?;
        serde_json::from_str(&text).map_err(|_| unreadable())
    }
}

/// The query of a page's address, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        Self(pairs.map(|pairs| pairs.0).unwrap_or_default())
    }

    /// The first value of `name` that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(key, value)| key == name && !value.trim().is_empty());
        found.map(|(_, value)| value.as_str())
    }
}

/// An action with what became of it since.
#[derive(Debug, Deserialize)]
pub(super) struct ActionView {
    #[serde(flatten)]
    pub(super) action: Action,
    #[serde(default)]
    pub(super) warnings: Vec<Warning>,
    #[serde(default)]
    pub(super) undone: Option<Undone>,
    #[serde(default)]
    pub(super) undoable: bool,
}

/// A node that was left out and holds more (I22).
#[derive(Debug, Deserialize)]
pub(super) struct Warning {
    pub(super) node: NodeId,
    pub(super) message: String,
}

/// A clean-up that was taken back.
#[derive(Debug, Deserialize)]
pub(super) struct Undone {
    pub(super) by: String,
    pub(super) at: Timestamp,
    #[serde(default)]
    pub(super) restored: Vec<String>,
    #[serde(default)]
    pub(super) kept: Vec<String>,
}

/// Newest first.
#[derive(Debug, Deserialize)]
pub(super) struct Actions {
    pub(super) actions: Vec<ActionView>,
    #[serde(default)]
    pub(super) next_before: Option<String>,
}

/// Whether anybody may recover anything.
#[derive(Debug, Deserialize)]
pub(super) struct Recovery {
    pub(super) enabled: bool,
    pub(super) off: Option<SwitchedOff>,
    #[serde(default)]
    pub(super) clusters: BTreeMap<ClusterName, SwitchedOff>,
    #[serde(default)]
    pub(super) approvals: BTreeMap<String, u32>,
    #[serde(default)]
    pub(super) sql_account: bool,
}

/// Whether anybody may recover this cluster.
#[derive(Debug, Deserialize)]
pub(super) struct ClusterRecovery {
    pub(super) enabled: bool,
    pub(super) off: Option<SwitchedOff>,
    #[serde(default)]
    pub(super) scope: Option<String>,
}

/// Newest first.
#[derive(Debug, Deserialize)]
pub(super) struct AuditEntries {
    pub(super) entries: Vec<AuditEntry>,
    #[serde(default)]
    pub(super) next_before: Option<u64>,
}

/// One line of the audit trail.
#[derive(Debug, Deserialize)]
pub(super) struct AuditEntry {
    pub(super) sequence: u64,
    pub(super) at: Timestamp,
    pub(super) actor: String,
    pub(super) event: String,
    pub(super) cluster: Option<String>,
    pub(super) subject: Option<String>,
    #[serde(default)]
    pub(super) detail: BTreeMap<String, String>,
    pub(super) hash: String,
}
