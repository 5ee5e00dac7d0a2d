//! Signing out at the provider, ends of sessions that it reports, and a console without local accounts.

use galera::access::Role;
use serde_json::{Value, json};

use super::provider::{CLIENT_ID, ProviderKey};
use super::{SignOnFixture, person};
use crate::client::TestResponse;
use crate::test_console::PASSWORD;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const FORM: &str = "application/x-www-form-urlencoded";

fn logout_claims(fixture: &SignOnFixture, id: &str) -> Value {
    let now = console_core::clock::now().unix_millis() / 1000;
    json!({"iss": fixture.provider.issuer(), "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": id,
        "events": {EVENT: {}}})
}

async fn send(fixture: &SignOnFixture, token: &str) -> TestResponse {
    let client = fixture.console.anonymous();
    // The provider is no browser: it sends no Origin.
    let request = http::Request::builder()
        .method(http::Method::POST)
        .uri("/oidc/back-channel-logout")
        .header("host", "console.test")
        .header("content-type", FORM);
    let body = format!("logout_token={token}");
    client.send(request.body(body.into()).unwrap()).await
}

fn sign(fixture: &SignOnFixture, claims: &Value) -> String {
    let key: ProviderKey = fixture.provider.script.lock().unwrap().key.clone();
    key.sign(claims)
}

#[tokio::test]
async fn the_provider_ends_the_sessions_of_a_person_or_one_of_them() {
    let fixture = SignOnFixture::start().await;
    let with_session = |session: &str| {
        let mut claims = person("anna", &["everyone"]);
        claims["sid"] = json!(session);
        claims
    };
    let (one, two) = (
        fixture.sign_in(with_session("s1")).await,
        fixture.sign_in(with_session("s2")).await,
    );
    let other = fixture.sign_in(person("otto", &["everyone"])).await;
    let mut claims = logout_claims(&fixture, "j1");
    claims["sid"] = json!("s1");
    let token = sign(&fixture, &claims);
    assert_eq!(send(&fixture, &token).await.status, 200);
    assert_eq!(one.get("/api/v1/session").await.status, 401);
    assert_eq!(two.get("/api/v1/session").await.status, 200);
    let replayed = send(&fixture, &token).await;
    assert_eq!(replayed.problem().code, "sign_on_untrusted");
    let mut claims = logout_claims(&fixture, "j2");
    claims["sub"] = json!("anna");
    assert_eq!(send(&fixture, &sign(&fixture, &claims)).await.status, 200);
    assert_eq!(two.get("/api/v1/session").await.status, 401);
    assert_eq!(other.get("/api/v1/session").await.status, 200);
    let text = serde_json::to_string(&fixture.audit().await).unwrap();
    assert!(
        text.contains("sessions_ended") && text.contains("identity provider"),
        "{text}"
    );
}

#[tokio::test]
async fn a_logout_token_that_does_not_verify_ends_nothing() {
    let fixture = SignOnFixture::start().await;
    let client = fixture.sign_in(person("anna", &["everyone"])).await;
    let now = console_core::clock::now().unix_millis() / 1000;
    for (name, value) in [
        ("iss", json!("http://127.0.0.1:1")),
        ("aud", json!("other")),
        ("iat", json!(now - 86_400)),
        ("exp", json!(now - 3600)),
        ("jti", json!(null)),
        ("events", json!(null)),
        (
            "events",
            json!({"http://schemas.openid.net/event/other": {}}),
        ),
        ("nonce", json!("n")),
        ("sub", json!(null)),
    ] {
        let mut claims = logout_claims(&fixture, &format!("{name} {value}"));
        claims["sub"] = json!("anna");
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            ref value => claims[name] = value.clone(),
        }
        let refused = send(&fixture, &sign(&fixture, &claims)).await;
        assert_eq!(
            refused.problem().code,
            "sign_on_untrusted",
            "{name} {value}"
        );
    }
    let mut claims = logout_claims(&fixture, "foreign");
    claims["sub"] = json!("anna");
    let foreign = ProviderKey::es256("k1").sign(&claims);
    for token in [foreign.as_str(), "", "x.y.z"] {
        let refused = send(&fixture, token).await;
        assert_eq!(refused.problem().code, "sign_on_untrusted", "{token}");
    }
    assert_eq!(client.get("/api/v1/session").await.status, 200);
}

#[tokio::test]
async fn signing_out_leads_to_the_provider() {
    let fixture = SignOnFixture::start().await;
    let client = fixture.sign_in(person("anna", &["everyone"])).await;
    let answer = client.post("/sign-out", FORM, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    for expected in [
        format!(
            "{}/end?keep=1&amp;client_id=console",
            fixture.provider.issuer()
        ),
        "post_logout_redirect_uri=http%3A%2F%2Fconsole.test%2Fsign-in".to_owned(),
        "id_token_hint=ey".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}: {text}");
    }
    assert_eq!(client.get("/api/v1/session").await.status, 401);
    fixture.console.add_user("olga", &[Role::Operator]).await;
    let local = fixture.console.sign_in("olga").await;
    assert_eq!(local.post("/sign-out", FORM, "").await.status, 303);
}

#[tokio::test]
async fn without_local_accounts_only_the_provider_signs_people_in() {
    let fixture = SignOnFixture::start_with(|options| options.local_accounts = false).await;
    fixture.console.add_user("olga", &[Role::Admin]).await;
    let anonymous = fixture.console.anonymous();
    let refused = anonymous.sign_in("olga", PASSWORD).await;
    assert_eq!(refused.problem().code, "local_accounts_off");
    let page = anonymous.get("/sign-in").await.text();
    assert!(page.contains("Sign in with Test provider"), "{page}");
    assert!(!page.contains("type=\"password\""), "{page}");
    let client = fixture.sign_in(person("anna", &["everyone"])).await;
    assert_eq!(client.get("/api/v1/clusters").await.status, 200);
}
