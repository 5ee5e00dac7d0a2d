//! Usage, configuration and exit codes.

use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::program::PASSWORD;
use crate::program::code_and_output;
use crate::program::console_command;
use crate::program::run;
use crate::program::site;

#[test]
fn invalid_usage_exits_with_64() {
    for (arguments, words) in [
        (&[][..], &["serve", "user"][..]),
        (&["dance"], &["dance"]),
        (&["serve", "--listne", "x"], &["--listne", "--listen"]),
        (&["user"], &["add", "list"]),
        (&["user", "add"], &["<NAME>", "--role"]),
        (
            &["user", "add", "dora", "--role", "king", "--password-stdin"],
            &["king", "viewer"],
        ),
        (
            &[
                "user",
                "add",
                "dora smith",
                "--role",
                "viewer",
                "--password-stdin",
            ],
            &["dora smith", "a-z"],
        ),
        (
            &["user", "add", "dora", "--role", "viewer"],
            &["--password-file", "--password-stdin"],
        ),
        (
            &["user", "passwd", "dora", "--password-file", "/nonexistent"],
            &["--password-file", "/nonexistent"],
        ),
        (
            &["serve", "--config", "/nonexistent/c.toml"],
            &["--config", "/nonexistent/c.toml", "does not exist"],
        ),
        (
            &["serve", "--site-root", "/nonexistent/site"],
            &["/nonexistent/site", "make build", "--site-root"],
        ),
        (
            &[
                "serve",
                "--listen",
                "x",
                "--approvals",
                "many",
                "--cluster",
                "lab",
            ],
            &["3 problems", "--listen", "--approvals", "--cluster"],
        ),
        (&["check-config", "--mysql-port", "0"], &["--mysql-port"]),
    ] {
        let (code, text) = run(arguments);
        assert_eq!(code, 64, "{arguments:?}: {text}");
        for word in words {
            assert!(
                text.contains(word),
                "{arguments:?}: {word} is missing in: {text}"
            );
        }
    }
}

/// People run commands in a terminal, where standard error, and so the log, is one.
#[test]
fn commands_work_in_a_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("etcd").display().to_string();
    let program = env!("CARGO_BIN_EXE_galera-console");
    let line = format!("{program} user add ada --role admin --etcd-data-dir {data}");
    let mut running = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = running.stdin.take().unwrap();
    keyboard
        .write_all(format!("{PASSWORD}\n{PASSWORD}\n").as_bytes())
        .unwrap();
    drop(keyboard);
    let (code, text) = code_and_output(&running.wait_with_output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Password for ada: "), "{text}");
    assert!(
        !text.contains("panicked") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[test]
fn a_valid_configuration_is_printed_without_secrets() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "hunter2hunter2\n").unwrap();
    let path = secret.path().to_str().unwrap();
    let output = console_command(&[
        "check-config",
        "--mysql-password-file",
        path,
        "--cluster",
        "lab=10.0.0.1,10.0.0.2",
    ])
    .env("GALERA_CONSOLE_POLL_INTERVAL", "2s")
    .output()
    .unwrap();
    let (code, text) = code_and_output(&output);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains(path) && !text.contains("hunter2hunter2"),
        "{text}"
    );
    for (flag, words) in [
        ("cluster ", ["lab=10.0.0.1,10.0.0.2", "--cluster"]),
        ("poll-interval", ["2s", "GALERA_CONSOLE_POLL_INTERVAL"]),
    ] {
        let line = text.lines().find(|line| line.starts_with(flag)).unwrap();
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn version_and_the_table_exit_with_0() {
    for (arguments, word) in [
        (&["--version"][..], concat!(env!("CARGO_PKG_VERSION"), " (")),
        (&["--version"], std::env::consts::ARCH),
        (
            &["check-config", "--table"],
            "| `--listen ADDRESS:PORT` | `GALERA_CONSOLE_LISTEN` | `listen` | `127.0.0.1:3000` |",
        ),
    ] {
        let (code, text) = run(arguments);
        assert_eq!(code, 0, "{arguments:?}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn an_unavailable_service_exits_with_69() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let site = site();
    let site = site.path().to_str().unwrap();
    let unreachable = "http://127.0.0.1:1";
    let (code, text) = run(&[
        "serve",
        "--site-root",
        site,
        "--listen",
        &address,
        "--etcd-endpoints",
        unreachable,
    ]);
    assert_eq!(code, 69, "{text}");
    assert!(
        text.contains(&address) && text.contains("--listen"),
        "{text}"
    );
    let (code, text) = run(&["user", "list", "--etcd-endpoints", unreachable]);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("127.0.0.1:1"), "{text}");
    let data = tempfile::tempdir().unwrap();
    let output = console_command(&[
        "user",
        "list",
        "--etcd-data-dir",
        data.path().to_str().unwrap(),
    ])
    .env("PATH", "/nonexistent")
    .output();
    let (code, text) = code_and_output(&output.unwrap());
    assert_eq!(code, 69, "{text}");
    assert!(
        text.contains("etcd-server") && text.contains("--etcd-endpoints"),
        "{text}"
    );
}
