//! Malformed input: it is shown as such and affects nothing else.

use anyhow::{Context, Result, ensure};
use galera::view::{RegistryKeyView, VerdictState};
use reqwest::{Method, header};

use crate::shared;
use crate::views::{self, PATIENCE};

/// A size that etcd accepts but no reader expects.
const HUGE: usize = 2_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_the_registry_is_shown_and_harmless() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let registry = lab.lab.registry()?;
    let script = "<script>alert(1)</script>";
    let long = "x".repeat(300);
    let garbage: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (b"/galera/lab/127.0.0.1/unheard_of".to_vec(), b"?".to_vec()),
        (
            format!("/galera/lab/{script}/wsrep_local_state_comment").into(),
            script.into(),
        ),
        (
            b"/galera/lab/a b/wsrep_last_committed".to_vec(),
            b"1".to_vec(),
        ),
        (
            format!("/galera/lab/{long}/wsrep_last_committed").into(),
            b"1".to_vec(),
        ),
        (
            b"/galera/lab/a/b/c/wsrep_last_committed".to_vec(),
            b"1".to_vec(),
        ),
        (
            b"/galera/lab/\xff\xfe/wsrep_last_committed".to_vec(),
            b"\xff\xfe\x00".to_vec(),
        ),
        (
            b"/galera/lab".to_vec(),
            b"neither cluster nor node".to_vec(),
        ),
        (b"/galera/lab/founder".to_vec(), b"{not json".to_vec()),
        (
            format!("/galera/{script}/127.0.0.1/wsrep_last_committed").into(),
            b"1".to_vec(),
        ),
        (
            format!("/galera/{long}/127.0.0.1/wsrep_last_committed").into(),
            b"1".to_vec(),
        ),
        (
            b"/galera/ /127.0.0.1/wsrep_last_committed".to_vec(),
            b"1".to_vec(),
        ),
        (
            b"/galera//127.0.0.1/wsrep_last_committed".to_vec(),
            b"1".to_vec(),
        ),
        (b"/galera/lab/127.0.0.2/big".to_vec(), vec![b'z'; HUGE]),
        (
            b"/galera/lab/127.0.0.66/wsrep_last_committed".to_vec(),
            b"99999999999999999999999999".to_vec(),
        ),
        (
            b"/galera/lab/127.0.0.66/wsrep_local_state_comment".to_vec(),
            vec![0, 159, 146, 150],
        ),
        (
            b"/galera/lab/127.0.0.66/wsrep_incoming_addresses".to_vec(),
            vec![b','; HUGE],
        ),
    ];
    for (key, value) in &garbage {
        registry.put(key.clone(), value.clone(), None).await?;
    }
    let api = lab.viewer().await?;
    let keys = acceptance::eventually("every key to be listed", PATIENCE, async || {
        let view = api.registry("lab").await?;
        for (key, _) in garbage
            .iter()
            .filter(|(key, _)| key.starts_with(b"/galera/lab/"))
        {
            let key = String::from_utf8_lossy(key);
            ensure!(
                view.keys.iter().any(|listed| listed.key == key),
                "{key} is not listed"
            );
        }
        Ok(view.keys)
    })
    .await?;
    let big = keys
        .iter()
        .find(|key| key.key.ends_with("127.0.0.2/big"))
        .context("the big key")?;
    ensure!(
        big.truncated && big.value_bytes == HUGE,
        "{} {}",
        big.truncated,
        big.value_bytes
    );
    ensure!(
        big.value.chars().count() <= RegistryKeyView::VALUE_SHOWN_MAX
            && !big.known
            && big.reason.is_some()
    );
    let unheard = keys
        .iter()
        .find(|key| key.key.ends_with("/unheard_of"))
        .context("the unknown key")?;
    ensure!(!unheard.known && unheard.reason.is_some(), "{unheard:?}");

    // The members themselves are as well as before.
    let ids = lab.lab.ids();
    let mut views_seen = 0;
    live.wait_for("views as before", PATIENCE, |view| {
        views_seen += 1;
        let synced = |id| views::state(view, id) == Some(galera::view::NodeState::Synced);
        assert!(ids.iter().all(synced), "{}", views::describe(view));
        let wrong = [
            VerdictState::Down,
            VerdictState::NoPrimary,
            VerdictState::Diverged,
            VerdictState::SplitBrain,
        ];
        assert!(
            !wrong.contains(&view.verdict.state),
            "{}",
            views::describe(view)
        );
        views_seen == 5
    })
    .await?;
    let overview = api.overview().await?;
    let names: Vec<_> = overview
        .clusters
        .iter()
        .map(|cluster| cluster.name.to_string())
        .collect();
    ensure!(names == ["lab"], "{names:?}");
    ensure!(
        !overview.notices.is_empty(),
        "names that break the grammar are not mentioned"
    );
    let page = api
        .request(Method::GET, "/clusters/lab/registry")
        .send()
        .await?;
    ensure!(page.status().is_success(), "{}", page.status());
    let text = page.text().await?;
    ensure!(
        !text.contains(script),
        "markup of a key reaches the page as markup"
    );
    ensure!(text.len() < 1_000_000, "the page has {} bytes", text.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_a_problem_document() -> Result<()> {
    let lab = shared::lab().await?;
    let api = lab.viewer().await?;
    let post = || {
        api.request(Method::POST, "/api/v1/session")
            .header(header::CONTENT_TYPE, "application/json")
    };
    let malformed = api.problem(post().body("{\"username\":")).await?;
    ensure!(malformed.status == 400, "{malformed:?}");
    let incomplete = api.problem(post().body("{\"username\":1}")).await?;
    ensure!(matches!(incomplete.status, 400 | 422), "{incomplete:?}");
    let big = api.problem(post().body(vec![b' '; 300_000])).await?;
    ensure!(big.status == 413, "{big:?}");
    let text = api
        .request(Method::POST, "/api/v1/session")
        .header(header::CONTENT_TYPE, "text/plain");
    let text = api.problem(text.body("hello")).await?;
    ensure!(text.status == 415, "{text:?}");
    let verb = api
        .problem(api.request(Method::PUT, "/api/v1/clusters"))
        .await?;
    ensure!(verb.status == 405, "{verb:?}");
    let names = [
        "%3Cscript%3E",
        "a%20b",
        "a%2Fb",
        "%FF",
        "..%2F..",
        &"x".repeat(300),
    ]
    .map(|name| format!("/api/v1/clusters/{name}"));
    for path in names {
        let problem = api.problem(api.request(Method::GET, &path)).await?;
        ensure!(matches!(problem.status, 400 | 404), "{path}: {problem:?}");
        ensure!(
            !problem.detail.contains("<script>") || problem.detail.len() < 500,
            "{problem:?}"
        );
    }
    let mut live = api.live().await?;
    for nonsense in [
        "",
        "{",
        "[]",
        "{\"subscribe\":\"overview\"}",
        "{\"subscribe\":[\"cluster/<script>\"]}",
        "\u{0}",
    ] {
        live.send(nonsense).await?;
    }
    live.subscribe(&["overview"]).await?;
    let mut answered = false;
    while !answered {
        let message = live
            .next(PATIENCE)
            .await
            .context("nonsense ended the connection")?;
        answered = matches!(message, galera::publish::api::LiveMessage::Overview { .. });
    }
    Ok(())
}
