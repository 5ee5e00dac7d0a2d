//! `ctl` against a running console with a real etcd, with a token of `token add`.

use crate::etcd::{TestEtcd, eventually};
use crate::program::{ConsoleProcess, run, site};

#[tokio::test]
async fn a_token_of_the_command_line_uses_a_running_console() {
    let etcd = TestEtcd::process().await;
    let url = etcd.url();
    let root = site();
    let console = ConsoleProcess::start(&[
        "--etcd-endpoints",
        &url,
        "--site-root",
        root.path().to_str().unwrap(),
        "--cluster",
        "lab=127.0.0.1:1",
    ]);
    console.wait_until_ready().await;
    let manage = |arguments: &[&str]| {
        let (code, text) = run(&[arguments, &["--etcd-endpoints", &url]].concat());
        assert_eq!(code, 0, "{text}");
        text
    };
    manage(&["user", "add", "ci", "--role", "viewer", "--service"]);
    let printed = manage(&[
        "token", "add", "ci", "deploy", "--role", "viewer", "--days", "1",
    ]);
    // As `token add … > FILE` writes it, with the line that explains the token.
    let token = root.path().join("token");
    std::fs::write(&token, &printed).unwrap();
    let address = format!("http://{}", console.address);
    let ctl = |arguments: &[&str]| {
        let connection = ["--url", &address, "--token-file", token.to_str().unwrap()];
        run(&[&["ctl"], arguments, &connection].concat())
    };
    // The console reads the new token from etcd.
    eventually("the token is accepted", async || ctl(&["whoami"]).0 == 0).await;
    let (code, text) = ctl(&["clusters", "list", "--output", "table"]);
    assert!(code == 0 && text.contains("\nlab "), "{text}");
    let id = printed.split('_').nth(1).unwrap();
    manage(&["token", "remove", id]);
    eventually("the token is refused", async || {
        let (code, text) = ctl(&["whoami"]);
        code == 1 && text.contains("token_revoked")
    })
    .await;
    drop(console);
    let (code, text) = ctl(&["whoami"]);
    assert!(code == 69 && text.contains(&address), "{text}");
}
