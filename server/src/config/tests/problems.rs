//! What is reported of a wrong configuration.

use super::*;

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
        ("cluster", "=h", &["--cluster", "cluster name"]),
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
        ("cluster-label", "env=test", &["--cluster-label", "prod-*"]),
        (
            "cluster-label",
            "lab:env",
            &["--cluster-label", "env=production"],
        ),
        ("cluster-label", "a:x=1,x=2", &["--cluster-label", "twice"]),
        (
            "cluster-approvals",
            "env==2",
            &["--cluster-approvals", "env=production=2"],
        ),
        (
            "cluster-approvals",
            "lab=2:dba+dba",
            &["--cluster-approvals", "dba"],
        ),
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
    let (certificate, _) = certificate_files();
    let ca = certificate.path().display();
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
            file(&format!(
                "[etcd]\nca = \"{ca}\"\nendpoints = [\"http://x\"]"
            )),
            "https",
        ),
        (file(&format!("[etcd]\nca = \"{ca}\"")), "embedded etcd"),
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
