//! Flags, variables and file in; a configuration or every problem out.

use std::path::Path;

use monitor::mysql::{Tls, TlsSettings, Verify};
use notify::SmtpTls;

mod listener;

use super::settings::markdown_table;
use super::*;
use crate::telemetry::LogFormat;
use galera::access::Role;

#[derive(Default)]
struct InputsBuilder {
    flags: Vec<(&'static str, &'static str)>,
    environment: Vec<(&'static str, String)>,
    file: Option<String>,
}

impl InputsBuilder {
    fn inputs(&self) -> ConfigInputs {
        let mut flags = FlagValues::new();
        for (flag, value) in &self.flags {
            flags.entry(flag).or_default().push((*value).to_owned());
        }
        ConfigInputs {
            flags,
            environment: self
                .environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            file: self
                .file
                .clone()
                .map(|text| ("/etc/console.toml".into(), text)),
            program_dir: "/opt/console".into(),
            state_dir: Some("/var/lib/galera-console/etcd".into()),
        }
    }

    fn problems(&self) -> Vec<String> {
        load(&self.inputs())
            .unwrap_err()
            .0
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

fn flags(flags: &[(&'static str, &'static str)]) -> InputsBuilder {
    InputsBuilder {
        flags: flags.to_vec(),
        ..InputsBuilder::default()
    }
}

fn file(text: &str) -> InputsBuilder {
    InputsBuilder {
        file: Some(text.to_owned()),
        ..InputsBuilder::default()
    }
}

/// A certificate that is its own authority, and its key.
fn certificate_files() -> (tempfile::NamedTempFile, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    let write = |text: String| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        file
    };
    (
        write(made.cert.pem()),
        write(made.signing_key.serialize_pem()),
    )
}

#[test]
fn tls_to_the_databases_needs_an_authority() {
    let (certificate, key) = certificate_files();
    let (ca, key) = (certificate.path().display(), key.path().display());
    let tls = |text: String| load(&file(&format!("[mysql]\n{text}")).inputs()).map(|c| c.mysql.tls);
    let settings = TlsSettings::new(certificate.path());
    assert_eq!(tls(String::new()).unwrap(), Tls::Off);
    assert_eq!(
        tls(format!("tls_ca = \"{ca}\"")).unwrap(),
        Tls::Required(settings.clone())
    );
    assert_eq!(
        tls(format!("tls = \"preferred\"\ntls_ca = \"{ca}\"")).unwrap(),
        Tls::Preferred(settings)
    );
    assert_eq!(
        tls(format!("tls = \"off\"\ntls_ca = \"{ca}\"")).unwrap(),
        Tls::Off
    );
    for (text, words) in [
        ("tls = \"required\"".to_owned(), "requires --mysql-tls-ca"),
        ("tls = \"preferred\"".to_owned(), "requires --mysql-tls-ca"),
        ("tls = \"on\"".to_owned(), "off, preferred or required"),
        (
            "tls_verify = \"identity\"".to_owned(),
            "requires --mysql-tls-ca",
        ),
        (
            format!("tls_ca = \"{ca}\"\ntls_verify = \"no\""),
            "ca or identity",
        ),
        (
            format!("tls_ca = \"{ca}\"\ntls_cert = \"{ca}\""),
            "requires --mysql-tls-key",
        ),
        (
            format!("tls_ca = \"{ca}\"\ntls_key = \"{key}\""),
            "requires --mysql-tls-cert",
        ),
        (format!("tls_ca = \"{key}\""), "contains no certificate"),
        (
            format!("tls_ca = \"{ca}\"\ntls_cert = \"{ca}\"\ntls_key = \"{ca}\""),
            "cannot be used",
        ),
    ] {
        let error = tls(text.clone()).unwrap_err().to_string();
        assert!(
            error.contains(words),
            "{text}: {words} is missing in: {error}"
        );
    }
}

#[test]
fn the_recovery_account_warns_without_verified_tls() {
    let (certificate, _) = certificate_files();
    let ca = certificate.path().display();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "hunter2\n").unwrap();
    let path = secret.path().display();
    let preferred = format!("tls = \"preferred\"\ntls_ca = \"{ca}\"");
    let required = format!("tls_ca = \"{ca}\"");
    for (mysql, transport, words) in [
        (
            "",
            "verified",
            Some("SQL actions are unavailable for nodes on other hosts"),
        ),
        ("", "any", Some("without verified TLS")),
        (preferred.as_str(), "verified", None),
        (preferred.as_str(), "any", Some("without verified TLS")),
        (required.as_str(), "verified", None),
        (required.as_str(), "any", None),
    ] {
        let text = format!(
            "[mysql]\n{mysql}\n[recovery]\nuser = \"recovery\"\npassword_file = \"{path}\"\ntransport = \"{transport}\""
        );
        let config = load(&file(&text).inputs()).unwrap();
        let warnings: Vec<&str> = config.warnings.iter().map(|w| w.message.as_str()).collect();
        match words {
            Some(words) => assert!(
                warnings.len() == 1 && warnings[0].contains(words),
                "{warnings:?}"
            ),
            None => assert!(warnings.is_empty(), "{warnings:?}"),
        }
    }
}

#[test]
fn defaults_are_a_valid_configuration() {
    let config = load(&InputsBuilder::default().inputs()).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.http.site_root, Path::new("/opt/console/site"));
    assert_eq!(config.limits, LimitsConfig::default());
    assert!(
        matches!(&config.etcd, EtcdConfig::Embedded(path) if path == Path::new("/var/lib/galera-console/etcd"))
    );
    assert_eq!(
        (
            config.registry_prefix.as_str(),
            config.state_prefix.as_str()
        ),
        ("/galera", "/galera-console")
    );
    assert_eq!(
        (config.mysql.user.as_str(), config.mysql.port),
        ("console", 3306)
    );
    assert_eq!(
        (config.poll_interval, config.probe_timeout),
        (Duration::from_secs(1), Duration::from_secs(3))
    );
    assert_eq!(config.approvals.default_count, 1);
    assert!(!config.approvals.allows_acting_alone());
    assert_eq!(config.http.session_lifetime, Duration::from_secs(12 * 3600));
    assert!(config.clusters.is_empty() && config.recovery.is_none() && config.warnings.is_empty());
}

#[test]
fn durations_of_sessions_can_be_switched_off_and_roles_are_checked() {
    let config = load(&InputsBuilder::default().inputs()).unwrap().http;
    assert_eq!(config.session_idle_timeout, None);
    assert_eq!(config.step_up_interval, Some(Duration::from_secs(900)));
    assert!(config.second_factor_roles.is_empty());
    let given = flags(&[
        ("step-up-interval", "0"),
        ("session-idle-timeout", "30m"),
        ("second-factor-roles", "approver, admin"),
    ]);
    let config = load(&given.inputs()).unwrap().http;
    assert_eq!(config.step_up_interval, None);
    assert_eq!(
        config.session_idle_timeout,
        Some(Duration::from_secs(1_800))
    );
    assert_eq!(config.second_factor_roles, [Role::Approver, Role::Admin]);
    for (flag, value, part) in [
        ("second-factor-roles", "king", "unknown role \"king\""),
        ("session-idle-timeout", "5s", "1m"),
        ("step-up-interval", "soon", "soon"),
    ] {
        let problems = flags(&[(flag, value)]).problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let problem = &problems[0];
        assert!(
            problem.contains(flag) && problem.contains(part),
            "{problem}"
        );
    }
}

#[test]
fn precedence_is_flag_variable_file_default() {
    let mut given = file("poll_interval = \"5s\"");
    let poll = |given: &InputsBuilder| load(&given.inputs()).unwrap().poll_interval.as_secs();
    assert_eq!(poll(&InputsBuilder::default()), 1);
    assert_eq!(poll(&given), 5);
    given
        .environment
        .push(("GALERA_CONSOLE_POLL_INTERVAL", "4s".to_owned()));
    assert_eq!(poll(&given), 4);
    given.flags.push(("poll-interval", "2s"));
    assert_eq!(poll(&given), 2);
}

#[test]
fn every_setting_has_its_key_in_the_file() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "hunter2\n").unwrap();
    let path = secret.path().display();
    let (certificate, key) = certificate_files();
    let (ca, tls_key) = (certificate.path().display(), key.path().display());
    let directory = tempfile::tempdir().unwrap();
    let order_key = directory.path().join("order.key");
    order_signature::create_key_file(&order_key).unwrap();
    let order_key = order_key.display();
    let state_secret = directory.path().join("state-secret");
    console_core::state_secret::generate_file(&state_secret).unwrap();
    let state_secret = state_secret.display();
    let token = directory.path().join("metrics-token");
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    let token = token.display();
    let listener = listener::files(&["console.example.org"]);
    let (listener_cert, listener_key) = (listener.cert(), listener.key());
    let given = file(&format!(
        r#"
listen = "0.0.0.0:8080"
public_url = "https://console.example.org"
site_root = "/srv/site"
allowed_hosts = ["console.internal", "10.0.0.7:3000"]
metrics_listen = "127.0.0.1:9100"
metrics_token_file = "{token}"
trusted_proxies = ["10.0.0.0/8"]
session_lifetime = "8h"
session_idle_timeout = "30m"
step_up_interval = "5m"
second_factor_roles = ["approver", "admin"]
data_dir = "/srv/data"
poll_interval = "500ms"
probe_timeout = "2s"
probe_allow = ["127.0.0.0/8"]
approvals = 2
request_expiry = "10m"
approval_expiry = "2m"
log_format = "json"
log_level = "debug"
[tls]
cert = "{listener_cert}"
key = "{listener_key}"
[limits]
connections = 5000
connections_per_address = 100
connections_per_proxy = 4000
header_timeout = "5s"
write_timeout = "30s"
password_hashes = 4
dns_lookups = 8
anonymous_renders = 1
requests_per_account = 20
live_per_account = 10
live_per_address = 20
[etcd]
endpoints = ["https://etcd-1:2379", "https://etcd-2:2379"]
user = "console"
password_file = "{path}"
ca = "{path}"
cert = "{path}"
key = "{path}"
data_dir = "/unused"
[registry]
prefix = "/nodes"
[state]
prefix = "/console"
secret_file = "{state_secret}"
migration = "never"
[mysql]
user = "reader"
password_file = "{path}"
port = 3307
tls = "preferred"
tls_ca = "{ca}"
tls_verify = "ca"
tls_cert = "{ca}"
tls_key = "{tls_key}"
[recovery]
user = "operator"
password_file = "{path}"
transport = "any"
[orders]
key_file = "{order_key}"
[audit]
anchor_entries = 50
anchor_interval = "5m"
anchor_file = "/srv/anchors"
anchor_url = "https://loghost.example.org/anchors"
anchor_secret_file = "{token}"
retention = "365d"
archive_dir = "/srv/archive"
[history]
retention = "30d"
max_changes = 1000
[smtp]
host = "mail.example.org"
port = 2525
tls = "implicit"
user = "console"
password_file = "{path}"
from = "Galera Console <console@example.org>"
[notify]
allow = ["127.0.0.0/8"]
ca = "{path}"
[clusters]
lab = ["10.0.0.1", "10.0.0.2:3307", "10.0.0.3:3306"]
"odd.name" = ["db1"]
"#
    ));
    let config = load(&given.inputs()).unwrap();
    let EtcdConfig::Cluster(etcd) = &config.etcd else {
        panic!("endpoints were given")
    };
    assert_eq!(
        etcd.endpoints,
        ["https://etcd-1:2379", "https://etcd-2:2379"]
    );
    assert_eq!(etcd.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(
        config.recovery.as_ref().unwrap().password.expose(),
        "hunter2"
    );
    assert_eq!(
        (config.mysql.user.as_str(), config.mysql.port),
        ("reader", 3307)
    );
    let tls = TlsSettings {
        ca: certificate.path().to_owned(),
        identity: Some((certificate.path().to_owned(), key.path().to_owned())),
        verify: Verify::Authority,
    };
    assert_eq!(config.mysql.tls, Tls::Preferred(tls));
    assert!(config.recovery.as_ref().unwrap().any_transport);
    let smtp = config.notify.smtp.as_ref().unwrap();
    assert_eq!((smtp.port, smtp.tls), (2525, SmtpTls::Implicit));
    assert_eq!(smtp.account.as_ref().unwrap().1.expose(), "hunter2");
    let lab: Vec<String> = config.clusters[&"lab".parse().unwrap()]
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lab, ["10.0.0.1", "10.0.0.2", "10.0.0.3:3306"]);
    assert_eq!(config.clusters.len(), 2);
    assert_eq!(config.approvals.default_count, 2);
    assert_eq!(
        config.log,
        LogConfig {
            format: LogFormat::Json,
            level: "debug".to_owned()
        }
    );
    let report = config.report();
    assert!(!report.contains("hunter2"), "{report}");
    assert_eq!(report.lines().count(), settings::ALL.len(), "{report}");
    for setting in settings::ALL {
        let line = report
            .lines()
            .find(|line| line.starts_with(setting.flag))
            .unwrap();
        assert!(line.contains("/etc/console.toml:"), "{line}");
    }
}

#[test]
fn what_was_seen_is_kept_in_the_data_directory_or_beside_the_embedded_etcd() {
    let secret = console_core::state_secret::new_secret().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file: &'static str = file.display().to_string().leak();
    let seen = |given: &[(&'static str, &'static str)]| {
        let config = load(&flags(given).inputs()).unwrap();
        let seen = config.state_secret.and_then(|secret| secret.seen_records);
        (seen, config.etcd)
    };
    let (at, EtcdConfig::Embedded(etcd)) = seen(&[]) else {
        panic!("embedded by default")
    };
    let beside = Path::new("/var/lib/galera-console/etcd.seen-records");
    assert_eq!(
        (at.as_deref(), etcd.as_path()),
        (Some(beside), Path::new("/var/lib/galera-console/etcd"))
    );
    let (at, EtcdConfig::Embedded(etcd)) = seen(&[("data-dir", "/srv/data")]) else {
        panic!("embedded by default")
    };
    let within = Path::new("/srv/data/seen-records");
    assert_eq!(
        (at.as_deref(), etcd.as_path()),
        (Some(within), Path::new("/srv/data/etcd"))
    );
    let external = ("etcd-endpoints", "http://etcd:2379");
    let secret = ("state-secret-file", file);
    assert_eq!(seen(&[external, secret]).0, None);
    let (at, _) = seen(&[external, secret, ("data-dir", "/srv/data")]);
    assert_eq!(at.as_deref(), Some(within));
    // Without a secret nothing is sealed.
    let config = load(&flags(&[external, ("data-dir", "/srv/data")]).inputs()).unwrap();
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("--data-dir") && text.contains("--state-secret-file")),
        "{warnings:?}"
    );
}

#[test]
fn e_mail_needs_a_server_and_a_sender() {
    for (given, words) in [
        (vec![("smtp-host", "mail")], "requires --smtp-from"),
        (vec![("smtp-from", "a@example.org")], "without --smtp-host"),
        (
            vec![("smtp-host", "mail"), ("smtp-from", "nobody")],
            "is not a valid sender",
        ),
        (
            vec![
                ("smtp-host", "mail"),
                ("smtp-from", "a@example.org"),
                ("smtp-user", "console"),
            ],
            "requires --smtp-password-file",
        ),
        (
            vec![("smtp-tls", "ssl")],
            "expected starttls, implicit or none",
        ),
        (
            vec![("notify-allow", "localhost")],
            "is not a valid network",
        ),
    ] {
        let problems = flags(&given).problems().join("\n");
        assert!(problems.contains(words), "{given:?}: {problems}");
    }
    let given = [("smtp-host", "mail"), ("smtp-from", "a@example.org")];
    let config = load(&flags(&given).inputs()).unwrap();
    assert_eq!(config.notify.smtp.unwrap().port, 587);
}

#[test]
fn every_setting_has_its_variable() {
    for setting in settings::ALL {
        let environment = vec![(setting.variable(), String::new())]
            .into_iter()
            .collect();
        let inputs = ConfigInputs {
            environment,
            ..InputsBuilder::default().inputs()
        };
        assert!(
            load(&inputs).is_ok(),
            "an empty {} means not set",
            setting.variable()
        );
    }
    let given = InputsBuilder {
        environment: vec![
            (
                "GALERA_CONSOLE_CLUSTER",
                "lab=10.0.0.1,10.0.0.2 other=[::1]:3307".to_owned(),
            ),
            (
                "GALERA_CONSOLE_ETCD_ENDPOINTS",
                "http://a:2379, http://b:2379".to_owned(),
            ),
            ("PATH", "/bin".to_owned()),
        ],
        ..InputsBuilder::default()
    };
    let config = load(&given.inputs()).unwrap();
    assert_eq!(config.clusters.len(), 2);
    assert!(matches!(&config.etcd, EtcdConfig::Cluster(etcd) if etcd.endpoints.len() == 2));
}

#[test]
fn a_wrong_value_is_reported_with_origin_and_remedy() {
    for (flag, value, words) in [
        (
            "listen",
            "3000",
            &["--listen", "\"3000\"", "127.0.0.1:3000"][..],
        ),
        ("listen", "db:3000", &["--listen", "ADDRESS:PORT"]),
        (
            "public-url",
            "console.example.org",
            &["--public-url", "https://"],
        ),
        ("public-url", "https://x/console", &["--public-url", "path"]),
        (
            "trusted-proxies",
            "10.0.0.0/33",
            &["--trusted-proxies", "10.0.0.0/8"],
        ),
        (
            "session-lifetime",
            "1s",
            &["--session-lifetime", "2s", "720h"],
        ),
        (
            "etcd-endpoints",
            "ftp://x",
            &["--etcd-endpoints", "ftp://x"],
        ),
        (
            "etcd-endpoints",
            "https://x:2379",
            &["--etcd-endpoints", "--etcd-ca"],
        ),
        ("etcd-endpoints", ",", &["--etcd-endpoints", "empty"]),
        (
            "registry-prefix",
            "galera",
            &["--registry-prefix", "/galera"],
        ),
        (
            "registry-prefix",
            "/galera/",
            &["--registry-prefix", "ends with /"],
        ),
        (
            "state-prefix",
            "/galera/console",
            &["--state-prefix", "overlap"],
        ),
        ("cluster", "lab", &["--cluster", "NAME=HOST"]),
        ("cluster", "a b=h", &["--cluster", "cluster name"]),
        ("cluster", "lab=10.0.0.1,", &["--cluster", "empty"]),
        (
            "cluster",
            "lab=10.0.0.1,10.0.0.1:3306",
            &["--cluster", "twice"],
        ),
        ("cluster", "lab=h:0", &["--cluster", "port"]),
        ("cluster", "lab=<script>", &["--cluster", "'<'"]),
        ("mysql-port", "0", &["--mysql-port", "65535"]),
        (
            "mysql-password-file",
            "/nonexistent/x",
            &["--mysql-password-file", "/nonexistent/x", "does not exist"],
        ),
        (
            "mysql-password-file",
            "/tmp",
            &["--mysql-password-file", "directory"],
        ),
        (
            "mysql-password-file",
            "/dev/null",
            &["--mysql-password-file", "empty"],
        ),
        (
            "mysql-tls-ca",
            "/nonexistent/ca.pem",
            &["--mysql-tls-ca", "/nonexistent/ca.pem"],
        ),
        (
            "etcd-user",
            "console",
            &["--etcd-user", "--etcd-password-file"],
        ),
        (
            "recovery-user",
            "root",
            &["--recovery-user", "--recovery-password-file"],
        ),
        ("poll-interval", "1", &["--poll-interval", "500ms"]),
        ("poll-interval", "10ms", &["--poll-interval", "100ms"]),
        ("poll-interval", "-1s", &["--poll-interval", "duration"]),
        ("approvals", "-1", &["--approvals", "0 to 16"]),
        ("request-expiry", "1s", &["--request-expiry", "10s"]),
        ("log-format", "xml", &["--log-format", "json"]),
        ("log-level", "galera_console=loud", &["--log-level", "info"]),
    ] {
        let problems = flags(&[(flag, value)]).problems();
        assert!(!problems.is_empty(), "--{flag} {value}");
        let text = problems.join("\n");
        for word in words {
            assert!(
                text.contains(word),
                "--{flag} {value}: {word} is missing in: {text}"
            );
        }
        assert!(problems.iter().all(|line| !line.contains('\n')));
    }
}

#[test]
fn contradictory_settings_are_reported() {
    for (given, word) in [
        (
            flags(&[("poll-interval", "100ms"), ("probe-timeout", "10s")]),
            "60 times the poll interval",
        ),
        (
            flags(&[
                ("listen", "127.0.0.1:3000"),
                ("metrics-listen", "127.0.0.1:3000"),
            ]),
            "same address",
        ),
        (
            flags(&[("etcd-cert", "/dev/null"), ("etcd-endpoints", "http://x")]),
            "requires --etcd-key",
        ),
        (
            flags(&[("etcd-ca", "/dev/null"), ("etcd-endpoints", "http://x")]),
            "https",
        ),
        (flags(&[("etcd-ca", "/dev/null")]), "embedded etcd"),
        (
            flags(&[("registry-prefix", "/x"), ("state-prefix", "/x")]),
            "overlap",
        ),
        (
            flags(&[("cluster", "lab=a"), ("cluster", "lab=b")]),
            "given twice",
        ),
        (
            flags(&[("approvals", "1"), ("approvals", "2")]),
            "more than once",
        ),
        (
            file("listen = \"127.0.0.1:1\"\n[serve]\nlisten = \"127.0.0.1:2\""),
            "given twice",
        ),
    ] {
        let text = given.problems().join("\n");
        assert!(text.contains(word), "{word} is missing in: {text}");
    }
    let homeless = ConfigInputs {
        state_dir: None,
        ..InputsBuilder::default().inputs()
    };
    assert!(
        load(&homeless)
            .unwrap_err()
            .to_string()
            .contains("--etcd-data-dir")
    );
}

#[test]
fn unknown_names_are_reported_with_a_suggestion() {
    let mut given = file(
        "pol_interval = \"1s\"\nnonsense = 1\n[etcd]\nendpoint = \"http://x\"\n[mysql]\nport = [1.5]\n",
    );
    given
        .environment
        .push(("GALERA_CONSOLE_LISTN", "x".to_owned()));
    given
        .environment
        .push(("GALERA_CONSOLE_SERVICE_HOST", "10.0.0.1".to_owned()));
    given.environment.push((
        "GALERA_CONSOLE_PORT_3000_TCP",
        "tcp://10.0.0.1:3000".to_owned(),
    ));
    let mut problems = given.problems();
    problems.sort();
    assert_eq!(
        problems,
        [
            "/etc/console.toml:etcd.endpoint: unknown key; did you mean etcd.endpoints?",
            "/etc/console.toml:mysql.port: must be a single string or number",
            "/etc/console.toml:nonsense: unknown key; remove it, or see `galera-console check-config --table`",
            "/etc/console.toml:pol_interval: unknown key; did you mean poll_interval?",
            "GALERA_CONSOLE_LISTN: unknown variable; did you mean GALERA_CONSOLE_LISTEN?",
        ]
    );
}

#[test]
fn a_syntax_error_is_reported_with_its_line() {
    let problems = file("listen = \"127.0.0.1:1\"\nlisten 2").problems();
    assert!(
        problems[0].starts_with("/etc/console.toml: line 2 is not valid TOML"),
        "{problems:?}"
    );
}

#[test]
fn all_problems_are_reported_together() {
    let given = InputsBuilder {
        flags: vec![("listen", "x"), ("cluster", "lab"), ("cluster", "=h")],
        environment: vec![("GALERA_CONSOLE_APPROVALS", "many".to_owned())],
        file: Some("[mysql]\nport = 0\n[recovery]\nuser = \"root\"".to_owned()),
    };
    let problems = load(&given.inputs()).unwrap_err();
    assert_eq!(problems.0.len(), 6, "{problems}");
    assert!(
        problems
            .to_string()
            .starts_with("the configuration has 6 problems:\n  "),
        "{problems}"
    );
}

#[test]
fn admin_commands_validate_only_their_settings() {
    let mut given = file("[mysql]\nport = 0");
    given.flags.push(("etcd-endpoints", "http://a:2379"));
    assert!(load_for_admin(&given.inputs()).is_ok());
    given.file = Some("mysql_prot = 0".to_owned());
    assert!(
        load_for_admin(&given.inputs()).is_err(),
        "an unknown key is an error for every command"
    );
}

#[test]
fn passwords_lose_only_their_trailing_line_break() {
    for (content, expected) in [
        ("pass word \n", "pass word "),
        ("pass\r\n", "pass"),
        (" pass", " pass"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, content).unwrap();
        assert_eq!(read_password(file.path()).unwrap().expose(), expected);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "one\ntwo\n").unwrap();
    assert!(
        read_password(file.path())
            .unwrap_err()
            .contains("more than one line")
    );
}

#[test]
fn unencrypted_traffic_is_warned_about() {
    for (listen, url, warned) in [
        ("127.0.0.1:3000", None, false),
        ("0.0.0.0:3000", None, true),
        ("0.0.0.0:3000", Some("https://console.example.org"), false),
        ("127.0.0.1:3000", Some("http://console.example.org"), true),
        ("0.0.0.0:3000", Some("http://localhost:3000"), false),
    ] {
        let mut given = flags(&[("listen", listen)]);
        given.flags.extend(url.map(|url| ("public-url", url)));
        let config = load(&given.inputs()).unwrap();
        assert_eq!(!config.warnings.is_empty(), warned, "{listen} {url:?}");
    }
}

#[test]
fn durations_are_formatted_as_they_are_parsed() {
    for text in ["500ms", "1s", "90s", "2m", "12h", "36h"] {
        assert_eq!(parse::format_duration(parse::duration(text).unwrap()), text);
    }
    assert_eq!(parse::duration("1.5s"), Ok(Duration::from_millis(1500)));
    for bad in [
        "",
        "s",
        "1",
        "1 week",
        "1.2.3s",
        "-1s",
        "1e9s",
        "99999999999999999999d",
    ] {
        assert!(parse::duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_settings_page_matches_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains(&markdown_table()),
        "docs/settings.md is out of date; insert the output of `galera-console check-config --table`"
    );
}

#[test]
fn approvals_can_be_set_per_kind() {
    let given = flags(&[("approvals", "2,decommission=3, cleanup=0")]);
    let approvals = load(&given.inputs()).unwrap().approvals;
    let expected = BTreeMap::from([(ActionKind::Decommission, 3), (ActionKind::Cleanup, 0)]);
    assert_eq!(
        (approvals.default_count, &approvals.per_kind),
        (2, &expected)
    );
    assert!(approvals.allows_acting_alone());
    for wrong in ["1,2", "bootstrap=1,bootstrap=2", "upgrade=1", "cleanup="] {
        assert_eq!(
            flags(&[("approvals", wrong)]).problems().len(),
            1,
            "{wrong}"
        );
    }
}
