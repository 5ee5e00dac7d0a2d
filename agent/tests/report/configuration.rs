//! Invalid usage and settings: a clear message and a documented exit code, before anything is opened.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::agent::{AgentProcess, BINARY, write_file};

async fn run_refused(environment: &[(&str, &str)]) -> (i32, String) {
    let mut agent = AgentProcess::start(environment);
    (agent.wait().await, agent.log())
}

#[tokio::test]
async fn wrong_settings_exit_64_and_name_the_variable() {
    let good = [
        ("CLUSTER_NAME", "lab"),
        ("DISCOVERY_SERVICE", "127.0.0.1:1"),
        ("HEALTH_LISTEN", "off"),
    ];
    let long_name = "a".repeat(97);
    let long_path = format!("/run/{}", "a".repeat(200));
    for (name, value) in [
        ("CLUSTER_NAME", ""),
        ("CLUSTER_NAME", &long_name),
        ("DISCOVERY_SERVICE", ""),
        ("DISCOVERY_SERVICE", "ftp://x"),
        ("TTL", "soon"),
        ("NODE_ADDRESS", "<script>"),
        ("MYSQL_PORT", "0"),
        ("MYSQL_PASSWORD_FILE", "/nonexistent/password"),
        ("HEALTH_LISTEN", "everywhere"),
        ("LIVENESS_SOCKET", "agent.sock"),
        ("LIVENESS_SOCKET", &long_path),
        ("ETCD_CA", "/nonexistent/ca.pem"),
        ("ETCD_USER", "somebody"),
        ("GALERA_AGENT_NOTIFY", "galera-agent/short"),
        ("RUST_LOG", "=="),
    ] {
        let mut environment: Vec<_> = good
            .into_iter()
            .filter(|(known, _)| *known != name)
            .collect();
        environment.push((name, value));
        if name == "ETCD_CA" {
            environment.retain(|(known, _)| *known != "DISCOVERY_SERVICE");
            environment.push(("DISCOVERY_SERVICE", "https://127.0.0.1:1"));
        }
        let (code, log) = run_refused(&environment).await;
        assert_eq!(code, 64, "{name}={value}: {log}");
        assert!(log.contains(name), "{name}={value}: {log}");
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

/// People try the agent in a terminal, where standard error, and so the log, is one.
#[test]
fn the_agent_starts_in_a_terminal() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command"])
        .args([&format!("{BINARY} report"), "/dev/null"])
        .env("CLUSTER_NAME", "lab")
        .env("DISCOVERY_SERVICE", "127.0.0.1:1")
        .env("HEALTH_LISTEN", &address)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(64), "{log}");
    assert!(log.contains(&address) && !log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn a_taken_health_port_exits_64() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let environment = [
        ("CLUSTER_NAME", "lab"),
        ("DISCOVERY_SERVICE", "127.0.0.1:1"),
        ("HEALTH_LISTEN", &address),
    ];
    let (code, log) = run_refused(&environment).await;
    assert_eq!(code, 64, "{log}");
    assert!(
        log.contains("HEALTH_LISTEN") && log.contains(&address) && log.contains("in use"),
        "{log}"
    );
}

#[tokio::test]
async fn a_notify_endpoint_in_use_exits_64() {
    let place = format!("galera-agent-{}/0123456789abcdef", std::process::id());
    let environment = [
        ("CLUSTER_NAME", "lab"),
        ("DISCOVERY_SERVICE", "127.0.0.1:1"),
        ("HEALTH_LISTEN", "off"),
        ("GALERA_AGENT_NOTIFY", place.as_str()),
    ];
    let first = AgentProcess::start(&environment);
    let line = first
        .wait_for_log("Listening for the server's notifications")
        .await;
    assert!(!line.contains("0123456789abcdef"), "{line}");
    let (code, log) = run_refused(&environment).await;
    assert_eq!(code, 64, "{log}");
    assert!(
        log.contains("GALERA_AGENT_NOTIFY") && log.contains("another agent"),
        "{log}"
    );
}

#[tokio::test]
async fn an_unreadable_password_file_exits_77() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_file(dir.path(), "password", "secret");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o0)).unwrap();
    if std::fs::read(&path).is_ok() {
        // Root can read everything, so the agent runs as nobody.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let agent = dir.path().join("galera-agent");
        // Copied by a child process: a file written here could be inherited, and busy, in another test's child.
        let copied = Command::new("cp").arg(BINARY).arg(&agent).status().unwrap();
        assert!(copied.success());
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&agent)
            .arg("report")
            .env_clear()
            .envs([
                ("CLUSTER_NAME", "lab"),
                ("DISCOVERY_SERVICE", "x"),
                ("MYSQL_PASSWORD_FILE", &path),
            ])
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(77), "{log}");
        assert!(
            log.contains("MYSQL_PASSWORD_FILE") && log.contains(&path),
            "{log}"
        );
    } else {
        let environment = [
            ("CLUSTER_NAME", "lab"),
            ("DISCOVERY_SERVICE", "x"),
            ("MYSQL_PASSWORD_FILE", path.as_str()),
        ];
        let (code, log) = run_refused(&environment).await;
        assert_eq!(code, 77, "{log}");
    }
}

#[test]
fn exit_codes_of_version_help_and_invalid_usage() {
    let run = |args: &[&str]| {
        let output = Command::new(BINARY).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(text).unwrap(),
        )
    };
    let (code, text) = run(&["--version"]);
    let version = concat!("galera-agent ", env!("CARGO_PKG_VERSION"), " (");
    assert!(code == 0 && text.starts_with(version), "{text}");
    assert!(text.contains(std::env::consts::ARCH), "{text}");
    assert_eq!(run(&["report", "--help"]).0, 0);
    for wrong in [
        &[][..],
        &["--nonsense"],
        &["report", "extra"],
        &["nonsense"],
    ] {
        assert_eq!(run(wrong).0, 64, "{wrong:?}");
    }
}
