//! An etcd that requires no account is reported on every page.

use galera::access::Role;

use crate::etcd::{TestEtcd, eventually};
use crate::test_console::TestConsole;

const NOTICE: &str = "etcd requires no account";

#[tokio::test]
async fn an_etcd_without_accounts_is_reported_on_every_page_and_by_a_metric() {
    let etcd = TestEtcd::process().await;
    let console = TestConsole::start(&etcd).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let client = console.sign_in("vera").await;
    for page in ["/", "/actions", "/audit", "/clusters/lab"] {
        let notice = async || client.get(page).await.text().contains(NOTICE);
        eventually("the notice on every page", notice).await;
    }
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("galera_console_etcd_open 1"), "{metrics}");
}

#[tokio::test]
async fn an_etcd_with_accounts_is_not_reported() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let client = console.sign_in("vera").await;
    eventually("the metric", async || {
        let metrics = client.get("/metrics").await.text();
        metrics.contains("galera_console_etcd_open 0")
    })
    .await;
    assert!(!client.get("/").await.text().contains(NOTICE));
}
