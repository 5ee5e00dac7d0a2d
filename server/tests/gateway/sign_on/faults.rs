//! Answers that must not be trusted, and a provider that does not answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::access::Role;
use http::header::ACCEPT;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::provider::{EndpointFault, ProviderKey, TestProvider, unsigned};
use super::{SignOnFixture, begin, callback, person};
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{ConsoleOptions, TestConsole};

fn anna() -> Value {
    person("anna", &["everyone"])
}

#[tokio::test]
async fn an_id_token_that_does_not_verify_signs_nobody_in() {
    let fixture = SignOnFixture::start().await;
    let now = console_core::clock::now().unix_millis() / 1000;
    for (name, value) in [
        ("iss", json!("http://127.0.0.1:1")),
        ("aud", json!("another-client")),
        ("aud", json!(["console", "another-client"])),
        ("azp", json!("another-client")),
        ("nonce", json!("n")),
        ("nonce", json!(null)),
        ("exp", json!(now - 3600)),
        ("iat", json!(now - 86_400)),
        ("iat", json!(now + 3600)),
        ("sub", json!(null)),
    ] {
        let mut claims = anna();
        claims[name] = value.clone();
        assert_eq!(
            fixture.result(claims).await,
            "sign_on_untrusted",
            "{name} {value}"
        );
    }
    let foreign = ProviderKey::es256("k1");
    type Maker = Box<dyn Fn(&ProviderKey, Value) -> String + Send + Sync>;
    let makers: Vec<(&str, Maker)> = vec![
        (
            "none",
            Box::new(|_, claims| format!("{}.", unsigned(&json!({"alg": "none"}), &claims))),
        ),
        (
            "HS256 with the public key",
            Box::new(|key, claims| key.sign_as_hmac(&claims)),
        ),
        (
            "another key",
            Box::new(move |_, claims| foreign.sign(&claims)),
        ),
        (
            "another algorithm",
            Box::new(|key, claims| {
                key.sign_with_header(&json!({"alg": "RS256", "kid": key.kid}), &claims)
            }),
        ),
        (
            "critical extensions",
            Box::new(|key, claims| {
                key.sign_with_header(
                    &json!({"alg": "ES256", "kid": key.kid, "crit": ["b64"]}),
                    &claims,
                )
            }),
        ),
        (
            "changed claims",
            Box::new(|key, claims| {
                let signed = key.sign(&claims);
                let (head, signature) = signed.rsplit_once('.').unwrap();
                let (head, _) = head.split_once('.').unwrap();
                let (_, body) = unsigned(&json!({}), &json!({"sub": "root"}))
                    .split_once('.')
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
                    .unwrap();
                format!("{head}.{body}.{signature}")
            }),
        ),
        ("no token", Box::new(|_, _| "x".to_owned())),
    ];
    for (what, maker) in makers {
        fixture
            .provider
            .alter(|script| script.make_token = Arc::from(maker));
        assert_eq!(fixture.result(anna()).await, "sign_on_untrusted", "{what}");
    }
    assert!(fixture.console.store.list().await.unwrap().is_empty());
    let metrics = fixture.console.anonymous().get("/metrics").await.text();
    let line = "galera_console_sign_ons_total{result=\"untrusted\"} 17\n";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_sign_in_belongs_to_one_browser_and_counts_once() {
    let fixture = SignOnFixture::start().await;
    let console = &fixture.console;
    let login = fixture.begin().await;
    let answer = fixture.provider.authorize(&login.location, anna());
    // Another browser: without a sign-in, and with its own one.
    let other = fixture.begin().await;
    for cookie in [
        None,
        Some(other.cookie.as_str()),
        Some("galera_console_login=x"),
    ] {
        let refused = callback(console, cookie, &answer).await;
        assert_eq!(refused.problem().code, "sign_on_not_begun", "{cookie:?}");
        assert!(refused.header("set-cookie").is_empty(), "{cookie:?}");
    }
    for (name, value) in [("state", "x"), ("state", "")] {
        let mut changed = answer.clone();
        changed.insert(name.to_owned(), value.to_owned());
        let refused = login.finish(console, &changed).await;
        assert_eq!(refused.problem().code, "sign_on_not_begun");
    }
    assert_eq!(login.finish(console, &answer).await.status, 200);
    // Its code counted, and if the provider accepted it again, the sign-in is complete.
    let replayed = login.finish(console, &answer).await;
    assert_eq!(replayed.problem().code, "sign_on_untrusted");
    let second = fixture.provider.authorize(&login.location, anna());
    let replayed = login.finish(console, &second).await;
    assert_eq!(replayed.problem().code, "sign_on_not_begun");
    // A code that was made for another browser's sign-in fails by PKCE.
    let mine = fixture.begin().await;
    let mut stolen = fixture.provider.authorize(&mine.location, anna());
    let theirs = fixture.provider.authorize(&other.location, anna());
    stolen.insert("code".to_owned(), theirs["code"].clone());
    let refused = mine.finish(console, &stolen).await;
    assert_eq!(refused.problem().code, "sign_on_untrusted");
}

#[tokio::test]
async fn what_the_browser_brings_is_checked_before_the_provider_is_asked() {
    let fixture = SignOnFixture::start().await;
    let console = &fixture.console;
    for (name, value, expected) in [
        ("iss", "https://other.example.org", "sign_on_untrusted"),
        ("error", "access_denied", "sign_on_refused"),
        ("code", "", "sign_on_refused"),
    ] {
        let login = fixture.begin().await;
        let mut answer = fixture.provider.authorize(&login.location, anna());
        answer.insert(name.to_owned(), value.to_owned());
        let refused = login.finish(console, &answer).await;
        assert_eq!(refused.problem().code, expected, "{name}={value}");
    }
    let twice = console
        .anonymous()
        .get("/oidc/callback?state=a&state=b")
        .await;
    assert_eq!(twice.problem().code, "invalid_query");
    for next in ["https://evil.example", "//evil.example", "/oidc/sign-in"] {
        let login = begin(console, &format!("/oidc/sign-in?next={next}")).await;
        let answer = fixture.provider.authorize(&login.location, anna());
        let done = login.finish(console, &answer).await.text();
        // The sign-in page leads on, unless the browser did not keep the session.
        assert!(
            done.contains("error=session_not_kept&amp;next=/\""),
            "{next}: {done}"
        );
    }
}

#[tokio::test]
async fn new_keys_of_the_provider_are_found() {
    let fixture = SignOnFixture::start().await;
    assert_eq!(fixture.result(anna()).await, "signed in");
    for key in [ProviderKey::ed25519("k2"), ProviderKey::es256("k3")] {
        fixture.provider.alter(|script| script.key = key);
        // Not more often than every ten seconds.
        eventually("the new key is known", async || {
            fixture.result(anna()).await == "signed in"
        })
        .await;
    }
    let before = fixture.provider.script.lock().unwrap().key_requests;
    // Tokens with an unknown key request the keys once, however many there are.
    fixture.provider.alter(|script| {
        script.make_token = Arc::new(|_, claims| ProviderKey::es256("unknown").sign(&claims));
    });
    for _ in 0..5 {
        assert_eq!(fixture.result(anna()).await, "sign_on_untrusted");
    }
    let after = fixture.provider.script.lock().unwrap().key_requests;
    assert!(after <= before + 2, "{before} {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_answers_badly_signs_nobody_in() {
    let fixture = SignOnFixture::start().await;
    let elsewhere = EndpointFault::Redirect("http://169.254.169.254/".to_owned());
    for endpoint in ["token", "keys"] {
        for fault in [
            EndpointFault::Large(10 * 1024 * 1024),
            elsewhere.clone(),
            EndpointFault::Status(500),
            EndpointFault::NoJson,
        ] {
            fixture.provider.alter(|script| {
                script.faults = BTreeMap::from([(endpoint, fault.clone())]);
            });
            let result = fixture.result(anna()).await;
            assert_eq!(result, "provider_unavailable", "{endpoint} {fault:?}");
        }
    }
    fixture.provider.alter(|script| script.faults.clear());
    assert_eq!(fixture.result(anna()).await, "signed in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_whose_token_endpoint_hangs_delays_its_own_sign_ins_only() {
    assert_eq!(sign_in_while_it_hangs("token").await, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_whose_keys_hang_delays_its_own_sign_ins_only() {
    // The attempt counts for all that wait for it: otherwise the last one would wait for eight timeouts.
    let requests = sign_in_while_it_hangs("keys").await;
    assert!((1..=2).contains(&requests), "{requests}");
}

/// Twelve people sign in while `endpoint` hangs and no key is known yet, and an account with a password does too. Returns how
/// many requests were never answered.
async fn sign_in_while_it_hangs(endpoint: &'static str) -> usize {
    let fixture = SignOnFixture::start().await;
    fixture.console.add_user("olga", &[Role::Operator]).await;
    // The endpoints are known.
    fixture.begin().await;
    fixture
        .provider
        .alter(|script| script.faults = BTreeMap::from([(endpoint, EndpointFault::Hang)]));
    let logins = futures::future::join_all((0..12).map(|_| fixture.result(anna())));
    let local = async {
        eventually("a local account signs in", async || {
            let answer = fixture
                .console
                .anonymous()
                .sign_in("olga", crate::test_console::PASSWORD)
                .await;
            answer.status == 200
        })
        .await;
    };
    let (results, ()) = tokio::join!(logins, local);
    let busy = results
        .iter()
        .filter(|code| *code == "sign_in_busy")
        .count();
    let hung = results
        .iter()
        .filter(|code| *code == "provider_unavailable")
        .count();
    assert_eq!((busy, hung), (4, 8), "{results:?}");
    let requests = fixture.provider.script.lock().unwrap().hung_requests;
    fixture.provider.alter(|script| script.faults.clear());
    assert_eq!(fixture.result(anna()).await, "signed in");
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_whose_discovery_hangs_is_used_as_it_was_known() {
    let fixture = SignOnFixture::start().await;
    // The endpoints are known, the keys are not.
    fixture.begin().await;
    fixture
        .provider
        .alter(|script| script.faults = BTreeMap::from([("discovery", EndpointFault::Hang)]));
    assert_eq!(fixture.result(anna()).await, "signed in");

    // A console that has never reached it.
    let options = ConsoleOptions {
        sign_on: Some(fixture.provider.config()),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    console.add_user("olga", &[Role::Operator]).await;
    let begin_sign_in = async || {
        let client = console.anonymous();
        let answer = client.get("/oidc/sign-in").await;
        match answer.status.as_u16() {
            303 => "begun".to_owned(),
            _ => answer.problem().code,
        }
    };
    let attempts = futures::future::join_all((0..12).map(|_| begin_sign_in()));
    let (results, _) = tokio::join!(attempts, console.sign_in("olga"));
    // The console's own attempt may end while sign-ins wait, so that fewer of them are too many.
    let count = |expected: &str| results.iter().filter(|code| *code == expected).count();
    let (busy, hung) = (count("sign_in_busy"), count("provider_unavailable"));
    assert!(hung >= 8 && busy + hung == 12, "{results:?}");
    let page = sign_in_page(&console).await;
    assert!(
        page.contains("Test provider is currently unavailable"),
        "{page}"
    );
    fixture.provider.alter(|script| script.faults.clear());
    eventually("the provider is used", async || {
        begin_sign_in().await == "begun"
    })
    .await;
}

#[tokio::test]
async fn a_console_starts_without_its_provider_and_says_so() {
    // A port on which nothing listens, and that no other process gets.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let mut provider = TestProvider::stopped(address);
    let options = ConsoleOptions {
        sign_on: Some(provider.config()),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    console.add_user("olga", &[Role::Operator]).await;
    let anonymous = console.anonymous();
    eventually(
        "the page says that the provider does not answer",
        async || {
            let page = sign_in_page(&console).await;
            page.contains("Test provider is currently unavailable")
        },
    )
    .await;
    let text = sign_in_page(&console).await;
    assert!(
        text.contains("href=\"/oidc/sign-in?next=/audit\""),
        "{text}"
    );
    assert!(text.contains("action=\"/sign-in\""), "{text}");
    let refused = anonymous.get("/oidc/sign-in").await;
    assert_eq!(refused.problem().code, "provider_unavailable");
    console.sign_in("olga").await;
    // It answers later.
    provider.serve(socket.listen(64).unwrap());
    eventually("the provider is used", async || {
        anonymous.get("/oidc/sign-in").await.status == 303
            && !sign_in_page(&console)
                .await
                .contains("is currently unavailable")
    })
    .await;
}

/// The sign-in page that leads to the audit trail, as a browser loads it.
async fn sign_in_page(console: &TestConsole) -> String {
    let anonymous = console.anonymous();
    let request = anonymous.request(http::Method::GET, "/sign-in?next=/audit");
    let request = request.header(ACCEPT, "text/html");
    let answer = anonymous
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    answer.text()
}

#[tokio::test]
async fn a_document_of_another_issuer_is_not_used() {
    let fixture = SignOnFixture::start().await;
    fixture
        .provider
        .alter(|script| script.named_issuer = Some("https://other.example.org".to_owned()));
    let options = ConsoleOptions {
        sign_on: Some(fixture.provider.config()),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    let refused = console.anonymous().get("/oidc/sign-in").await;
    assert_eq!(refused.problem().code, "provider_unavailable");
    let failure = console.state.sign_on.as_ref().unwrap().failure().unwrap();
    assert!(failure.contains("--oidc-issuer"), "{failure}");
}
