//! A typed client of the HTTP interface: the session cookie and the `Origin` that a browser would send.

use ::galera::id::NodeId;
use ::galera::publish::api::{ClusterRecovery, Overview, ProblemDetails, SessionView};
use ::galera::view::{ClusterView, NodeView, RegistryView, SourceKind, SourceView};
use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::live::LiveClient;

/// A client of one console.
#[derive(Clone)]
pub struct ConsoleClient {
    base: String,
    client: Client,
    cookie: Option<String>,
}

impl ConsoleClient {
    /// A client that is not signed in.
    ///
    /// # Errors
    /// If the HTTP client cannot be made.
    pub fn new(base: &str) -> Result<Self> {
        let client = Client::builder()
            .timeout(std::time::Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            base: base.to_owned(),
            client,
            cookie: None,
        })
    }

    /// Where the console is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The session cookie as `name=value`.
    #[must_use]
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// The same client with another cookie, for example a forged one.
    #[must_use]
    pub fn with_cookie(mut self, cookie: &str) -> Self {
        self.cookie = Some(cookie.to_owned());
        self
    }

    /// A request with this client's cookie and the console's own origin.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .header(header::ORIGIN, &self.base);
        match &self.cookie {
            Some(cookie) => request.header(header::COOKIE, cookie),
            None => request,
        }
    }

    /// Signs in; the returned client has the session.
    ///
    /// # Errors
    /// If the console refuses; quotes its problem document.
    pub async fn sign_in(mut self, username: &str, password: &str) -> Result<Self> {
        let body = json!({"username": username, "password": password});
        let answer = self
            .request(Method::POST, "/api/v1/session")
            .json(&body)
            .send()
            .await?;
        let status = answer.status();
        let cookie = answer.headers().get(header::SET_COOKIE).cloned();
        ensure!(
            status.is_success(),
            "signing in as {username}: {status}: {}",
            answer.text().await?
        );
        let cookie = cookie.context("signing in set no cookie")?;
        let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
        self.cookie = Some(pair.to_owned());
        Ok(self)
    }

    /// Signs out.
    ///
    /// # Errors
    /// If the console refuses.
    pub async fn sign_out(&self) -> Result<()> {
        let answer = self
            .request(Method::DELETE, "/api/v1/session")
            .send()
            .await?;
        ensure!(
            answer.status().is_success(),
            "signing out: {}",
            answer.status()
        );
        Ok(())
    }

    /// The current session.
    ///
    /// # Errors
    /// If the client is not signed in.
    pub async fn session(&self) -> Result<SessionView> {
        self.get("/api/v1/session").await
    }

    /// All clusters.
    ///
    /// # Errors
    /// If the console does not respond with it.
    pub async fn overview(&self) -> Result<Overview> {
        self.get("/api/v1/clusters").await
    }

    /// One cluster.
    ///
    /// # Errors
    /// If the console does not respond with it.
    pub async fn cluster(&self, name: &str) -> Result<ClusterView> {
        self.get(&format!("/api/v1/clusters/{name}")).await
    }

    /// One cluster's registry keys.
    ///
    /// # Errors
    /// If the console does not respond with them.
    pub async fn registry(&self, name: &str) -> Result<RegistryView> {
        self.get(&format!("/api/v1/clusters/{name}/registry")).await
    }

    /// Acknowledges every open alarm about the data of `cluster`, as an operator does who has looked into it.
    ///
    /// # Errors
    /// If the console refuses.
    pub async fn acknowledge_alarms(&self, cluster: &str) -> Result<()> {
        let path = format!("/api/v1/clusters/{cluster}");
        let state: ClusterRecovery = self.get(&format!("{path}/recovery")).await?;
        let Some(newest) = state.history_alarms.last() else {
            return Ok(());
        };
        let body = json!({"through": newest.number, "reason": "looked into"});
        let answer = self
            .request(Method::POST, &format!("{path}/alarms/acknowledge"))
            .json(&body)
            .send()
            .await?;
        ensure!(
            answer.status().is_success(),
            "acknowledging: {}",
            answer.text().await?
        );
        Ok(())
    }

    /// `GET`s JSON.
    ///
    /// # Errors
    /// If the answer is another than expected; quotes it.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.request(Method::GET, path).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "GET {path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("GET {path}: {text}"))
    }

    /// `GET`s a page as text.
    ///
    /// # Errors
    /// If the answer is another than expected.
    pub async fn get_text(&self, path: &str) -> Result<String> {
        let answer = self.request(Method::GET, path).send().await?;
        ensure!(
            answer.status().is_success(),
            "GET {path}: {}",
            answer.status()
        );
        Ok(answer.text().await?)
    }

    /// Sends a request that is to be refused and returns the problem document.
    ///
    /// # Errors
    /// If it is not refused with a problem document.
    pub async fn problem(&self, request: RequestBuilder) -> Result<ProblemDetails> {
        problem(request.send().await?).await
    }

    /// A live connection with this client's session.
    ///
    /// # Errors
    /// If the console refuses it.
    pub async fn live(&self) -> Result<LiveClient> {
        LiveClient::connect(&self.base, self.cookie.as_deref(), &self.base).await
    }
}

/// Parses a response as a problem document, whose status must match the response's.
///
/// # Errors
/// If it is not a problem document.
pub async fn problem(answer: Response) -> Result<ProblemDetails> {
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let text = answer.text().await?;
    if status.is_success() {
        bail!("not refused: {status}: {text}");
    }
    ensure!(
        kind.as_ref()
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json")),
        "{status} with content type {kind:?}: {text}"
    );
    let problem: ProblemDetails = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(
        StatusCode::from_u16(problem.status)? == status,
        "status {status} with a document of status {}",
        problem.status
    );
    Ok(problem)
}

/// A node of a view.
///
/// # Errors
/// If it is not there.
pub fn node<'v>(view: &'v ClusterView, id: &NodeId) -> Result<&'v NodeView> {
    view.nodes
        .iter()
        .find(|node| node.id == *id)
        .with_context(|| format!("{id} is not in the view"))
}

/// One source's observation of a node.
#[must_use]
pub fn source(node: &NodeView, kind: SourceKind) -> Option<&SourceView> {
    node.sources.iter().find(|source| source.kind == kind)
}
