//! `user`.

use crate::etcd::TestEtcd;
use crate::program::PASSWORD;
use crate::program::run;
use crate::program::run_with_stdin;

#[tokio::test]
async fn accounts_are_managed_from_the_command_line() {
    let etcd = TestEtcd::process().await;
    let url = etcd.url();
    let user = |arguments: &[&str]| {
        [&["user"], arguments, &["--etcd-endpoints", &url]]
            .concat()
            .iter()
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>()
    };
    let run_user = |arguments: &[&str], password: &str| {
        let arguments = user(arguments);
        run_with_stdin(
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            password,
        )
    };
    let (code, text) = run_user(&["list"], "");
    assert!(code == 0 && text.contains("No accounts"), "{text}");
    let add = ["add", "dora", "--role", "viewer,admin", "--password-stdin"];
    let (code, text) = run_user(&add, "short\n");
    assert!(code == 64 && text.contains("at least 12"), "{text}");
    for (weak, part) in [
        ("password1234\n", "very common password"),
        ("galera-dora-2026\n", "account's name"),
        ("example-console-1\n", "host name"),
    ] {
        let url = ["--public-url", "https://console.example.org"];
        let (code, text) = run_user(&[&add[..], &url].concat(), weak);
        assert!(
            code == 64 && text.contains(part) && text.contains("unrelated words"),
            "{weak}: {text}"
        );
    }
    assert_eq!(run_user(&add, &format!("{PASSWORD}\n")).0, 0);
    let (code, text) = run_user(&add, PASSWORD);
    assert!(
        code == 64 && text.contains("already exists") && text.contains("passwd"),
        "{text}"
    );
    let (code, text) = run_user(&["list"], "");
    assert!(
        code == 0
            && text.contains("dora")
            && text.contains("viewer,admin")
            && !text.contains("argon2"),
        "{text}"
    );
    for command in ["disable", "remove"] {
        let (code, text) = run_user(&[command, "dora"], "");
        assert!(
            code == 64 && text.contains("last enabled account") && text.contains("--force"),
            "{text}"
        );
    }
    assert_eq!(run_user(&["disable", "dora", "--force"], "").0, 0);
    assert!(run_user(&["list"], "").1.contains("disabled"));
    assert_eq!(run_user(&["enable", "dora"], "").0, 0);
    for (roles, part) in [
        ("viewer", "last enabled account"),
        ("king", "unknown role"),
        ("", "unknown role"),
    ] {
        let (code, text) = run_user(&["role", "dora", "--role", roles], "");
        assert!(code == 64 && text.contains(part), "{roles}: {text}");
    }
    let (code, text) = run_user(&["role", "dora", "--role", "admin,operator"], "");
    assert!(code == 0 && text.contains("operator, admin"), "{text}");
    for (arguments, expected) in [
        (
            &["--clusters", "prod-*", "--role", "operator"][..],
            "the roles operator on prod-*",
        ),
        (&["--role", "viewer"], "the roles viewer on prod-*"),
        (
            &[
                "--role",
                "viewer",
                "--grant",
                "operator,approver=prod-*,lab",
            ],
            "the roles viewer on all clusters; operator, approver on lab, prod-*",
        ),
        (&["--grant", "admin=lab"], "the roles admin on lab"),
    ] {
        let command = ["role", "dora", "--force"];
        let (code, text) = run_user(&[&command, arguments].concat(), "");
        assert!(
            code == 0 && text.contains(expected),
            "{arguments:?}: {text}"
        );
    }
    let (code, text) = run_user(&["list"], "");
    assert!(code == 0 && text.contains("admin on lab"), "{text}");
    for (arguments, part) in [
        (&["--role", "viewer", "--clusters", "a b"][..], "prod-*"),
        (&["--grant", "operator"], "operator=prod-*"),
        (&["--grant", "king=lab"], "unknown role"),
        (&["--clusters", "lab"], "--role"),
        (
            &["--role", "viewer", "--clusters", "lab", "--all-clusters"],
            "cannot be used with",
        ),
    ] {
        let (code, text) = run_user(&[&["role", "dora"], arguments].concat(), "");
        assert!(code == 64 && text.contains(part), "{arguments:?}: {text}");
    }
    let (code, text) = run_user(&["role", "dora", "--role", "admin", "--all-clusters"], "");
    assert!(code == 0 && text.contains("the roles admin."), "{text}");
    let service = ["add", "ci", "--service", "--role", "viewer", "--clusters"];
    let (code, text) = run_user(&[&service[..], &["prod-*,lab"]].concat(), "");
    assert!(code == 0, "{text}");
    let (code, text) = run_user(&["list"], "");
    assert!(code == 0 && text.contains("viewer on lab,prod-*"), "{text}");
    let (code, text) = run_user(&["reset-factor", "dora"], "");
    assert!(code == 0 && text.contains("ended its sessions"), "{text}");
    let (code, text) = run_user(&["reset-factor", "nobody"], "");
    assert!(code == 64 && text.contains("no account nobody"), "{text}");
    let rotate = |arguments: &[&str]| {
        let command = ["secret", "rotate-session-key", "--etcd-endpoints", &url];
        run(&[&command, arguments].concat())
    };
    let (code, text) = rotate(&[]);
    assert!(code == 0 && text.contains("new key"), "{text}");
    let (code, text) = rotate(&[]);
    assert!(code == 0 && text.contains("Sessions continue"), "{text}");
    let (code, text) = rotate(&["--end-sessions"]);
    assert!(
        code == 0 && text.contains("Every session has ended"),
        "{text}"
    );
    let (code, trail) = run(&["audit", "export", "--etcd-endpoints", &url]);
    assert_eq!(code, 0, "{trail}");
    for event in [
        "account_added",
        "account_roles_changed",
        "factor_reset",
        "session_key_rotated",
    ] {
        assert!(trail.contains(event), "{event} in {trail}");
    }
    assert_eq!(run(&["audit", "verify", "--etcd-endpoints", &url]).0, 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "another good password\n").unwrap();
    assert_eq!(
        run_user(
            &[
                "passwd",
                "dora",
                "--password-file",
                file.path().to_str().unwrap()
            ],
            ""
        )
        .0,
        0
    );
    let (code, text) = run_user(&["email", "dora", "nobody"], "");
    assert!(
        code == 64 && text.contains("not a valid e-mail address"),
        "{text}"
    );
    assert_eq!(run_user(&["email", "dora", "d@example.org"], "").0, 0);
    assert!(run_user(&["list"], "").1.contains("d@example.org"));
    assert_eq!(run_user(&["email", "dora", ""], "").0, 0);
    assert!(!run_user(&["list"], "").1.contains("d@example.org"));
    assert_eq!(run_user(&["remove", "dora", "--force"], "").0, 0);
    let (code, text) = run_user(&["remove", "dora"], "");
    assert!(code == 64 && text.contains("no account dora"), "{text}");
}
