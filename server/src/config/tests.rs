//! Flags, variables and file in; a configuration or every problem out.

use std::path::Path;

use monitor::mysql::{Tls, TlsSettings, Verify};
use notify::SmtpTls;

mod audit;
mod certificates;
mod databases;
mod listener;
mod metrics_server;
mod otlp;
mod problems;
mod sign_on;
mod sources;

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
fn approvals_can_be_set_for_clusters() {
    let given = flags(&[("cluster-approvals", "prod-*=2, lab=1")]);
    let approvals = load(&given.inputs()).unwrap().approvals;
    let rules: Vec<(String, u32)> = approvals
        .clusters
        .iter()
        .map(|rule| (rule.clusters.to_string(), rule.least))
        .collect();
    assert_eq!(rules, [("prod-*".to_owned(), 2), ("lab".to_owned(), 1)]);
    assert_eq!(approvals.default_count, 1);
    for wrong in ["prod-*", "prod-*=0", "prod-*=17", "a b=2"] {
        let problems = flags(&[("cluster-approvals", wrong)]).problems();
        assert_eq!(problems.len(), 1, "{wrong}");
        assert!(problems[0].contains("--cluster-approvals"), "{problems:?}");
    }
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
