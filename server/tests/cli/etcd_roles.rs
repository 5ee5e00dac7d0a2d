//! `etcd-roles`.

use std::path::Path;

use crate::etcd::TestEtcd;
use crate::program::ConsoleProcess;
use crate::program::run;
use crate::program::site;

/// Writes a password file.
fn password_file(directory: &Path, name: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, format!("secret-of-{name}\n")).unwrap();
    path.display().to_string()
}

#[test]
fn the_roles_of_etcd_are_printed() {
    let arguments = |format: &'static str| {
        run(&[
            "etcd-roles",
            "print",
            "--cluster",
            "lab=10.0.0.1,10.0.0.2:3307",
            "--agents-of",
            "shop",
            "--format",
            format,
        ])
    };
    let (code, text) = arguments("etcdctl");
    assert_eq!(code, 0, "{text}");
    for line in [
        "etcdctl role grant-permission --prefix 'galera-console' readwrite '/galera-console/'",
        "etcdctl role grant-permission --prefix 'galera-agent-shop' readwrite '/galera/shop/'",
        "etcdctl role grant-permission --prefix 'galera-agent-lab-10.0.0.2:3307' readwrite '/galera/lab/10.0.0.2:3307/'",
        "etcdctl role grant-permission --prefix 'galera-agent-lab-10.0.0.1' read '/galera/lab/'",
        "etcdctl role grant-permission 'galera-agent-lab-10.0.0.1' readwrite '/galera/lab/founder'",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is missing in:\n{text}"
        );
    }
    let (code, text) = arguments("json");
    assert_eq!(code, 0, "{text}");
    let roles: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names: Vec<_> = roles["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| &role["name"])
        .collect();
    assert_eq!(
        names,
        [
            "galera-console",
            "galera-agent-lab",
            "galera-agent-lab-10.0.0.1",
            "galera-agent-lab-10.0.0.2:3307",
            "galera-agent-shop"
        ]
    );
}

#[tokio::test]
async fn roles_are_applied_repeatedly_and_a_console_needs_its_own() {
    let etcd = TestEtcd::process().await;
    let url = etcd.url();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| password_file(directory.path(), name);
    let (root, console, agent) = (file("root"), file("console"), file("agent"));
    let accounts = [
        format!("root:root:{root}"),
        format!("console:galera-console:{console}"),
        format!("agent:galera-agent-lab:{agent}"),
    ];
    let apply = |more: &[&str]| {
        let mut arguments = vec![
            "etcd-roles",
            "apply",
            "--etcd-endpoints",
            &url,
            "--agents-of",
            "lab",
        ];
        for account in &accounts {
            arguments.extend(["--account", account]);
        }
        arguments.extend(more);
        run(&arguments)
    };
    let as_root = ["--etcd-user", "root", "--etcd-password-file", &root];
    let (code, text) = apply(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Role galera-console: created"), "{text}");
    assert!(text.contains("every program that reaches it"), "{text}");
    // With the credentials of later runs too, although etcd does not ask for them yet.
    let (code, text) = apply(&[&as_root[..], &["--enable-auth"]].concat());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Role galera-console: unchanged"), "{text}");
    assert!(text.contains("etcd now requires accounts"), "{text}");
    let (code, text) = apply(&[&as_root[..], &["--enable-auth"]].concat());
    assert_eq!((code, text.contains("unchanged")), (0, true), "{text}");
    let (code, text) = apply(&[]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("set --etcd-user"), "{text}");
    let (code, text) = apply(&["--etcd-user", "agent", "--etcd-password-file", &agent]);
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("role root"), "{text}");
    assert!(!text.contains("secret-of"), "{text}");

    let site = site();
    let root_dir = site.path().to_str().unwrap();
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--site-root",
        root_dir,
        "--etcd-endpoints",
        &url,
    ];
    let as_agent = ["--etcd-user", "agent", "--etcd-password-file", &agent];
    let (code, text) = run(&[&serve[..], &as_agent].concat());
    assert_eq!(code, 64, "{text}");
    assert!(
        text.contains(
            "lacks readwrite on keys below /galera/, readwrite on keys below /galera-console/"
        ),
        "{text}"
    );
    assert!(text.contains("etcd-roles apply"), "{text}");

    let as_console = ["--etcd-user", "console", "--etcd-password-file", &console];
    let console = ConsoleProcess::start(
        &[
            &["--site-root", root_dir, "--etcd-endpoints", &url][..],
            &as_console,
        ]
        .concat(),
    );
    console.wait_until_ready().await;
    assert_eq!(console.stop(), 0);
}

#[test]
fn accounts_of_etcd_are_refused_with_their_remedy() {
    for (arguments, words) in [
        (&["etcd-roles"][..], "print"),
        (&["etcd-roles", "apply"], "set --etcd-endpoints"),
        (
            &[
                "etcd-roles",
                "apply",
                "--etcd-endpoints",
                "127.0.0.1:1",
                "--account",
                "console",
            ],
            "NAME:ROLE:FILE",
        ),
        (
            &[
                "etcd-roles",
                "apply",
                "--etcd-endpoints",
                "127.0.0.1:1",
                "--account",
                "a:b:/nonexistent",
            ],
            "/nonexistent",
        ),
    ] {
        let (code, text) = run(arguments);
        assert_eq!(code, 64, "{arguments:?}: {text}");
        assert!(text.contains(words), "{words} is missing in: {text}");
    }
}
