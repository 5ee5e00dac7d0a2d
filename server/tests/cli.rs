//! The program itself: exit codes, messages, the embedded etcd, shutdown.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "support/etcd.rs"]
#[expect(dead_code, reason = "the fixture serves several test binaries")]
mod etcd;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use etcd::{TIMEOUT, TestEtcd, eventually};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery";

/// The program without inherited settings.
fn console_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_galera-console"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GALERA_CONSOLE_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> (i32, String) {
    code_and_output(&console_command(arguments).output().unwrap())
}

fn code_and_output(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn run_with_stdin(arguments: &[&str], password: &str) -> (i32, String) {
    let mut child = console_command(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(password.as_bytes())
        .unwrap();
    code_and_output(&child.wait_with_output().unwrap())
}

fn site() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("pkg")).unwrap();
    for name in ["c.js", "c.wasm", "c.css"] {
        std::fs::write(root.path().join("pkg").join(name), "x").unwrap();
    }
    let manifest = r#"{"js":"/pkg/c.js","wasm":"/pkg/c.wasm","css":"/pkg/c.css","status_js":"/pkg/c.js","status_css":"/pkg/c.css"}"#;
    std::fs::write(root.path().join("manifest.json"), manifest).unwrap();
    root
}

/// A running `serve`.
struct ConsoleProcess {
    child: Child,
    address: String,
}

impl ConsoleProcess {
    fn start(arguments: &[&str]) -> Self {
        let mut child =
            console_command(&["serve", "--listen", "127.0.0.1:0", "--log-level", "debug"])
                .args(arguments)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("galera-console listens on http://")
            .unwrap_or_else(|| panic!("{line}"));
        Self {
            address: address.to_owned(),
            child,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The status line of a plain GET.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    async fn wait_until_ready(&self) {
        eventually("the console is ready", async || {
            self.get("/readyz").contains(" 200 ")
        })
        .await;
    }

    fn stop(mut self) -> i32 {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for ConsoleProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// etcd processes whose command line contains `directory`.
fn processes_of(directory: &Path) -> Vec<Pid> {
    let directory = directory.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(directory) && line.contains("--listen-client-urls")
    })
    .filter_map(Pid::from_raw)
    .collect()
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

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
        (&["--version"][..], env!("CARGO_PKG_VERSION")),
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

#[tokio::test]
async fn the_audit_trail_is_compared_with_anchors() {
    let etcd = TestEtcd::process().await;
    let url = etcd.url();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let secret = secret.to_str().unwrap();
    assert_eq!(run(&["secret", "new", secret]).0, 0);
    let settings = ["--etcd-endpoints", &url, "--state-secret-file", secret];
    let add = [
        "user",
        "add",
        "dora",
        "--role",
        "viewer",
        "--password-stdin",
    ];
    let (code, text) = run_with_stdin(&[&add[..], &settings].concat(), PASSWORD);
    assert_eq!(code, 0, "{text}");
    let verify = |arguments: &[&str]| run(&[&["audit", "verify"], arguments, &settings].concat());
    let (code, text) = verify(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("Authenticated by the state secret up to entry 1."),
        "{text}"
    );
    let anchor = text.split_whitespace().find(|word| word.starts_with("1:"));
    let anchor = anchor.unwrap();
    let later = format!("2:{}", "0".repeat(64));
    let other = format!("1:{}", "0".repeat(64));
    let file = folder.path().join("anchors");
    let file = file.to_str().unwrap();
    std::fs::write(file, format!("2026-11-28T09:00:00Z {anchor}\n")).unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    for (arguments, exit, words) in [
        (["--expect", anchor], 0, ["1 anchor matches", ""]),
        (["--anchors", file], 0, ["1 anchor matches", ""]),
        (["--expect", &later], 70, ["cut:", "entry 1"]),
        (["--expect", &other], 70, ["replaced:", "entry 1"]),
        (["--expect", "1"], 64, ["--expect", "SEQ:HASH"]),
        (
            ["--anchors", "/nonexistent/file"],
            64,
            ["--anchors", "/nonexistent/file"],
        ),
        (
            ["--anchors", empty],
            64,
            ["--anchors", "contains no anchor"],
        ),
    ] {
        let (code, text) = verify(&arguments);
        assert_eq!(code, exit, "{arguments:?}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    let archive = folder.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    let archive = archive.to_str().unwrap();
    let export = ["audit", "export", "--archive-dir", archive];
    for _ in 0..2 {
        let (code, text) = run(&[&export[..], &settings].concat());
        assert_eq!(code, 0, "{text}");
        let (code, text) = verify(&["--archive", text.trim()]);
        assert!(code == 0 && text.contains("1 entries verified"), "{text}");
    }
    let (code, text) = run(&[
        &["audit", "export", "--archive-dir", "/nonexistent"][..],
        &settings,
    ]
    .concat());
    assert!(code == 64 && text.contains("/nonexistent"), "{text}");
    let (code, text) = verify(&["--archive", file]);
    assert!(
        code == 64 && text.contains("--archive") && text.contains(file),
        "{text}"
    );
    let (code, text) = run(&["audit", "verify", "--etcd-endpoints", &url]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("--state-secret-file"), "{text}");
}

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

#[tokio::test]
async fn shutdown_is_prompt() {
    let etcd = TestEtcd::process().await;
    let site = site();
    let serving = ConsoleProcess::start(&[
        "--etcd-endpoints",
        &etcd.url(),
        "--site-root",
        site.path().to_str().unwrap(),
    ]);
    serving.wait_until_ready().await;
    // Neither an idle connection nor half a request delays shutdown.
    let _idle = TcpStream::connect(&serving.address).unwrap();
    let mut half = TcpStream::connect(&serving.address).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let began = Instant::now();
    assert_eq!(serving.stop(), 0);
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn metrics_can_have_a_dedicated_address() {
    let etcd = TestEtcd::process().await;
    let site = site();
    let [port] = etcd::free_ports();
    let metrics = format!("127.0.0.1:{port}");
    let serving = ConsoleProcess::start(&[
        "--etcd-endpoints",
        &etcd.url(),
        "--site-root",
        site.path().to_str().unwrap(),
        "--metrics-listen",
        &metrics,
    ]);
    serving.wait_until_ready().await;
    assert!(
        !serving.get("/metrics").contains(" 200 "),
        "no longer on the main address"
    );
    let other = ConsoleProcess {
        child: Command::new("true").spawn().unwrap(),
        address: metrics,
    };
    for (path, status) in [
        ("/metrics", " 200 "),
        ("/healthz", " 200 "),
        ("/api/v1/session", " 404 "),
        ("/", " 404 "),
    ] {
        assert!(
            other.get(path).contains(status),
            "{path}: {}",
            other.get(path)
        );
    }
    assert_eq!(serving.stop(), 0);
}

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

#[test]
fn an_order_key_is_created_private_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("order.key");
    let file = path.to_str().unwrap();
    let created = console_command(&["order-key", "new", file])
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
    let public = String::from_utf8(created.stdout).unwrap();
    assert!(
        public.starts_with("-----BEGIN PUBLIC KEY-----\n"),
        "{public}"
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = console_command(&["order-key", "show", file])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), public);
    let before = std::fs::read(&path).unwrap();
    let (code, text) = run(&["order-key", "new", file]);
    assert_eq!(code, 64, "{text}");
    assert!(
        text.contains(file) && text.contains("not overwritten"),
        "{text}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn an_unusable_order_key_exits_64_and_names_file_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let key = path("order.key");
    let public = console_command(&["order-key", "new", &key])
        .output()
        .unwrap()
        .stdout;
    let write = |name: &str, text: &[u8], mode: u32| {
        std::fs::write(path(name), text).unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path(name), permissions).unwrap();
    };
    write("public", &public, 0o600);
    write("garbage", b"garbage", 0o600);
    write("readable", &std::fs::read(&key).unwrap(), 0o644);
    let other = b"-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----\n";
    write("other", other, 0o600);
    for (name, words) in [
        ("missing", "order-key new"),
        ("public", "contains a public key"),
        ("garbage", "contains no key"),
        ("readable", "chmod 0600"),
        ("other", "not a valid Ed25519 key"),
    ] {
        let file = path(name);
        let data = path("etcd");
        for arguments in [
            &["order-key", "show", &file][..],
            &[
                "check-config",
                "--etcd-data-dir",
                &data,
                "--order-key-file",
                &file,
            ],
        ] {
            let (code, text) = run(arguments);
            assert_eq!(code, 64, "{text}");
            assert!(text.contains(&file) && text.contains(words), "{text}");
        }
    }
}

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
