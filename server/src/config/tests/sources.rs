//! Flags, variables and the file: precedence and completeness.

use super::*;

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
    let roles = directory.path().join("roles.toml");
    std::fs::write(
        &roles,
        "[[rule]]\ngroup = \"dba\"\nroles = [\"operator\"]\n",
    )
    .unwrap();
    let roles = roles.display();
    let listener = listener::files(&["console.example.org"]);
    let (listener_cert, listener_key) = (listener.cert(), listener.key());
    let headers = directory.path().join("otlp-headers");
    std::fs::write(&headers, "x-tenant: 7\n").unwrap();
    // A build without the feature refuses these: `otlp` in these tests has it.
    let otlp = match cfg!(feature = "otlp") {
        true => format!(
            "[otlp]\nendpoint = \"https://collector\"\nheaders_file = \"{}\"\nca = \"{ca}\"\ntimeout = \"5s\"\nsampling = 0.5\nmetrics_interval = \"0\"",
            headers.display()
        ),
        false => String::new(),
    };
    let given = file(&format!(
        r#"
listen = "0.0.0.0:8080"
public_url = "https://console.example.org"
site_root = "/srv/site"
allowed_hosts = ["console.internal", "10.0.0.7:3000"]
metrics_listen = "127.0.0.1:9100"
metrics_token_file = "{token}"
metrics_nodes = "unhealthy"
trusted_proxies = ["10.0.0.0/8"]
session_lifetime = "8h"
session_idle_timeout = "30m"
step_up_interval = "5m"
second_factor_roles = ["approver", "admin"]
token_lifetime_max = "30d"
service_approval = "allow"
local_accounts = "off"
data_dir = "/srv/data"
poll_interval = "500ms"
probe_timeout = "2s"
probe_allow = ["127.0.0.0/8"]
approvals = 2
cluster_approvals = ["prod-*=2"]
cluster_labels = ["*:env=test", "prod-*:env=production,team=payments"]
request_expiry = "10m"
approval_expiry = "2m"
log_format = "json"
log_level = "debug"
[tls]
cert = "{listener_cert}"
key = "{listener_key}"
[oidc]
issuer = "https://idp.example.org"
client_id = "console"
client_secret_file = "{path}"
roles = "{roles}"
name = "Example"
ca = "{ca}"
session_lifetime = "4h"
[limits]
clusters = 300
connections = 5000
connections_per_address = 100
connections_per_proxy = 4000
header_timeout = "5s"
write_timeout = "30s"
password_hashes = 4
dns_lookups = 8
anonymous_renders = 1
requests_per_account = 20
token_requests = 100
live_per_account = 10
live_per_address = 20
[metrics_query]
url = "https://metrics.example.org"
user = "console"
password_file = "{path}"
ca = "{ca}"
{otlp}
[etcd]
endpoints = ["https://etcd-1:2379", "https://etcd-2:2379"]
user = "console"
password_file = "{path}"
ca = "{ca}"
cert = "{listener_cert}"
key = "{listener_key}"
quota = "8GiB"
data_dir = "/unused"
[registry]
dialect = "v2"
v2_endpoints = ["http://127.0.0.1:4001"]
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
ca = "{ca}"
approval_links = "on"
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
    assert!(config.notify.approval_links);
    assert_eq!(config.approval_links_missing(), None);
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
    let labels = |name: &str| config.labels.of(&name.parse().unwrap());
    assert_eq!(labels("lab")["env"], "test");
    assert_eq!(labels("prod-eu")["env"], "production");
    assert_eq!(labels("prod-eu")["team"], "payments");
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
    // A token excludes the password: `metrics_server` in these tests has it.
    let excluded = &settings::METRICS_QUERY_TOKEN_FILE;
    let is_included = |setting: &&&settings::Setting| {
        setting.flag != excluded.flag
            && (cfg!(feature = "otlp") || !setting.flag.starts_with("otlp-"))
    };
    for setting in settings::ALL.iter().filter(is_included) {
        let line = report
            .lines()
            .find(|line| line.starts_with(setting.flag))
            .unwrap();
        assert!(line.contains("/etc/console.toml:"), "{line}");
    }
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
fn the_settings_page_matches_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains(&markdown_table()),
        "docs/settings.md is out of date; insert the output of `galera-console check-config --table`"
    );
}
