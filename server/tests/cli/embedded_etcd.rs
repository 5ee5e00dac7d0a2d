//! The etcd that `serve` starts.

use rustix::process::Signal;
use rustix::process::kill_process;
use std::os::unix::fs::PermissionsExt;

use crate::etcd::eventually;
use crate::program::ConsoleProcess;
use crate::program::PASSWORD;
use crate::program::is_alive;
use crate::program::processes_of;
use crate::program::run;
use crate::program::run_with_stdin;
use crate::program::site;

#[tokio::test]
async fn without_endpoints_it_runs_an_embedded_etcd() {
    let (data, site) = (tempfile::tempdir().unwrap(), site());
    let directory = data.path().join("etcd");
    let path = directory.to_str().unwrap();
    let flags = [
        "--etcd-data-dir",
        path,
        "--site-root",
        site.path().to_str().unwrap(),
    ];
    // An account before the console has ever run: etcd is started for the duration of the command.
    let add = |name: &str| {
        run_with_stdin(
            &[
                "user",
                "add",
                name,
                "--role",
                "admin",
                "--password-stdin",
                "--etcd-data-dir",
                path,
            ],
            PASSWORD,
        )
    };
    assert_eq!(add("first").0, 0);
    assert!(processes_of(data.path()).is_empty());

    let serving = ConsoleProcess::start(&flags);
    serving.wait_until_ready().await;
    let [etcd] = processes_of(data.path())[..] else {
        panic!("expected one etcd")
    };
    // Another one while the console runs: its etcd is used.
    let (code, text) = add("second");
    assert_eq!(code, 0, "{text}");
    let (_, text) = run(&["user", "list", "--etcd-data-dir", path]);
    assert!(text.contains("first") && text.contains("second"), "{text}");
    assert_eq!(processes_of(data.path()), [etcd]);
    // A second console on the same data would start a second etcd.
    let (code, text) = run(&[&["serve", "--listen", "127.0.0.1:0"], &flags[..]].concat());
    assert!(
        code == 69 && text.contains(path) && text.contains("--etcd-data-dir"),
        "{code} {text}"
    );

    // etcd dies: it is restarted on the same address.
    kill_process(etcd, Signal::KILL).unwrap();
    eventually(
        "etcd is restarted",
        async || matches!(processes_of(data.path())[..], [other] if other != etcd),
    )
    .await;
    eventually("the restarted etcd serves", async || {
        run(&["user", "list", "--etcd-data-dir", path])
            .1
            .contains("second")
    })
    .await;
    // The key of orders is beside its data.
    let key = data.path().join("etcd-order.key");
    let (code, text) = run(&["order-key", "show", key.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(serving.stop(), 0);
    assert!(
        processes_of(data.path()).is_empty(),
        "etcd exits with the console"
    );
}

#[tokio::test]
async fn a_killed_console_leaves_no_etcd_behind() {
    let (data, site) = (tempfile::tempdir().unwrap(), site());
    let directory = data.path().join("etcd");
    let flags = [
        "--etcd-data-dir",
        directory.to_str().unwrap(),
        "--site-root",
        site.path().to_str().unwrap(),
    ];
    let serving = ConsoleProcess::start(&flags);
    serving.wait_until_ready().await;
    let [etcd] = processes_of(data.path())[..] else {
        panic!("expected one etcd")
    };
    kill_process(serving.pid(), Signal::KILL).unwrap();
    drop(serving);
    eventually("etcd exits too", async || !is_alive(etcd)).await;
    let again = ConsoleProcess::start(&flags);
    again.wait_until_ready().await;
    assert_eq!(again.stop(), 0);
}

#[tokio::test]
async fn the_data_of_the_embedded_etcd_is_private() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("new/etcd");
    let (code, text) = run(&["user", "list", "--etcd-data-dir", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o700
    );
}
