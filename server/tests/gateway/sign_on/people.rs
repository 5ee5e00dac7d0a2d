//! Who signs in to which account, and what of it remains.

use console_core::keyspace::AccountKeys;
use galera::access::Role;
use galera::publish::api::SessionView;
use http::header::SET_COOKIE;
use serde_json::{Value, json};

use super::{SignOnFixture, begin, client_of, person};
use crate::etcd::eventually;
use crate::test_console::{NOW, PASSWORD, STATE_PREFIX};

#[tokio::test]
async fn a_person_gets_one_account_with_the_roles_of_the_groups() {
    let fixture = SignOnFixture::start().await;
    let claims = person("anna", &["dba", "everyone", "unknown"]);
    let login = fixture.begin().await;
    let answer = fixture.provider.authorize(&login.location, claims.clone());
    let done = login.finish(&fixture.console, &answer).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(
        done.text()
            .contains("error=session_not_kept&amp;next=/clusters/lab\""),
        "{}",
        done.text()
    );
    let cookies: Vec<&str> = done
        .headers
        .get_all(SET_COOKIE)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert!(
        cookies
            .iter()
            .any(|cookie| cookie.starts_with("galera_console_login=;")),
        "the sign-in is over: {cookies:?}"
    );
    let client = client_of(&fixture.console, &done);
    let session: SessionView = client.get("/api/v1/session").await.json();
    assert_eq!(session.username, "anna@127.0.0.1");
    assert_eq!(
        session.roles,
        [Role::Viewer, Role::Operator, Role::Approver]
    );
    let me: Value = client.get("/api/v1/me").await.json();
    assert_eq!(me["external"]["subject"], "anna");
    assert_eq!(
        me["external"]["grants"],
        json!([
            "operator, approver on la*, from group dba",
            "viewer on all clusters and the console, from group everyone"
        ])
    );
    // The second sign-in is the same account, whatever the person is called now.
    let mut renamed = claims;
    renamed["preferred_username"] = json!("root");
    let again = fixture.sign_in(renamed).await;
    let session: SessionView = again.get("/api/v1/session").await.json();
    assert_eq!(session.username, "anna@127.0.0.1");
    let accounts = fixture.console.store.list().await.unwrap();
    assert_eq!(accounts.len(), 1);
    let text = serde_json::to_string(&fixture.audit().await).unwrap();
    for expected in [
        "account_added",
        "signed_in",
        &format!("\"issuer\":\"{}\"", fixture.provider.issuer()),
        "\"subject\":\"anna\"",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn a_local_account_of_the_same_name_is_another_one() {
    let fixture = SignOnFixture::start().await;
    fixture.console.add_user("anna", &[Role::Admin]).await;
    let client = fixture.sign_in(person("anna", &["everyone"])).await;
    let session: SessionView = client.get("/api/v1/session").await.json();
    assert_eq!(session.username, "anna@127.0.0.1");
    assert_eq!(session.roles, [Role::Viewer]);
    // Two subjects with one name are two accounts.
    let mut other = person("other", &["everyone"]);
    other["preferred_username"] = json!("anna");
    let client = fixture.sign_in(other).await;
    let session: SessionView = client.get("/api/v1/session").await.json();
    assert_eq!(session.username, "anna-2@127.0.0.1");
    // The account has no password, and no local account has its name.
    let anonymous = fixture.console.anonymous();
    for name in ["anna@127.0.0.1", "anna-2@127.0.0.1"] {
        let refused = anonymous.sign_in(name, PASSWORD).await;
        assert_eq!(refused.problem().code, "invalid_credentials");
        let name = name.parse().unwrap();
        let store = &fixture.console.store;
        let error = store.set_password(&name, PASSWORD, NOW).await.unwrap_err();
        assert!(error.to_string().contains("identity provider"), "{error}");
    }
    let name = "eve@127.0.0.1".parse().unwrap();
    let added = fixture
        .console
        .store
        .add(&name, PASSWORD, vec![Role::Viewer], NOW);
    let error = added.await.unwrap_err().to_string();
    assert!(
        error.contains("only the name of an account of an identity provider"),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_group_that_has_a_role_nobody_signs_in() {
    let fixture = SignOnFixture::start().await;
    let mut text = person("t", &[]);
    text["groups"] = json!("everyone");
    let many: Vec<String> = (0..10_000).map(|number| format!("g{number}")).collect();
    let many = [many, vec!["everyone".to_owned()]].concat();
    for (claims, expected) in [
        (person("a", &[]), "no_external_role"),
        (person("a", &["nothing"]), "no_external_role"),
        (json!({"sub": "a"}), "sign_on_refused"),
        (json!({"sub": "a", "groups": 7}), "sign_on_refused"),
        (
            json!({"sub": "a", "groups": ["everyone", {}]}),
            "sign_on_refused",
        ),
        (json!({"sub": "b", "groups": many}), "signed in"),
        (text, "signed in"),
    ] {
        let shown: String = claims.to_string().chars().take(80).collect();
        assert_eq!(fixture.result(claims).await, expected, "{shown}");
    }
    let accounts = fixture.console.store.list().await.unwrap();
    assert_eq!(accounts.len(), 2, "a refused person has no account");
}

#[tokio::test]
async fn an_account_is_never_called_by_an_unverified_e_mail_address() {
    let fixture = SignOnFixture::start().await;
    for (subject, email, verified, expected) in [
        ("s1", "boss@example.org", json!(false), "s1@127.0.0.1"),
        ("s2", "boss@example.org", json!(null), "s2@127.0.0.1"),
        ("s3", "anna@example.org", json!(true), "anna@example.org"),
    ] {
        let claims = json!({"sub": subject, "email": email, "email_verified": verified,
            "groups": ["everyone"]});
        let client = fixture.sign_in(claims).await;
        let session: SessionView = client.get("/api/v1/session").await.json();
        assert_eq!(session.username, expected);
    }
    let text = serde_json::to_string(&fixture.audit().await).unwrap();
    assert!(!text.contains("boss@example.org"), "{text}");
}

#[tokio::test]
async fn groups_that_were_too_many_for_the_token_are_explained() {
    let fixture = SignOnFixture::start().await;
    for claims in [
        json!({"sub": "a", "_claim_names": {"groups": "src1"}}),
        json!({"sub": "a", "hasgroups": true}),
    ] {
        let problem = fixture.attempt(claims).await.problem();
        assert_eq!(problem.code, "sign_on_refused");
        for expected in ["too many groups", "claim = \"roles\""] {
            assert!(problem.detail.contains(expected), "{}", problem.detail);
        }
    }
}

#[tokio::test]
async fn a_person_who_lost_a_group_loses_the_role_in_every_session() {
    let fixture = SignOnFixture::start().await;
    let before = fixture.sign_in(person("anna", &["root", "everyone"])).await;
    assert_eq!(before.get("/api/v1/accounts").await.status, 200);
    fixture.sign_in(person("anna", &["everyone"])).await;
    assert_eq!(
        before.get("/api/v1/accounts").await.problem().code,
        "missing_role"
    );
    assert_eq!(before.get("/api/v1/clusters").await.status, 200);
    // No role at all is left: the open sessions end.
    assert_eq!(
        fixture.result(person("anna", &[])).await,
        "no_external_role"
    );
    eventually("the session ends", async || {
        before.get("/api/v1/clusters").await.status == 401
    })
    .await;
}

#[tokio::test]
async fn a_roles_file_that_is_read_again_decides_the_next_sign_in() {
    let fixture = SignOnFixture::start().await;
    let claims = || person("anna", &["root", "everyone"]);
    let before = fixture.sign_in(claims()).await;
    let rules = "[[rule]]\ngroup = \"root\"\nroles = [\"viewer\"]";
    let rules = galera_console::sign_on::RoleRules::parse(rules).unwrap();
    let sign_on = fixture.console.state.sign_on.as_ref().unwrap();
    sign_on.replace_rules(rules);
    assert_eq!(before.get("/api/v1/accounts").await.status, 200);
    let after = fixture.sign_in(claims()).await;
    let refused = after.get("/api/v1/accounts").await;
    assert_eq!(refused.problem().code, "missing_role");
    let others = fixture.result(person("bert", &["everyone"])).await;
    assert_eq!(others, "no_external_role");
}

#[tokio::test]
async fn a_person_who_is_disabled_or_removed_here_stays_out_or_begins_again() {
    let fixture = SignOnFixture::start().await;
    let claims = || person("anna", &["everyone"]);
    let client = fixture.sign_in(claims()).await;
    let name = "anna@127.0.0.1".parse().unwrap();
    let store = &fixture.console.store;
    store.set_disabled(&name, true, false, NOW).await.unwrap();
    eventually("the session ends", async || {
        client.get("/api/v1/clusters").await.status == 401
    })
    .await;
    assert_eq!(fixture.result(claims()).await, "account_disabled");
    store.remove(&name, false).await.unwrap();
    let client = fixture.sign_in(claims()).await;
    assert_eq!(client.get("/api/v1/clusters").await.status, 200);
    assert_eq!(store.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_same_subject_of_another_issuer_is_another_person() {
    let fixture = SignOnFixture::start().await;
    fixture.sign_in(person("anna", &["root"])).await;
    // As if the console had been configured for another provider before.
    let name = "anna@127.0.0.1".parse().unwrap();
    let user = fixture.console.store.get(&name).await.unwrap();
    let mut record = serde_json::to_value(&user).unwrap();
    record["external"]["issuer"] = json!("https://other.example.org");
    let key = AccountKeys::new(STATE_PREFIX).user("anna@127.0.0.1");
    let registry = &fixture.console.registry;
    registry
        .put(key, record.to_string().into_bytes(), None)
        .await
        .unwrap();
    // The record of the identity names the account of another person: refused, never taken over.
    let result = fixture.result(person("anna", &["everyone"])).await;
    assert_eq!(result, "identity_unusable");
    let prefix = AccountKeys::new(STATE_PREFIX).identities();
    for entry in registry.list(prefix).await.unwrap().entries {
        registry
            .delete_if(entry.key, entry.mod_revision)
            .await
            .unwrap();
    }
    let client = fixture.sign_in(person("anna", &["everyone"])).await;
    let session: SessionView = client.get("/api/v1/session").await.json();
    assert_eq!(session.username, "anna-2@127.0.0.1");
    assert_eq!(session.roles, [Role::Viewer]);
}

#[tokio::test]
async fn an_account_of_the_provider_has_neither_tokens_nor_other_roles() {
    let fixture = SignOnFixture::start().await;
    let client = fixture.sign_in(person("anna", &["root"])).await;
    let token = json!({"name": "t", "roles": ["admin"], "days": 1});
    let refused = client
        .send_json(http::Method::POST, "/api/v1/tokens", &token)
        .await;
    assert_eq!(refused.problem().code, "external_account");
    let path = "/api/v1/accounts/anna@127.0.0.1";
    let change = json!({"roles": ["viewer"]});
    let refused = client.send_json(http::Method::PATCH, path, &change).await;
    assert_eq!(refused.problem().code, "external_account");
    let password = json!({"current": PASSWORD, "new": "another fine passphrase"});
    let refused = client.send_json(http::Method::POST, "/api/v1/me/password", &password);
    assert_eq!(refused.await.problem().code, "external_account");
}

#[tokio::test]
async fn a_proof_is_as_old_as_the_provider_says() {
    let fixture = SignOnFixture::start().await;
    let now = console_core::clock::now().unix_millis() / 1000;
    let at = |auth_time: Value| {
        let mut claims = person("anna", &["root"]);
        claims["auth_time"] = auth_time;
        claims
    };
    let disable = json!({"disabled": false});
    let path = "/api/v1/accounts/anna@127.0.0.1";
    for (auth_time, expected) in [
        (json!(now), 200),
        (json!(now - 86_400), 403),
        // Without a time nothing is proven.
        (json!(null), 403),
    ] {
        let client = fixture.sign_in(at(auth_time.clone())).await;
        let answer = client.send_json(http::Method::PATCH, path, &disable).await;
        assert_eq!(answer.status, expected, "{auth_time}: {}", answer.text());
        if expected == 403 {
            let problem = answer.problem();
            assert_eq!(problem.code, "step_up_required");
            assert!(
                problem.detail.contains("/oidc/sign-in?proof=on"),
                "{}",
                problem.detail
            );
        }
    }
    // What the console demands, the provider must have done.
    let console = &fixture.console;
    for (auth_time, expected) in [
        (json!(now), 200),
        (json!(now - 3600), 403),
        (json!(null), 403),
    ] {
        let login = begin(console, "/oidc/sign-in?proof=on").await;
        assert!(
            login.location.contains("prompt=login&max_age=0"),
            "{}",
            login.location
        );
        let answer = fixture
            .provider
            .authorize(&login.location, at(auth_time.clone()));
        let answer = login.finish(console, &answer).await;
        assert_eq!(answer.status, expected, "{auth_time}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_second_factor_of_the_provider_counts_only_as_the_roles_file_says() {
    let fixture = SignOnFixture::start_with(|options| {
        options.second_factor_roles = vec![Role::Admin];
    })
    .await;
    for (amr, expected) in [(json!(["pwd"]), 403), (json!(["pwd", "mfa"]), 200)] {
        let mut claims = person("anna", &["root"]);
        claims["amr"] = amr.clone();
        let client = fixture.sign_in(claims).await;
        let answer = client.get("/api/v1/accounts").await;
        assert_eq!(answer.status, expected, "{amr}: {}", answer.text());
    }
}
