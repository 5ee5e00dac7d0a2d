use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use testing::certificates::{
    FUTURE, TestAuthority, VALID, unusable_client_certificates, write_private,
};

use super::*;

fn read_with(
    pairs: &[(&str, &str)],
    address: Option<&str>,
) -> Result<ReportSettings, SettingError> {
    let mut map = HashMap::from([("CLUSTER_NAME", "lab"), ("DISCOVERY_SERVICE", "etcd1")]);
    map.extend(pairs.iter().copied());
    let source = SettingsSource::new(|name| map.get(name).map(Into::into));
    ReportSettings::read(&source, || address.map(|text| text.parse().unwrap()))
}

fn read(pairs: &[(&str, &str)]) -> Result<ReportSettings, SettingError> {
    read_with(pairs, Some("10.0.0.7"))
}

#[test]
fn defaults() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.node.to_string(), "10.0.0.7");
    assert_eq!(settings.ttl, Duration::from_secs(10));
    assert_eq!(settings.database.location(), "127.0.0.1:3306");
    assert_eq!(settings.health.unwrap().to_string(), "[::]:9200");
    assert_eq!(settings.keys.root_prefix(), "/galera/");
    assert_eq!(settings.registry.urls().unwrap(), ["http://etcd1:2379"]);
}

#[test]
fn the_identity_includes_a_non_default_port() {
    for (address, port, expected) in [
        ("db1", "3306", "db1"),
        ("db1", "3307", "db1:3307"),
        ("db1:3306", "3307", "db1"),
        ("db1:4000", "3306", "db1:4000"),
        ("::1", "3306", "::1"),
        ("::1", "3307", "[::1]:3307"),
    ] {
        let settings = read(&[("NODE_ADDRESS", address), ("MYSQL_PORT", port)]).unwrap();
        assert_eq!(settings.node.to_string(), expected, "{address} {port}");
    }
}

#[test]
fn several_etcd_hosts() {
    let settings = read(&[("DISCOVERY_SERVICE", "a, b:4001 ,http://c:1,")]).unwrap();
    assert_eq!(
        settings.registry.urls().unwrap(),
        ["http://a:2379", "http://b:4001", "http://c:1"]
    );
}

#[test]
fn health_address_is_parsed() {
    for (text, expected) in [
        ("off", None),
        ("OFF", None),
        (":80", Some("[::]:80")),
        ("127.0.0.1:0", Some("127.0.0.1:0")),
    ] {
        let health = read(&[("HEALTH_LISTEN", text)]).unwrap().health;
        assert_eq!(
            health.map(|address| address.to_string()).as_deref(),
            expected,
            "{text}"
        );
    }
}

const TOO_LONG: &str = "a name that is far longer than any that a server would take, and not even Galera would start with it";

#[test]
fn every_error_names_the_variable_and_the_remedy() {
    for (name, value, remedy) in [
        ("CLUSTER_NAME", "", "set it to"),
        ("CLUSTER_NAME", TOO_LONG, "at most 96"),
        ("DISCOVERY_SERVICE", " , ", "host:port"),
        ("DISCOVERY_SERVICE", "ftp://x", "host:port"),
        ("DISCOVERY_SERVICE", "https://x", "authority"),
        ("TTL", "0", "3 to 3600"),
        ("TTL", "ten", "3 to 3600"),
        ("NODE_ADDRESS", "<script>", "letters"),
        ("NODE_ADDRESS", "h:0", "1 to 65535"),
        ("REGISTRY_PREFIX", "galera", "slash"),
        ("REGISTRY_PREFIX", "/", "slash"),
        ("MYSQL_PORT", "99999", "1 to 65535"),
        ("MYSQL_HOST", "db:3306", "letters"),
        ("HEALTH_LISTEN", "9200", ":9200"),
        ("LIVENESS_SOCKET", "agent.sock", "absolute path"),
        ("LIVENESS_SOCKET", "/run/", "absolute path"),
        ("LIVENESS_SOCKET", "/run/a\nb", "absolute path"),
    ] {
        let error = read(&[(name, value)]).unwrap_err();
        assert_eq!(error.variable, name, "{value}");
        assert!(error.reason.contains(remedy), "{error}");
        assert!(!error.permission_denied);
    }
    let error = read_with(&[], None).unwrap_err();
    assert_eq!(error.variable, "NODE_ADDRESS");
}

#[test]
fn values_are_read_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (password, name) = (file("password", "hunter 2\r\n"), file("name", "prod\n"));
    let (empty, binary) = (file("empty", "\n"), dir.path().join("binary"));
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    let settings = read(&[
        ("CLUSTER_NAME", ""),
        ("CLUSTER_NAME_FILE", &name),
        ("MYSQL_PASSWORD_FILE", &password),
    ])
    .unwrap();
    assert_eq!(settings.cluster.as_str(), "prod");
    assert_eq!(
        settings.database.password.as_ref().unwrap().expose(),
        "hunter 2"
    );
    assert!(!format!("{settings:?}").contains("hunter"));
    for path in [&empty, binary.to_str().unwrap(), "/nonexistent/file"] {
        let error = read(&[("MYSQL_PASSWORD_FILE", path)]).unwrap_err();
        assert_eq!(error.variable, "MYSQL_PASSWORD_FILE");
        assert!(error.reason.contains(path), "{error}");
    }
    let twice = read(&[("MYSQL_PASSWORD", "x"), ("MYSQL_PASSWORD_FILE", &password)]).unwrap_err();
    assert!(twice.reason.contains("twice"), "{twice}");
}

#[test]
fn the_default_liveness_socket_follows_the_health_endpoint() {
    for (health, expected) in [
        ("", Some("/run/galera-agent/9200.sock")),
        ("0.0.0.0:9200", Some("/run/galera-agent/9200.sock")),
        (":9201", Some("/run/galera-agent/9201.sock")),
        (
            "10.0.0.7:9200",
            Some("/run/galera-agent/10.0.0.7-9200.sock"),
        ),
        ("[::1]:9200", Some("/run/galera-agent/::1-9200.sock")),
        ("127.0.0.1:0", None),
        ("off", None),
    ] {
        let socket = read(&[("HEALTH_LISTEN", health)]).unwrap().liveness_socket;
        assert_eq!(socket, expected.map(PathBuf::from), "{health}");
    }
    let socket = |value| {
        read(&[("HEALTH_LISTEN", "off"), ("LIVENESS_SOCKET", value)])
            .unwrap()
            .liveness_socket
    };
    assert_eq!(socket("/tmp/a"), Some("/tmp/a".into()));
    assert_eq!(socket("OFF"), None);
}

#[test]
fn the_length_of_a_socket_path_is_limited() {
    let path = |length: usize| format!("/{}", "a".repeat(length - 1));
    let longest = path(liveness_socket::PATH_MAX);
    assert!(read(&[("LIVENESS_SOCKET", &longest)]).is_ok());
    // The limit is the system's.
    let address = std::os::unix::net::SocketAddr::from_pathname(&longest);
    assert!(address.is_ok(), "{address:?}");
    let long = path(liveness_socket::PATH_MAX + 1);
    assert!(std::os::unix::net::SocketAddr::from_pathname(&long).is_err());
    let error = read(&[("LIVENESS_SOCKET", &long)]).unwrap_err();
    assert_eq!(error.variable, "LIVENESS_SOCKET");
    assert!(
        error.reason.contains("108 bytes") && error.reason.contains("at most 107"),
        "{error}"
    );
}

/// Variables that are read and variables in the tables of docs/agent.md.
#[test]
fn the_documentation_lists_every_variable() {
    let read = std::cell::RefCell::new(BTreeSet::new());
    let source = SettingsSource::new(|name| {
        read.borrow_mut()
            .insert(name.trim_end_matches("_FILE").to_owned());
        match name {
            "CLUSTER_NAME" | "DISCOVERY_SERVICE" | "MYSQL_ROOT_PASSWORD" => Some("lab".into()),
            _ => None,
        }
    });
    let address = || Some("10.0.0.7".parse().unwrap());
    ReportSettings::read(&source, address).unwrap();
    super::run::RunSettings::read(&source, address).unwrap();
    let directory = std::env::temp_dir();
    let source = SettingsSource::new(|name| {
        let given = match name {
            "CLUSTER_NAME" | "DISCOVERY_SERVICE" => Some("lab".into()),
            "ARBITRATOR_DIRECTORY" => Some(directory.clone().into()),
            _ => None,
        };
        read.borrow_mut()
            .insert(name.trim_end_matches("_FILE").to_owned());
        given
    });
    super::arbitrator::ArbitratorSettings::read(&source, address).unwrap();

    let page = include_str!("../../../docs/agent.md");
    let tables = page
        .split("| variable | default | meaning |")
        .skip(1)
        .flat_map(|table| {
            table
                .lines()
                .skip(2)
                .take_while(|line| line.starts_with('|'))
        });
    let documented: BTreeSet<String> = tables
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|names| names.split('`').skip(1).step_by(2))
        .map(|name| name.trim_end_matches("_FILE").to_owned())
        .collect();
    assert_eq!(read.take(), documented);
}

#[test]
fn tls_needs_an_authority() {
    assert_eq!(read(&[]).unwrap().database.tls, Tls::Off);
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, key.cert.pem()).unwrap();
    let (ca, broken) = (ca.to_str().unwrap(), directory.path().join("broken.pem"));
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nx").unwrap();
    let broken = broken.to_str().unwrap();
    let tls = |pairs: &[(&str, &str)]| read(pairs).map(|settings| settings.database.tls);
    let settings = TlsSettings::new(ca);
    let only_ca = Tls::Required(TlsSettings {
        verify: Verify::Authority,
        ..settings.clone()
    });
    let authority = ("MYSQL_TLS_CA", ca);
    assert_eq!(tls(&[authority]).unwrap(), Tls::Required(settings.clone()));
    assert_eq!(
        tls(&[authority, ("MYSQL_TLS", "preferred")]).unwrap(),
        Tls::Preferred(settings)
    );
    assert_eq!(
        tls(&[authority, ("MYSQL_TLS_VERIFY", "ca")]).unwrap(),
        only_ca
    );
    assert_eq!(tls(&[authority, ("MYSQL_TLS", "off")]).unwrap(), Tls::Off);
    for (pairs, variable) in [
        (&[("MYSQL_TLS", "required")][..], "MYSQL_TLS_CA"),
        (&[("MYSQL_TLS", "preferred")], "MYSQL_TLS_CA"),
        (&[authority, ("MYSQL_TLS", "on")], "MYSQL_TLS"),
        (
            &[authority, ("MYSQL_TLS_VERIFY", "none")],
            "MYSQL_TLS_VERIFY",
        ),
        (&[authority, ("MYSQL_TLS_CERT", ca)], "MYSQL_TLS_KEY"),
        (&[authority, ("MYSQL_TLS_KEY", ca)], "MYSQL_TLS_CERT"),
        (
            &[("MYSQL_TLS_CERT", ca), ("MYSQL_TLS_KEY", ca)],
            "MYSQL_TLS_CA",
        ),
        (
            &[("MYSQL_TLS_CA", broken)],
            "MYSQL_TLS_CA, MYSQL_TLS_CERT, MYSQL_TLS_KEY",
        ),
        (
            &[("MYSQL_TLS_CA", "/nonexistent")],
            "MYSQL_TLS_CA, MYSQL_TLS_CERT, MYSQL_TLS_KEY",
        ),
    ] {
        let error = tls(pairs).unwrap_err();
        assert_eq!(error.variable, variable, "{error}");
    }
}

#[test]
fn a_name_that_no_node_can_join_is_refused_before_anything_is_founded() {
    let read = |name: &str| {
        let source = SettingsSource::new(|variable| match variable {
            "CLUSTER_NAME" => Some(name.into()),
            "DISCOVERY_SERVICE" | "MYSQL_ROOT_PASSWORD" => Some("lab".into()),
            _ => None,
        });
        super::run::RunSettings::read(&source, || Some("10.0.0.7".parse().unwrap()))
    };
    for name in ["a".repeat(32), "é".repeat(16), "two words/100%".to_owned()] {
        let settings = read(&name).unwrap();
        assert_eq!(*settings.cluster.wsrep_name(), name);
    }
    for (name, bytes) in [
        ("a".repeat(33), 33),
        ("é".repeat(17), 34),
        ("集".repeat(11), 33),
    ] {
        let error = read(&name).err().unwrap();
        assert_eq!(error.variable, "CLUSTER_NAME");
        let reason = format!("has {bytes} bytes; Galera allows 32");
        assert!(error.reason.starts_with(&reason), "{error}");
    }
}

#[test]
fn tls_files_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("lab");
    let ca = write_private(directory.path(), "ca.pem", authority.pem());
    let ca = ca.to_str().unwrap();
    let (good, good_key) = authority
        .issue("client", VALID)
        .write(directory.path(), "own");
    let with = |prefix: &str, ca: &str, certificate: &Path, key: &Path| {
        let (ca_name, certificate_name, key_name) = (
            format!("{prefix}_CA"),
            format!("{prefix}_CERT"),
            format!("{prefix}_KEY"),
        );
        read(&[
            ("DISCOVERY_SERVICE", "https://etcd1"),
            ("ETCD_CA", ca),
            (&ca_name, ca),
            (&certificate_name, certificate.to_str().unwrap()),
            (&key_name, key.to_str().unwrap()),
        ])
    };
    for prefix in ["ETCD", "MYSQL_TLS"] {
        with(prefix, ca, &good, &good_key).unwrap();
        for (certificate, key, words) in unusable_client_certificates(directory.path(), &authority)
        {
            let error = with(prefix, ca, &certificate, &key).unwrap_err();
            assert!(error.variable.contains(prefix), "{error}");
            for words in words {
                assert!(
                    error.reason.contains(words),
                    "{words} is missing in: {error}"
                );
            }
        }
        let (empty, key) = (
            directory.path().join("empty.pem"),
            good_key.to_str().unwrap(),
        );
        for (ca, words) in [
            (
                empty.to_str().unwrap(),
                "has no CA certificate that can be used (it is empty)",
            ),
            (
                key,
                "own.key has no CA certificate that can be used (it has a private key)",
            ),
        ] {
            let error = with(prefix, ca, &good, &good_key).unwrap_err();
            assert!(
                error.reason.contains(words),
                "{words} is missing in: {error}"
            );
        }
        // The clock of a machine may be behind when it starts: the reason for a refusal names the certificate.
        let (future, key) = authority
            .issue("client", FUTURE)
            .write(directory.path(), "future");
        with(prefix, ca, &future, &key).unwrap();
    }
}
