//! SIGHUP, and what the log shows of a request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use rustix::process::{Signal, kill_process};

use crate::etcd::{TIMEOUT, TestEtcd, eventually};
use crate::program::{ConsoleProcess, run, site};

struct ConsoleSettings {
    _site: tempfile::TempDir,
    directory: tempfile::TempDir,
    endpoint: String,
    site_root: String,
}

impl ConsoleSettings {
    async fn new(etcd: &TestEtcd) -> Self {
        let site = site();
        let settings = Self {
            site_root: site.path().display().to_string(),
            _site: site,
            directory: tempfile::tempdir().unwrap(),
            endpoint: etcd.url(),
        };
        settings.write_token("first-token-0123456789");
        settings
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_token(&self, token: &str) {
        std::fs::write(self.path("token"), format!("{token}\n")).unwrap();
    }

    fn write(&self, level: &str, probes: &str, interval: &str) {
        let (endpoint, site, token) = (&self.endpoint, &self.site_root, self.path("token"));
        let token = token.display();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nsite_root = \"{site}\"\nmetrics_token_file = \"{token}\"\nlog_level = \"{level}\"\nprobe_allow = [\"{probes}\"]\npoll_interval = \"{interval}\"\n[etcd]\nendpoints = [\"{endpoint}\"]\n"
        );
        std::fs::write(self.path("console.toml"), text).unwrap();
    }

    /// The same with labels.
    fn write_labels(&self, level: &str, labels: &str) {
        self.write(level, "127.0.0.0/8", "1s");
        let path = self.path("console.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("cluster_labels = [{labels}]\n{text}")).unwrap();
    }

    /// The entries of `event`, once there are `count`.
    async fn audit_trail(&self, event: &str, count: usize) -> Vec<serde_json::Value> {
        let entries = || {
            let (code, text) = run(&["audit", "export", "--etcd-endpoints", &self.endpoint]);
            assert_eq!(code, 0, "{text}");
            let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
            let entries = lines
                .filter_map(Result::ok)
                .filter(|entry| entry["event"] == event);
            entries.collect::<Vec<_>>()
        };
        eventually("the audit trail to have the entries", async || {
            entries().len() >= count
        })
        .await;
        entries()
    }

    fn start(&self) -> ConsoleProcess {
        let file = self.path("console.toml");
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        ConsoleProcess::start_with(&arguments)
    }
}

fn hang_up(serving: &ConsoleProcess) {
    kill_process(serving.pid(), Signal::HUP).unwrap();
}

#[tokio::test]
async fn a_hangup_applies_what_it_can_and_names_what_needs_a_restart() {
    let etcd = TestEtcd::process().await;
    let settings = ConsoleSettings::new(&etcd).await;
    settings.write("info", "127.0.0.0/8", "1s");
    let serving = settings.start();
    serving.wait_until_ready().await;
    serving.get("/healthz");
    assert!(!serving.log().contains("GET /healthz 200"));

    settings.write("debug", "169.254.0.0/16", "2s");
    settings.write_token("other-token-0123456789");
    hang_up(&serving);
    serving
        .wait_for_log(&[
            "--log-level is now debug (before: info)",
            "--probe-allow is now 169.254.0.0/16 (before: 127.0.0.0/8)",
            "--poll-interval needs a restart of the console: it stays 1s until then, and is 2s afterwards",
            "--metrics-token-file: the content of",
            "changed settings: 4, of which 2 need a restart",
        ])
        .await;
    serving.get("/healthz");
    serving.wait_for_log(&["GET /healthz 200"]).await;

    hang_up(&serving);
    serving
        .wait_for_log(&["changed settings: 2, of which 2 need a restart"])
        .await;
    let log = serving.log();
    assert!(!log.contains("token-0123456789"), "{log}");
    // Both reloads, with the names of settings and no value.
    let trail = settings.audit_trail("configuration_reloaded", 2).await;
    let [first, second] = &trail[..] else {
        panic!("{trail:?}");
    };
    assert_eq!(
        first["detail"],
        serde_json::json!({
            "applied": "log-level, probe-allow", "content": "metrics-token-file", "restart": "metrics-token-file, poll-interval",
        })
    );
    assert_eq!(
        second["detail"]["restart"],
        "metrics-token-file, poll-interval"
    );
    assert!(second["detail"]["applied"].is_null(), "{second}");
    let actor = first["actor"].as_str().unwrap();
    assert!(actor.contains('/'), "not a replica: {actor}");
    assert!(!format!("{trail:?}").contains("0123456789"), "{trail:?}");
    let (status, _) = serving.stop_with_log();
    assert_eq!(status, 0);
}

#[tokio::test]
async fn an_invalid_configuration_changes_nothing() {
    let etcd = TestEtcd::process().await;
    let settings = ConsoleSettings::new(&etcd).await;
    settings.write("info", "127.0.0.0/8", "1s");
    let serving = settings.start();
    serving.wait_until_ready().await;
    settings.write("debug", "127.0.0.0/8", "never");
    hang_up(&serving);
    serving
        .wait_for_log(&["nothing was changed", "poll_interval"])
        .await;
    std::fs::remove_file(settings.path("console.toml")).unwrap();
    hang_up(&serving);
    serving.wait_for_log(&["console.toml does not exist"]).await;
    assert!(serving.get("/readyz").contains(" 200 "));
    assert!(!serving.log().contains("--log-level is now"));
    settings.write("warn", "127.0.0.0/8", "1s");
    hang_up(&serving);
    // It is logged before it hides lines of its level.
    serving
        .wait_for_log(&["--log-level is now warn (before: info)"])
        .await;
    assert_eq!(serving.stop(), 0);
}

#[tokio::test]
async fn labels_are_added_changed_and_removed_and_a_wrong_one_refuses_everything() {
    let etcd = TestEtcd::process().await;
    let settings = ConsoleSettings::new(&etcd).await;
    settings.write("info", "127.0.0.0/8", "1s");
    let serving = settings.start();
    serving.wait_until_ready().await;
    settings.write_labels("info", r#""prod-*:env=production""#);
    hang_up(&serving);
    let added = "--cluster-label is now prod-*:env=production (before: (none))";
    serving.wait_for_log(&[added]).await;

    for (wrong, named) in [
        (r#""prod-*:env=<b>""#, "env=<b>"),
        (r#""prod-*:env=test,env=other""#, "env twice"),
        (r#""env=test""#, "names no cluster"),
    ] {
        settings.write_labels("debug", wrong);
        hang_up(&serving);
        serving
            .wait_for_log(&["nothing was changed", "cluster_labels", named])
            .await;
    }
    let log = serving.log();
    assert!(!log.contains("--log-level is now"), "{log}");

    // What is in force is what was valid.
    settings.write_labels("info", r#""prod-*:env=production", "lab:env=test""#);
    hang_up(&serving);
    serving
        .wait_for_log(&["lab:env=test (before: prod-*:env=production)"])
        .await;
    settings.write("info", "127.0.0.0/8", "1s");
    hang_up(&serving);
    serving
        .wait_for_log(&["--cluster-label is now (none) (before: "])
        .await;
    let log = serving.log();
    assert!(!log.contains("--cluster-label needs a restart"), "{log}");
    assert_eq!(serving.stop(), 0);
}

fn get_with_trace(address: &str, path: &str, trace: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\ntraceparent: {trace}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn the_lines_of_a_request_have_its_trace() {
    let etcd = TestEtcd::process().await;
    let settings = ConsoleSettings::new(&etcd).await;
    settings.write("debug", "127.0.0.0/8", "1s");
    let serving = settings.start();
    serving.wait_until_ready().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("00-{trace}-00f067aa0ba902b7-01");
    get_with_trace(&serving.address, "/api/v1/clusters", &header);
    serving
        .wait_for_log(&[&format!("trace_id=\"{trace}\"")])
        .await;
    let lines = |log: &str| log.matches(trace).count();
    let found = lines(&serving.log());
    get_with_trace(&serving.address, "/api/v1/clusters", &format!("{header}x"));
    serving.get("/api/v1/me");
    assert_eq!(
        lines(&serving.log()),
        found,
        "an invalid header counts as none"
    );
    assert_eq!(serving.stop(), 0);
}
