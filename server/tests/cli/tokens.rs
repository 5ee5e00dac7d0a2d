//! `token`.

use crate::etcd::TestEtcd;
use crate::program::{PASSWORD, console_command, run, run_with_stdin};

#[tokio::test]
async fn tokens_are_managed_from_the_command_line() {
    let etcd = TestEtcd::process().await;
    let url = etcd.url();
    let command = |arguments: &[&str]| {
        let arguments = [arguments, &["--etcd-endpoints", &url]].concat();
        run(&arguments)
    };
    let (code, text) = command(&["token", "list"]);
    assert!(code == 0 && text.contains("No tokens"), "{text}");
    let (code, text) = command(&[
        "user",
        "add",
        "ci",
        "--role",
        "operator,viewer",
        "--service",
    ]);
    assert!(code == 0 && text.contains("service account ci"), "{text}");
    let person = [
        "user",
        "add",
        "dora",
        "--role",
        "viewer",
        "--password-stdin",
    ];
    let person = [&person[..], &["--etcd-endpoints", &url]].concat();
    assert_eq!(run_with_stdin(&person, &format!("{PASSWORD}\n")).0, 0);
    let (code, text) = command(&["user", "list"]);
    assert!(code == 0 && text.contains("service"), "{text}");
    let (code, text) = command(&["user", "passwd", "ci", "--password-file", "/dev/null"]);
    assert_eq!(code, 64, "{text}");
    let add = |account: &str, more: &[&str]| {
        command(&[&["token", "add", account, "deploy"], more].concat())
    };
    for (account, more, part) in [
        (
            "ci",
            &["--role", "admin", "--days", "1"][..],
            "does not have the role admin",
        ),
        ("ci", &["--role", "king", "--days", "1"], "unknown role"),
        (
            "ci",
            &["--role", "viewer", "--days", "1", "--clusters", "a b"],
            "invalid cluster",
        ),
        ("ci", &["--role", "viewer", "--days", "366"], "366"),
        (
            "dora",
            &["--role", "viewer", "--days", "91"],
            "--token-lifetime-max",
        ),
        (
            "nobody",
            &["--role", "viewer", "--days", "1"],
            "no enabled account nobody",
        ),
    ] {
        let (code, text) = add(account, more);
        assert!(
            code == 64 && text.contains(part),
            "{account} {more:?}: {text}"
        );
    }
    let (code, text) = add(
        "ci",
        &[
            "--role",
            "operator",
            "--days",
            "365",
            "--clusters",
            "lab,prod-*",
        ],
    );
    assert!(
        code == 0 && text.starts_with("gct_") && text.contains("shown only now"),
        "{text}"
    );
    let secret = text.lines().next().unwrap().to_owned();
    let id = secret.split('_').nth(1).unwrap();
    let (code, list) = command(&["token", "list", "ci"]);
    assert!(
        code == 0 && list.contains(id) && list.contains("lab, prod-*"),
        "{list}"
    );
    assert!(!list.contains(&secret) && list.contains("active"), "{list}");
    let (code, text) = add("ci", &["--role", "viewer", "--days", "1"]);
    assert!(
        code == 64 && text.contains("already has an active token"),
        "{text}"
    );
    assert_eq!(command(&["token", "remove", id]).0, 0);
    let (_, list) = command(&["token", "list"]);
    assert!(list.contains("revoked"), "{list}");
    for (id, part) in [
        ("0123456789abcdef", "unknown token"),
        ("x", "invalid token id"),
    ] {
        let (code, text) = command(&["token", "remove", id]);
        assert!(code == 64 && text.contains(part), "{text}");
    }
    // Standard output can be a file of curl, Prometheus or `ctl`.
    let arguments = [
        "token", "add", "ci", "file", "--role", "viewer", "--days", "1",
    ];
    let arguments = [&arguments[..], &["--etcd-endpoints", &url]].concat();
    let output = console_command(&arguments).output().unwrap();
    let file = String::from_utf8(output.stdout).unwrap();
    assert!(
        file.starts_with("gct_") && file.lines().count() == 1,
        "{file}"
    );
    let (code, trail) = command(&["audit", "export"]);
    assert_eq!(code, 0, "{trail}");
    for event in ["token_created", "token_revoked"] {
        assert!(trail.contains(event), "{event} in {trail}");
    }
    let secret = secret.rsplit('_').next().unwrap();
    assert!(!trail.contains(secret), "{trail}");
    let (code, text) = command(&["user", "remove", "ci"]);
    assert_eq!(code, 0, "{text}");
}
