//! An earlier state of etcd, restored while no console ran, and what an operator does about records that are ignored.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use console_core::state_secret::{StateSecretSealer, read_file};
use registry::{RegistryEntry, Transaction, WriteOp};

use crate::etcd::{TestEtcd, eventually};
use crate::program::{ConsoleProcess, PASSWORD, run, run_with_stdin, site};

const PREFIX: &str = "/galera-console";

/// A host with a state secret and a data directory, on an etcd.
pub(crate) struct Host {
    pub(crate) etcd: TestEtcd,
    folder: tempfile::TempDir,
    site: tempfile::TempDir,
}

impl Host {
    pub(crate) async fn new() -> Self {
        let host = Self {
            etcd: TestEtcd::process().await,
            folder: tempfile::tempdir().unwrap(),
            site: site(),
        };
        let secret = host.path("secret");
        assert_eq!(run(&["secret", "new", secret.to_str().unwrap()]).0, 0);
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, data: &str) -> Vec<String> {
        let path = |name| self.path(name).display().to_string();
        let settings = [
            ("--etcd-endpoints", self.etcd.url()),
            ("--state-secret-file", path("secret")),
            ("--data-dir", path(data)),
        ];
        let settings = settings.into_iter();
        settings
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    pub(crate) fn run(&self, command: &[&str]) -> (i32, String) {
        self.run_on("data", command)
    }

    pub(crate) fn run_on(&self, data: &str, command: &[&str]) -> (i32, String) {
        let settings = self.settings(data);
        let settings = settings.iter().map(String::as_str);
        let arguments: Vec<&str> = command.iter().copied().chain(settings).collect();
        run_with_stdin(&arguments, PASSWORD)
    }

    pub(crate) fn succeed(&self, command: &[&str]) -> String {
        let (code, text) = self.run(command);
        assert_eq!(code, 0, "{command:?}: {text}");
        text
    }

    /// A command that has no settings.
    pub(crate) fn succeed_without_settings(&self, command: &[&str]) {
        let (code, text) = run(command);
        assert_eq!(code, 0, "{command:?}: {text}");
    }

    pub(crate) fn add(&self, name: &str, roles: &str) {
        self.succeed(&["user", "add", name, "--role", roles, "--password-stdin"]);
    }

    pub(crate) async fn serve(&self) -> ConsoleProcess {
        self.serve_with(&[]).await
    }

    pub(crate) async fn serve_with(&self, further: &[&str]) -> ConsoleProcess {
        let settings = self.settings("data");
        let mut arguments: Vec<&str> = settings.iter().map(String::as_str).collect();
        arguments.extend(further);
        arguments.extend(["--site-root", self.site.path().to_str().unwrap()]);
        let serving = ConsoleProcess::start(&arguments);
        serving.wait_until_ready().await;
        serving
    }

    /// Every key below the state prefix.
    pub(crate) async fn stored(&self) -> Vec<RegistryEntry> {
        self.etcd
            .registry()
            .list(format!("{PREFIX}/"))
            .await
            .unwrap()
            .entries
    }

    /// Deletes every key below the state prefix.
    pub(crate) async fn empty_etcd(&self) {
        self.put_back(&[]).await;
    }

    /// Puts the state prefix back as it was, at one revision.
    async fn put_back(&self, earlier: &[RegistryEntry]) {
        let now = self.stored().await;
        let added = now
            .iter()
            .filter(|entry| !earlier.iter().any(|before| before.key == entry.key))
            .map(|entry| WriteOp::delete(entry.key.clone()));
        let former = earlier
            .iter()
            .map(|entry| WriteOp::put(entry.key.clone(), entry.value.clone(), None));
        let restoring = Transaction::new().then(added.chain(former));
        self.etcd.registry().transact(&restoring).await.unwrap();
    }
}

/// The whole answer to a request.
pub(crate) fn request(serving: &ConsoleProcess, request: &str, cookie: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(&serving.address).unwrap();
    let host = &serving.address;
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\nCookie: {cookie}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Signs in; the cookie, or the answer that refused it.
pub(crate) fn sign_in(serving: &ConsoleProcess, name: &str) -> Result<String, String> {
    let body = format!(r#"{{"username":"{name}","password":"{PASSWORD}"}}"#);
    let answer = request(serving, "POST /api/v1/session", "", &body);
    let cookie = answer
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, value)| {
            name.eq_ignore_ascii_case("set-cookie") && value.starts_with("galera_console_session=")
        });
    match cookie {
        Some((_, value)) => Ok(value.split(';').next().unwrap().to_owned()),
        None => Err(answer),
    }
}

fn clusters(serving: &ConsoleProcess, cookie: &str) -> String {
    request(serving, "GET /api/v1/clusters", cookie, "")
}

fn metric(serving: &ConsoleProcess, name: &str) -> Option<String> {
    let text = request(serving, "GET /metrics", "", "");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("galera_console_{name} ")))?;
    Some(line.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_put_back_while_no_console_ran_are_ignored_until_they_are_accepted() {
    let host = Host::new().await;
    host.add("ada", "admin");
    host.add("eve", "admin,approver");
    let serving = host.serve().await;
    let before = sign_in(&serving, "ada").unwrap();
    let eve = sign_in(&serving, "eve").unwrap();
    assert_eq!(serving.stop(), 0);
    let earlier = host.stored().await;
    host.succeed(&["user", "remove", "eve"]);
    host.add("later", "viewer");
    // The whole prefix as it was, sessions included.
    host.put_back(&earlier).await;

    let serving = host.serve().await;
    assert!(sign_in(&serving, "eve").unwrap_err().contains(" 401 "));
    assert!(sign_in(&serving, "later").unwrap_err().contains(" 401 "));
    for cookie in [&before, &eve] {
        let answer = clusters(&serving, cookie);
        assert!(answer.contains(" 401 "), "a session put back: {answer}");
    }
    let ada = sign_in(&serving, "ada").unwrap();
    eventually("the page names it", async || {
        let page = clusters(&serving, &ada);
        page.contains("etcd holds an earlier state") && page.contains("the accounts eve, later")
    })
    .await;
    let audit = request(&serving, "GET /api/v1/audit?limit=100", &ada, "");
    assert!(audit.contains("\"earlier_state_found\""), "{audit}");
    assert_ne!(metric(&serving, "tampered_records").unwrap(), "0");
    assert_eq!(serving.stop(), 0);

    // Found again, it ends no session again.
    let serving = host.serve().await;
    assert!(
        clusters(&serving, &ada).contains(" 200 "),
        "the session of ada continues"
    );
    let text = host.succeed(&["state", "show"]);
    assert!(
        text.contains("/users/eve") && text.contains("an older version was put back"),
        "{text}"
    );
    let (code, text) = host.run(&["state", "accept"]);
    assert_eq!(code, 64, "{text}");
    assert!(
        text.contains("Nothing was changed") && text.contains("--confirm --reason"),
        "{text}"
    );
    let text = host.succeed(&[
        "state",
        "accept",
        "--confirm",
        "--reason",
        "backup of Friday",
    ]);
    assert!(
        text.contains("Accepted /galera-console/users/eve"),
        "{text}"
    );
    assert!(
        text.contains("Accepted that /galera-console/users/later is missing"),
        "{text}"
    );
    eventually("the notice ends", async || {
        !clusters(&serving, &ada).contains("earlier state")
    })
    .await;
    eventually("eve can sign in", async || sign_in(&serving, "eve").is_ok()).await;
    let audit = request(&serving, "GET /api/v1/audit?limit=100", &ada, "");
    assert!(
        audit.contains("\"records_accepted\"") && audit.contains("backup of Friday"),
        "{audit}"
    );
    assert_eq!(serving.stop(), 0);
    let (code, text) = host.run(&["state", "show"]);
    assert!(
        code == 0 && text.contains("Every record is genuine"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_a_data_directory_does_not_recognize_it() {
    // What the threat model says of it; the other test would prove nothing if this one failed.
    let host = Host::new().await;
    host.add("ada", "admin");
    host.add("eve", "viewer");
    let earlier = host.stored().await;
    host.succeed(&["user", "remove", "eve"]);
    host.put_back(&earlier).await;
    let (code, text) = host.run_on("other", &["user", "list"]);
    assert!(code == 0 && text.contains("\neve"), "{text}");
    assert!(
        !host.succeed(&["user", "list"]).contains("\neve"),
        "but this one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_fell_is_found_even_if_no_record_differs() {
    let mut host = Host::new().await;
    host.add("ada", "admin");
    let serving = host.serve().await;
    let cookie = sign_in(&serving, "ada").unwrap();
    assert_eq!(serving.stop(), 0);
    let earlier = host.stored().await;
    let TestEtcd::Process(process) = &mut host.etcd else {
        unreachable!("a process");
    };
    process.kill(0);
    process.wipe(0);
    host.etcd.restart().await;
    host.put_back(&earlier).await;
    let serving = host.serve().await;
    assert!(clusters(&serving, &cookie).contains(" 401 "));
    let ada = sign_in(&serving, "ada").unwrap();
    eventually("the page names it", async || {
        clusters(&serving, &ada).contains("its revision fell from")
    })
    .await;
    assert_eq!(metric(&serving, "etcd_restored").unwrap(), "1");
    assert_eq!(serving.stop(), 0);
    // The finding outlives a restart, and ends when it is accepted while no console runs.
    let serving = host.serve().await;
    assert_eq!(metric(&serving, "etcd_restored").unwrap(), "1");
    assert_eq!(serving.stop(), 0);
    host.succeed(&["state", "accept", "--confirm", "--reason", "new disks"]);
    let serving = host.serve().await;
    eventually("it is accepted", async || {
        metric(&serving, "etcd_restored").as_deref() == Some("0")
    })
    .await;
    assert!(clusters(&serving, &ada).contains(" 200 "));
    assert_eq!(serving.stop(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ignored_record_is_discarded_after_its_key_was_repeated() {
    let host = Host::new().await;
    host.add("ada", "admin");
    let intruder = host.etcd.registry();
    let key = "/galera-console/corrections/lab";
    let forged = br#"{"before":"2026-01-01T00:00:00Z"}"#;
    intruder.put(key, forged.as_slice(), None).await.unwrap();
    let discard = ["state", "discard", key];
    let (code, text) = host.run(&discard);
    assert_eq!(code, 64, "{text}");
    for part in [
        "correction of known positions",
        "it is not sealed",
        "Nothing was changed",
        "--confirm",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        intruder
            .get(key)
            .await
            .unwrap()
            .is_some_and(|entry| entry.value == forged)
    );
    let wrong = [
        &discard[..],
        &["--confirm", "/galera-console/corrections/labs"],
    ]
    .concat();
    assert_eq!(host.run(&wrong).0, 64);
    host.succeed(&[&discard[..], &["--confirm", key]].concat());
    assert!(
        host.succeed(&["state", "show"])
            .contains("Every record is genuine")
    );
    let audit = host.succeed(&["audit", "export"]);
    assert!(
        audit.contains("record_discarded") && audit.contains(key),
        "{audit}"
    );
    assert_eq!(host.run(&["audit", "verify"]).0, 0);
    // Put back later, it is recognized by everybody: a note of its removal is sealed.
    intruder.put(key, forged.as_slice(), None).await.unwrap();
    assert!(host.succeed(&["state", "show"]).contains(key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_discarded_is_refused_with_the_remedy() {
    let host = Host::new().await;
    host.add("ada", "admin");
    let expectations = [
        ("/galera-console/users/ada", "user remove ada"),
        (
            "/galera-console/switches/global",
            "resume or pause recovery",
        ),
        ("/galera-console/keys/session", "rotate-session-key"),
        ("/galera-console/audit/head", "audit verify"),
        ("/galera-console/leader", "not the key of a sealed record"),
        ("/galera/lab/n1/phase", "not the key of a sealed record"),
        ("/galera-console/corrections/none", "does not exist"),
        ("", "not the key of a sealed record"),
    ];
    for (key, remedy) in expectations {
        let (code, text) = host.run(&["state", "discard", key, "--confirm", key]);
        assert_eq!(code, 64, "{key}: {text}");
        assert!(text.contains(remedy), "{key}: {text}");
    }
    let unsealed = ["state", "show", "--etcd-endpoints", &host.etcd.url()];
    let (code, text) = run(&unsealed);
    assert!(code == 64 && text.contains("--state-secret-file"), "{text}");
}

#[tokio::test]
async fn an_unusable_data_directory_exits_64_and_names_the_file() {
    let host = Host::new().await;
    host.add("ada", "admin");
    let file = host.path("data/seen-records");
    let genuine = std::fs::read_to_string(&file).unwrap();
    let refused = |text: &str, expected: &str| {
        std::fs::write(&file, text).unwrap();
        let (code, text) = host.run(&["user", "list"]);
        assert_eq!(code, 64, "{text}");
        assert!(
            text.contains("seen-records") && text.contains(expected),
            "{text}"
        );
    };
    refused(
        &genuine.replace("users/ada", "users/bob"),
        "changed by another program",
    );
    refused("", "not a file of seen records");
    std::fs::write(&file, &genuine).unwrap();
    let settings = host.settings("data");
    let mut arguments = vec!["user", "list", "--state-prefix", "/other"];
    arguments.extend(settings.iter().map(String::as_str));
    let (code, text) = run(&arguments);
    assert!(
        code == 64 && text.contains("belongs to the state prefix"),
        "{text}"
    );
    assert!(Path::new(&file).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discarding_an_action_frees_its_cluster() {
    let host = Host::new().await;
    host.add("ada", "admin");
    let secrets = read_file(&host.path("secret")).unwrap();
    let sealer = Arc::new(StateSecretSealer::new(PREFIX, secrets));
    let console = host.etcd.registry().with_sealer(sealer);
    console
        .put(format!("{PREFIX}/open/lab"), "1-2", None)
        .await
        .unwrap();
    console
        .put(format!("{PREFIX}/open/other"), "3-4", None)
        .await
        .unwrap();
    let key = format!("{PREFIX}/actions/1-2");
    let action = r#"{"kind":"bootstrap","cluster":"lab","state":"approved"}"#;
    let intruder = host.etcd.registry();
    intruder.put(key.as_str(), action, None).await.unwrap();
    assert!(
        host.succeed(&["state", "show"])
            .contains("action; 55 bytes that no console wrote")
    );
    let text = host.succeed(&["state", "discard", &key, "--confirm", &key]);
    assert!(
        text.contains("Removed /galera-console/open/lab, which named it."),
        "{text}"
    );
    let open = console
        .list(format!("{PREFIX}/open/"))
        .await
        .unwrap()
        .entries;
    assert_eq!(open.len(), 1, "{open:?}");
    // A genuine record goes only if a console is said to ignore it.
    let open = format!("{PREFIX}/open/other");
    let (code, text) = host.run(&["state", "discard", &open, "--confirm", &open]);
    assert!(code == 64 && text.contains("--force"), "{text}");
    host.succeed(&["state", "discard", &open, "--confirm", &open, "--force"]);
    assert_eq!(console.get(open.as_str()).await.unwrap(), None);
}
