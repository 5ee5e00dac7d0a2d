//! Invalid set-ups are refused immediately: a clear message, a documented exit code, and untouched data.

use std::os::unix::fs::PermissionsExt;

use crate::node::{AgentNode, SECRET, is_root};

const UNREACHABLE_ETCD: &str = "127.0.0.1:1";

#[tokio::test]
async fn wrong_settings_exit_64_and_name_the_variable() {
    for (name, value, words) in [
        ("CLUSTER_NAME", "", "is not set"),
        (
            "CLUSTER_NAME",
            "a-name-of-more-than-thirty-two-bytes",
            "Galera allows 32",
        ),
        ("DISCOVERY_SERVICE", "", "is not set"),
        ("DISCOVERY_SERVICE", "ftp://x", "scheme"),
        ("MYSQL_ROOT_PASSWORD", "", "is not set"),
        ("MYSQL_ROOT_PASSWORD_FILE", "/nonexistent", "twice"),
        ("XTRABACKUP_USER", "x", "set both"),
        ("MYSQL_USER", "shop", "set both"),
        ("MYSQL_PASSWORD", "x", "set both"),
        ("MYSQL_DATABASE", "a`b", "letters"),
        ("CONSOLE_PASSWORD_FILE", "/nonexistent", "/nonexistent"),
        ("CLUSTER_JOIN", "10.0.0.1", "remove one"),
        ("AUTO_BOOTSTRAP", "always", "all-reported"),
        ("EXPECTED_MEMBERS", "0", "1 to 256"),
        ("EXPECTED_MEMBERS", "n1,<x>", "letters"),
        ("GALERA_PORT", "x", "1 to 65535"),
        ("NODE_NAME", "a:b", "letters"),
        ("AVAILABLE_WHEN_DONOR", "maybe", "is not 1 or 0"),
        ("TTL", "1", "3 to 3600"),
    ] {
        let mut node = AgentNode::new("127.0.0.1", UNREACHABLE_ETCD).with_variable(name, value);
        let (code, line) = node.run_refused().await;
        assert_eq!(code, 64, "{name}={value}: {line}");
        assert!(line.contains(words), "{name}={value}: {line}");
        assert_eq!(node.log().lines().count(), 1, "{}", node.log());
        assert!(!node.log().contains(SECRET));
        assert!(node.files().is_empty());
    }
}

#[tokio::test]
async fn an_unusable_order_key_file_exits_64_and_names_file_and_remedy() {
    let key = order_signature::OrderSigningKey::generate().unwrap();
    for (text, words) in [
        (Some("garbage".to_owned()), "order-key new"),
        (Some(key.to_pem().unwrap()), "contains a private key"),
        (
            Some("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned()),
            "not a valid Ed25519 key",
        ),
        (Some(String::new()), "is empty"),
        (None, "cannot read"),
    ] {
        let mut node = AgentNode::new("127.0.0.1", UNREACHABLE_ETCD);
        let path = node.path("keys.pem");
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        node = node.with_variable("ORDER_PUBLIC_KEY_FILE", path.to_str().unwrap());
        let (code, line) = node.run_refused().await;
        assert_eq!(code, 64, "{line}");
        assert!(line.contains("ORDER_PUBLIC_KEY_FILE"), "{line}");
        assert!(line.contains(path.to_str().unwrap()), "{line}");
        assert!(line.contains(words), "{line}");
        assert!(node.files().is_empty());
    }
}

#[tokio::test]
async fn foreign_directories_are_left_untouched() {
    let other = r#"{"id":"a","cluster":"other","prepared":false,"obeyed":[]}"#;
    for (name, text, words) in [
        (
            "thesis.txt",
            "years of work",
            "not a database's data directory",
        ),
        ("ibdata1", "tables", "never part of a Galera cluster"),
        (".galera-agent.json", other, "CLUSTER_NAME is lab"),
        (".galera-agent.json", "{", "unreadable"),
    ] {
        let mut node = AgentNode::new("127.0.0.1", UNREACHABLE_ETCD).with_file(name, text);
        let before = node.files();
        let (code, line) = node.run_refused().await;
        assert_eq!(code, 64, "{line}");
        assert!(line.contains(words), "{line}");
        assert_eq!(node.files(), before);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_exits_77() {
    let mut node = AgentNode::new("127.0.0.1", UNREACHABLE_ETCD);
    std::fs::set_permissions(node.data(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let (code, line) = node.run_refused().await;
    assert_eq!(code, 77, "{line}");
    assert!(line.contains(node.data().to_str().unwrap()), "{line}");
    std::fs::set_permissions(node.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_liveness_socket_in_use_exits_64() {
    let node = AgentNode::new("127.0.0.1", UNREACHABLE_ETCD);
    let socket = node.path("liveness").to_str().unwrap().to_owned();
    let _other_agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut node = node.with_variable("LIVENESS_SOCKET", &socket);
    let (code, line) = node.run_refused().await;
    assert_eq!(code, 64, "{line}");
    assert!(
        line.contains("LIVENESS_SOCKET") && line.contains("another process"),
        "{line}"
    );
    assert!(node.files().is_empty());
}

#[tokio::test]
async fn servers_that_cannot_be_run_are_reported() {
    let galera = "--wsrep-provider=/usr/lib/galera/libgalera_smm.so";
    for (program, arguments, code, words) in [
        ("mariadbd-that-is-missing", &[][..], 69, "cannot be run"),
        ("mariadbd", &["--wsrep-on=OFF", galera], 64, "wsrep_on=ON"),
        (
            "mariadbd",
            &["--wsrep-on=ON", galera, "--no-such-option"],
            64,
            "no-such-option",
        ),
        (
            "mariadbd",
            &["--wsrep-on=ON", galera, "--wsrep-sst-method=mariabackup"],
            64,
            "XTRABACKUP_PASSWORD",
        ),
    ] {
        let mut node = AgentNode::new("127.0.0.1", UNREACHABLE_ETCD)
            .with_program(program)
            .with_server_arguments(arguments);
        let (exit, line) = node.run_refused().await;
        assert_eq!(exit, code, "{line}");
        assert!(line.contains(words), "{line}");
    }
}

#[tokio::test]
async fn root_is_refused() {
    if !is_root() {
        return;
    }
    let mut node = AgentNode::new("127.0.0.1", UNREACHABLE_ETCD);
    node.start_as_current_user();
    assert_eq!(node.wait().await, 64);
    assert!(node.log().contains("not as root"), "{}", node.log());
}
