//! An etcd with TLS and accounts, as deployments have it: consoles and agents work, everyone else is kept out.

use std::time::Duration;

use acceptance::{Lab, eventually};
use anyhow::{Result, ensure};
use registry::{Error, EtcdSettings, Registry};
use reqwest::Method;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_seen_through_an_etcd_with_tls_and_accounts() -> Result<()> {
    let lab = Lab::builder()
        .secured_etcd()
        .nodes(1)
        .agents(true)
        .start()
        .await?;
    let console = lab.console().await?;
    let viewer = console.sign_in("viewer").await?;
    let path = format!("/api/v1/clusters/{}", lab.cluster());
    eventually(
        "both sources to be fresh",
        Duration::from_secs(120),
        async || {
            let answer = viewer.request(Method::GET, &path).send().await?;
            let view: Value = answer.error_for_status()?.json().await?;
            let sources = view["nodes"][0]["sources"].as_array().cloned();
            let fresh = sources.iter().flatten().filter(|source| {
                source["stale"] == Value::Bool(false) && source["error"].is_null()
            });
            let kinds: Vec<_> = fresh.filter_map(|source| source["kind"].as_str()).collect();
            ensure!(kinds == ["sql", "registry"], "{kinds:?}: {view}");
            Ok(())
        },
    )
    .await?;
    let overview: Value = viewer
        .request(Method::GET, "/api/v1/clusters")
        .send()
        .await?
        .json()
        .await?;
    let notices = overview["notices"].to_string();
    ensure!(!notices.contains("etcd"), "{notices}");

    // Without an account, and without TLS.
    let endpoints = lab.etcd().endpoints();
    let security = lab.etcd().security().expect("it is secured");
    let anonymous = EtcdSettings {
        ca: Some(security.authority().to_owned()),
        ..EtcdSettings::new(endpoints.clone())
    };
    let refused = Registry::connect(anonymous)?.list("/galera/").await;
    ensure!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
    let plain = endpoints.iter().map(|url| url.replace("https", "http"));
    let mut plain = EtcdSettings::new(plain);
    plain.deadline = Duration::from_secs(2);
    let refused = Registry::connect(plain)?.list("/galera/").await;
    ensure!(refused.is_err(), "{refused:?}");
    Ok(())
}
