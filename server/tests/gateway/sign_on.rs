//! Sign-on with an identity provider that answers as a test says.

mod faults;
mod limits;
mod logout;
mod people;
mod provider;

use std::collections::BTreeMap;

use console_core::audit::AuditTrailFilter;
use http::Method;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};

use crate::client::{TestClient, TestResponse};
use crate::etcd::TestEtcd;
use crate::test_console::{ConsoleOptions, TestConsole};
use provider::TestProvider;

/// A console with an identity provider.
struct SignOnFixture {
    provider: TestProvider,
    console: TestConsole,
}

impl SignOnFixture {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(alter: impl FnOnce(&mut ConsoleOptions)) -> Self {
        let provider = TestProvider::start().await;
        let mut options = ConsoleOptions {
            sign_on: Some(provider.config()),
            more_clusters: vec!["shop"],
            ..ConsoleOptions::default()
        };
        alter(&mut options);
        let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
        Self { provider, console }
    }

    async fn begin(&self) -> StartedLogin {
        begin(&self.console, "/oidc/sign-in?next=/clusters/lab").await
    }

    /// Signs in as the person with `claims`.
    async fn attempt(&self, claims: Value) -> TestResponse {
        let login = self.begin().await;
        let answer = self.provider.authorize(&login.location, claims);
        login.finish(&self.console, &answer).await
    }

    async fn sign_in(&self, claims: Value) -> TestClient {
        let answer = self.attempt(claims).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        client_of(&self.console, &answer)
    }

    /// The code of the problem, or `signed in`.
    async fn result(&self, claims: Value) -> String {
        let answer = self.attempt(claims).await;
        match answer.status.as_u16() {
            200 => "signed in".to_owned(),
            _ => answer.problem().code,
        }
    }

    async fn audit(&self) -> Vec<Value> {
        let filter = AuditTrailFilter {
            limit: 200,
            ..AuditTrailFilter::default()
        };
        let page = self.console.state.actions.trail().page(&filter).await;
        let entries = page.unwrap().entries;
        entries
            .iter()
            .map(|entry| serde_json::to_value(entry).unwrap())
            .collect()
    }
}

/// The person `subject` in `groups`.
fn person(subject: &str, groups: &[&str]) -> Value {
    json!({"sub": subject, "preferred_username": subject, "groups": groups})
}

/// A sign-in of which the browser was sent to the provider.
struct StartedLogin {
    location: String,
    cookie: String,
}

async fn begin(console: &TestConsole, path: &str) -> StartedLogin {
    let answer = console.anonymous().get(path).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let cookie = answer.header(SET_COOKIE);
    assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
    StartedLogin {
        location: answer.header(LOCATION).to_owned(),
        cookie: cookie.split(';').next().unwrap().to_owned(),
    }
}

impl StartedLogin {
    /// The browser comes back with `answer`.
    async fn finish(
        &self,
        console: &TestConsole,
        answer: &BTreeMap<String, String>,
    ) -> TestResponse {
        callback(console, Some(&self.cookie), answer).await
    }
}

async fn callback(
    console: &TestConsole,
    cookie: Option<&str>,
    answer: &BTreeMap<String, String>,
) -> TestResponse {
    let pairs: Vec<String> = answer
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let client = console.anonymous();
    let mut request = client.request(Method::GET, &format!("/oidc/callback?{}", pairs.join("&")));
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    client
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await
}

/// A client with the session that `answer` sets.
fn client_of(console: &TestConsole, answer: &TestResponse) -> TestClient {
    let cookies = answer.headers.get_all(SET_COOKIE).iter();
    let token = cookies
        .filter_map(|cookie| {
            let cookie = cookie.to_str().unwrap();
            cookie.strip_prefix("galera_console_session=")
        })
        .next()
        .unwrap_or_else(|| panic!("no session: {:?}", answer.headers));
    console.with_token(token.split(';').next().unwrap())
}
