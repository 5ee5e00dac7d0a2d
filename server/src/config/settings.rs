//! The table of settings: flags, environment variables, file keys, help texts and docs/settings.md are derived from
//! it.

use super::problem::closest_match;

/// Prefix of every environment variable of the console.
pub const VARIABLE_PREFIX: &str = "GALERA_CONSOLE_";

/// Which commands use a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingScope {
    /// `serve` and `check-config` only.
    Serve,
    /// Also the `user` and `audit` commands.
    AllCommands,
}

/// The default of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingDefault {
    /// This text, parsed like a given one.
    Value(&'static str),
    /// Determined at start, as the text describes.
    Computed(&'static str),
    /// None; the text describes the effect.
    Absent(&'static str),
}

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag without its dashes.
    pub flag: &'static str,
    /// The key in the file: `section.key`, or a top-level `key` (`serve.key` is a synonym).
    pub key: &'static str,
    /// Placeholder for the value.
    pub value: &'static str,
    pub default: SettingDefault,
    /// Whether it may be given more than once.
    pub repeatable: bool,
    pub scope: SettingScope,
    /// One sentence for the help text.
    pub help: &'static str,
}

impl Setting {
    /// The name of the environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!(
            "{VARIABLE_PREFIX}{}",
            self.flag.to_ascii_uppercase().replace('-', "_")
        )
    }

    /// The default as the table shows it.
    #[must_use]
    pub const fn default_text(&self) -> &'static str {
        match self.default {
            SettingDefault::Value(text)
            | SettingDefault::Computed(text)
            | SettingDefault::Absent(text) => text,
        }
    }

    const fn new(
        flag: &'static str,
        key: &'static str,
        value: &'static str,
        default: SettingDefault,
        help: &'static str,
    ) -> Self {
        Self {
            flag,
            key,
            value,
            default,
            repeatable: false,
            scope: SettingScope::Serve,
            help,
        }
    }

    const fn for_all_commands(self) -> Self {
        Self {
            scope: SettingScope::AllCommands,
            ..self
        }
    }

    const fn repeatable(self) -> Self {
        Self {
            repeatable: true,
            ..self
        }
    }
}

use SettingDefault::{Absent, Computed, Value};

macro_rules! settings {
    ($($name:ident = $setting:expr;)*) => {
        $(#[doc = concat!("The setting `", stringify!($name), "`.")] pub static $name: Setting = $setting;)*
        /// Every setting, in the order of the table.
        pub static ALL: &[&Setting] = &[$(&$name),*];
    };
}

settings! {
    LISTEN = Setting::new("listen", "listen", "ADDRESS:PORT", Value("127.0.0.1:3000"),
        "Address of pages and API; port 0 picks a free one.");
    PUBLIC_URL = Setting::new("public-url", "public_url", "URL", Absent("the request's Host header"),
        "Address that browsers use, e.g. https://console.example.org; https, like --tls-cert, makes the session cookie Secure.").for_all_commands();
    TLS_CERT = Setting::new("tls-cert", "tls.cert", "FILE", Absent("no TLS on --listen"),
        "Certificate (PEM) of --listen, followed by intermediate authorities; read again when it changes.");
    TLS_KEY = Setting::new("tls-key", "tls.key", "FILE", Absent("none"),
        "Private key (PEM) of that certificate; not readable by every user.");
    ALLOWED_HOSTS = Setting::new("allowed-hosts", "allowed_hosts", "HOST[:PORT],…", Absent("that of --public-url only; every host without --public-url"),
        "Host names and addresses that clients may use, in addition to --public-url and loopback addresses; without a port, on every port.").repeatable();
    SITE_ROOT = Setting::new("site-root", "site_root", "DIR", Computed("`site` beside the program"),
        "Directory of the built site (made by `make build`).");
    METRICS_LISTEN = Setting::new("metrics-listen", "metrics_listen", "ADDRESS:PORT", Absent("served on --listen"),
        "Dedicated address of /metrics, /healthz and /readyz, always without TLS; /metrics is then not served on --listen.");
    METRICS_TOKEN_FILE = Setting::new("metrics-token-file", "metrics_token_file", "FILE", Absent("/metrics needs no token"),
        "File with the token that /metrics requires as Authorization: Bearer.");
    METRICS_NODES = Setting::new("metrics-nodes", "metrics_nodes", "all|unhealthy|none", Value("all"),
        "Nodes with separate series in /metrics; unhealthy are those with an abnormal state, queue or source, and clusters always have theirs.");
    METRICS_QUERY_URL = Setting::new("metrics-query-url", "metrics_query.url", "URL", Absent("own records only"),
        "Prometheus-compatible server that stores this console's /metrics, queried for figures from before the console's own records; the address below which it serves /api/v1.");
    METRICS_QUERY_USER = Setting::new("metrics-query-user", "metrics_query.user", "NAME", Absent("no password"),
        "User name for that server (HTTP Basic).");
    METRICS_QUERY_PASSWORD_FILE = Setting::new("metrics-query-password-file", "metrics_query.password_file", "FILE", Absent("none"),
        "File with the password of that user.");
    METRICS_QUERY_TOKEN_FILE = Setting::new("metrics-query-token-file", "metrics_query.token_file", "FILE", Absent("none"),
        "File with the token that the server requires as Authorization: Bearer.");
    METRICS_QUERY_CA = Setting::new("metrics-query-ca", "metrics_query.ca", "FILE", Absent("the system's authorities only"),
        "Certificate authority (PEM) of that server's certificate, in addition to the system's.");
    OTLP_ENDPOINT = Setting::new("otlp-endpoint", "otlp.endpoint", "URL", Absent("no export"),
        "OpenTelemetry collector that traces and metrics are sent to by OTLP over HTTP; the address below which it serves /v1/traces and /v1/metrics. All settings of otlp need a build with the feature otlp.");
    OTLP_HEADERS_FILE = Setting::new("otlp-headers-file", "otlp.headers_file", "FILE", Absent("none"),
        "File with headers of the requests to it, one Name: value a line, such as Authorization.");
    OTLP_CA = Setting::new("otlp-ca", "otlp.ca", "FILE", Absent("the system's authorities only"),
        "Certificate authority (PEM) of the collector's certificate, in addition to the system's.");
    OTLP_TIMEOUT = Setting::new("otlp-timeout", "otlp.timeout", "DURATION", Value("10s"),
        "Deadline of a request to the collector, 10s at most.");
    OTLP_SAMPLING = Setting::new("otlp-sampling", "otlp.sampling", "RATIO", Value("1"),
        "Share of the traces that begin here and are exported, from 0 to 1; of a request with traceparent, its flag decides.");
    OTLP_METRICS_INTERVAL = Setting::new("otlp-metrics-interval", "otlp.metrics_interval", "DURATION", Value("60s"),
        "Time between two exports of what /metrics shows; 0 exports no metrics.");
    TRUSTED_PROXIES = Setting::new("trusted-proxies", "trusted_proxies", "ADDRESS[/BITS],…", Absent("none"),
        "Reverse proxies whose X-Forwarded-For is trusted when limits apply per address.").repeatable();
    MAX_CONNECTIONS = Setting::new("max-connections", "limits.connections", "COUNT", Value("6000"),
        "Open connections, about 16 kB of memory each; the last tenth is reserved for addresses with fewer than 8.");
    MAX_CONNECTIONS_PER_ADDRESS = Setting::new("max-connections-per-address", "limits.connections_per_address", "COUNT", Value("512"),
        "Open connections of one client address (IPv6: one /64 network).");
    MAX_CONNECTIONS_PER_PROXY = Setting::new("max-connections-per-proxy", "limits.connections_per_proxy", "COUNT", Value("5000"),
        "Open connections of one address of --trusted-proxies.");
    HEADER_TIMEOUT = Setting::new("header-timeout", "limits.header_timeout", "DURATION", Value("15s"),
        "How long a client may take for a TLS handshake or to send the head of a request, and how long an idle connection stays open.");
    WRITE_TIMEOUT = Setting::new("write-timeout", "limits.write_timeout", "DURATION", Value("20s"),
        "How long a client may take to read 16 kB of a response.");
    MAX_PASSWORD_HASHES = Setting::new("max-password-hashes", "limits.password_hashes", "COUNT", Value("2"),
        "Passwords checked concurrently, each with 46 MiB and one core; a further sign-in waits up to 5 s.");
    MAX_DNS_LOOKUPS = Setting::new("max-dns-lookups", "limits.dns_lookups", "COUNT", Value("32"),
        "Concurrent look-ups of host names of databases and receivers, each on a dedicated thread; further ones wait.");
    MAX_ANONYMOUS_RENDERS = Setting::new("max-anonymous-renders", "limits.anonymous_renders", "COUNT", Value("2"),
        "Pages rendered concurrently for clients without a session (sign-in, unknown paths); a further one waits up to 1 s.");
    MAX_REQUESTS_PER_ACCOUNT = Setting::new("max-requests-per-account", "limits.requests_per_account", "COUNT", Value("64"),
        "Requests of one account that are handled concurrently, until the client has read the response; WebSocket connections are counted separately.");
    MAX_TOKEN_REQUESTS = Setting::new("max-token-requests", "limits.token_requests", "COUNT", Value("600"),
        "Requests of one API token in a minute; up to as many at a time after a pause.");
    MAX_LIVE_PER_ACCOUNT = Setting::new("max-live-per-account", "limits.live_per_account", "COUNT", Value("100"),
        "Open WebSocket connections of one account.");
    MAX_LIVE_PER_ADDRESS = Setting::new("max-live-per-address", "limits.live_per_address", "COUNT", Value("500"),
        "Open WebSocket connections of one client address, as --trusted-proxies forward it.");
    SESSION_LIFETIME = Setting::new("session-lifetime", "session_lifetime", "DURATION", Value("12h"),
        "Lifetime of a session.");
    SESSION_IDLE_TIMEOUT = Setting::new("session-idle-timeout", "session_idle_timeout", "DURATION", Value("0"),
        "How long a session lasts without use, at least 1m; 0 for its whole lifetime. Updates of an open page are not a use.");
    STEP_UP_INTERVAL = Setting::new("step-up-interval", "step_up_interval", "DURATION", Value("15m"),
        "How long signing in, or entering a password or code again, permits approvals, emergency overrides and account changes; 0 for the whole session.");
    SECOND_FACTOR_ROLES = Setting::new("second-factor-roles", "second_factor_roles", "ROLE,…", Absent("none"),
        "Roles whose accounts must sign in with a second factor; without one they can only enrol it.").repeatable();
    TOKEN_LIFETIME_MAX = Setting::new("token-lifetime-max", "token_lifetime_max", "DURATION", Value("90d"),
        "Longest validity of a person's API token; one of a service account is valid for a year at most.");
    SERVICE_APPROVAL = Setting::new("service-approval", "service_approval", "allow|refuse", Value("refuse"),
        "Whether service accounts with the role approver may approve actions, which they do without a second factor.");
    OIDC_ISSUER = Setting::new("oidc-issuer", "oidc.issuer", "URL", Absent("no identity provider"),
        "Issuer of the OpenID Connect provider that people sign in with, exactly as it names itself; requires --public-url, whose /oidc/callback the provider must permit.");
    OIDC_CLIENT_ID = Setting::new("oidc-client-id", "oidc.client_id", "ID", Absent("none"),
        "The console's client ID at the provider; required with --oidc-issuer.");
    OIDC_CLIENT_SECRET_FILE = Setting::new("oidc-client-secret-file", "oidc.client_secret_file", "FILE", Absent("a public client, with PKCE only"),
        "File with the console's client secret at the provider.");
    OIDC_ROLES = Setting::new("oidc-roles", "oidc.roles", "FILE", Absent("none"),
        "Roles file (TOML): which groups of the provider have which roles, on which clusters; required with --oidc-issuer.");
    OIDC_NAME = Setting::new("oidc-name", "oidc.name", "TEXT", Computed("the host of the issuer"),
        "What the sign-in page calls the provider.");
    OIDC_CA = Setting::new("oidc-ca", "oidc.ca", "FILE", Absent("the system's authorities only"),
        "Certificate authority (PEM) of the provider's certificate, in addition to the system's.");
    OIDC_SESSION_LIFETIME = Setting::new("oidc-session-lifetime", "oidc.session_lifetime", "DURATION", Computed("--session-lifetime"),
        "Lifetime of a session that began at the provider, if shorter than --session-lifetime; roles are those of the last sign-in.");
    LOCAL_ACCOUNTS = Setting::new("local-accounts", "local_accounts", "on|off", Value("on"),
        "Whether accounts with a password, and their API tokens, are accepted; off requires --oidc-issuer. Service accounts always are.");
    DATA_DIR = Setting::new("data-dir", "data_dir", "DIR", Absent("with the embedded etcd, files beside its data directory; else none"),
        "Data directory of this host: the seen-records file, by which an earlier state of etcd is recognized at a start, and the recorded series and views of the clusters (without this setting not recorded); `etcd` in it is the default of --etcd-data-dir.").for_all_commands();
    ETCD_ENDPOINTS = Setting::new("etcd-endpoints", "etcd.endpoints", "URL,…", Absent("an embedded etcd"),
        "Members of the etcd cluster that holds the registry and the console's state.").repeatable().for_all_commands();
    ETCD_USER = Setting::new("etcd-user", "etcd.user", "NAME", Absent("no authentication"),
        "User name for etcd.").for_all_commands();
    ETCD_PASSWORD_FILE = Setting::new("etcd-password-file", "etcd.password_file", "FILE", Absent("none"),
        "File with the password of that user.").for_all_commands();
    ETCD_CA = Setting::new("etcd-ca", "etcd.ca", "FILE", Absent("none"),
        "Certificate authority (PEM) of etcd's certificates; required for https endpoints.").for_all_commands();
    ETCD_CERT = Setting::new("etcd-cert", "etcd.cert", "FILE", Absent("none"),
        "Client certificate (PEM) for etcd.").for_all_commands();
    ETCD_KEY = Setting::new("etcd-key", "etcd.key", "FILE", Absent("none"),
        "Private key (PEM) of the client certificate.").for_all_commands();
    ETCD_DATA_DIR = Setting::new("etcd-data-dir", "etcd.data_dir", "DIR",
        Computed("`/var/lib/galera-console/etcd` for root if its parent exists, else `galera-console/etcd` in the user's state directory"),
        "Data directory of the embedded etcd; only used without --etcd-endpoints.").for_all_commands();
    ETCD_QUOTA = Setting::new("etcd-quota", "etcd.quota", "SIZE", Value("2GiB"),
        "Quota of etcd's database (its --quota-backend-bytes), for a warning from 70 % on; etcd 3.6 and later report it, and the embedded etcd has 4GiB.");
    REGISTRY_PREFIX = Setting::new("registry-prefix", "registry.prefix", "KEY", Value("/galera"),
        "etcd prefix under which nodes register.");
    REGISTRY_DIALECT = Setting::new("registry-dialect", "registry.dialect", "auto|v3|v2", Value("auto"),
        "Whether nodes that register with etcd's v2 API are read as well: auto if it has keys below --registry-prefix, v3 never, v2 always, so that a v2 API that cannot be read is reported. The v3 API is always read.");
    REGISTRY_V2_ENDPOINTS = Setting::new("registry-v2-endpoints", "registry.v2_endpoints", "URL,…", Absent("those of --etcd-endpoints"),
        "Members of the etcd whose v2 API those nodes use, if it is another one; reached without an account.").repeatable();
    STATE_PREFIX = Setting::new("state-prefix", "state.prefix", "KEY", Value("/galera-console"),
        "etcd prefix of the console's own state.").for_all_commands();
    STATE_SECRET_FILE = Setting::new("state-secret-file", "state.secret_file", "FILE",
        Computed("with the embedded etcd, `.state-secret` appended to its data directory, created at the first start; else none"),
        "File with the state secret, which seals the console's records in etcd, and in a second line the one before it.").for_all_commands();
    STATE_MIGRATION = Setting::new("state-migration", "state.migration", "once|never", Value("once"),
        "Whether the first start with a state secret seals the records of a console that had none, or ignores them.").for_all_commands();
    CLUSTER = Setting::new("cluster", "clusters", "NAME=HOST[:PORT],…", Absent("discovered in the registry"),
        "Expected members of a cluster; may be repeated (in the variable: separated by spaces; in the file: NAME = [\"HOST\", …]).").repeatable();
    CLUSTER_LABEL = Setting::new("cluster-label", "cluster_labels", "CLUSTER:KEY=VALUE,…", Absent("none"),
        "Labels of clusters, by name or pattern, such as prod-*:env=production,team=payments; of several that give one key, the last that matches counts.").repeatable();
    MYSQL_USER = Setting::new("mysql-user", "mysql.user", "NAME", Value("console"),
        "Account that reads the databases' status.");
    MYSQL_PASSWORD_FILE = Setting::new("mysql-password-file", "mysql.password_file", "FILE", Absent("an empty password"),
        "File with the password of that account.");
    MYSQL_PORT = Setting::new("mysql-port", "mysql.port", "PORT", Value("3306"),
        "Port of nodes registered without one.");
    MYSQL_TLS = Setting::new("mysql-tls", "mysql.tls", "off|preferred|required", Computed("`required` with --mysql-tls-ca, else `off`"),
        "Encryption of the connections to the databases; with preferred, a database that does not offer TLS is read without.");
    MYSQL_TLS_CA = Setting::new("mysql-tls-ca", "mysql.tls_ca", "FILE", Absent("no TLS to the databases"),
        "Certificate authority (PEM) of the databases' certificates; enables TLS.");
    MYSQL_TLS_VERIFY = Setting::new("mysql-tls-verify", "mysql.tls_verify", "ca|identity", Value("identity"),
        "Check of a database's certificate: signed by that authority, and with identity also issued for the node's host name or address.");
    MYSQL_TLS_CERT = Setting::new("mysql-tls-cert", "mysql.tls_cert", "FILE", Absent("none"),
        "Client certificate (PEM) for the databases.");
    MYSQL_TLS_KEY = Setting::new("mysql-tls-key", "mysql.tls_key", "FILE", Absent("none"),
        "Private key (PEM) of the client certificate.");
    RECOVERY_USER = Setting::new("recovery-user", "recovery.user", "NAME", Absent("SQL actions are unavailable"),
        "Account that may act on the databases.");
    RECOVERY_PASSWORD_FILE = Setting::new("recovery-password-file", "recovery.password_file", "FILE", Absent("none"),
        "File with the password of that account.");
    RECOVERY_TRANSPORT = Setting::new("recovery-transport", "recovery.transport", "verified|any", Value("verified"),
        "Connections to other hosts that the recovery account uses: TLS with a verified certificate only, or any, also unencrypted.");
    ORDER_KEY_FILE = Setting::new("order-key-file", "orders.key_file", "FILE", Absent("none; with the embedded etcd a key beside its data directory"),
        "Private key (Ed25519, PEM) that signs bootstrap orders to agents; made by `galera-console order-key new FILE`.");
    POLL_INTERVAL = Setting::new("poll-interval", "poll_interval", "DURATION", Value("1s"),
        "Time between two probes of a database.");
    PROBE_TIMEOUT = Setting::new("probe-timeout", "probe_timeout", "DURATION", Value("3s"),
        "Deadline of one probe.");
    PROBE_ALLOW = Setting::new("probe-allow", "probe_allow", "ADDRESS[/BITS],…",
        Computed("loopback addresses if every etcd endpoint is one or etcd is embedded, else none"),
        "Loopback, link-local and other special addresses at which nodes are probed that --cluster does not pin; private networks are always allowed.").repeatable();
    MAX_CLUSTERS = Setting::new("max-clusters", "limits.clusters", "COUNT", Value("2000"),
        "Clusters that are monitored; those of --cluster always are, and count. A notice names further ones.");
    APPROVALS = Setting::new("approvals", "approvals", "COUNT,KIND=COUNT,…", Value("1"),
        "Approvals required per action; 0 requires none. Can be overridden for each kind (bootstrap, cleanup, decommission, positions, rejoin): 1,decommission=2.");
    CLUSTER_APPROVALS = Setting::new("cluster-approvals", "cluster_approvals", "CLUSTER=COUNT[:GROUP+…],…", Absent("none"),
        "Approvals that actions on some clusters need at least, by name, pattern or label, such as prod-*=2, and groups that must approve, such as env=production=2:dba+sre; of several that match the highest number and every group count, and never less than --approvals.").repeatable();
    REQUEST_EXPIRY = Setting::new("request-expiry", "request_expiry", "DURATION", Value("15m"),
        "How long a request waits for approval.");
    APPROVAL_EXPIRY = Setting::new("approval-expiry", "approval_expiry", "DURATION", Value("5m"),
        "How long an approved action waits for execution.");
    HISTORY_RETENTION = Setting::new("history-retention", "history.retention", "DURATION", Value("90d"),
        "How long verdict and state changes are kept.");
    HISTORY_MAX_CHANGES = Setting::new("history-max-changes", "history.max_changes", "COUNT", Value("200000"),
        "Maximum number of changes kept per cluster, 5 to 10 bytes each; the oldest are deleted first.");
    AUDIT_ANCHOR_ENTRIES = Setting::new("audit-anchor-entries", "audit.anchor_entries", "COUNT", Value("100"),
        "Entries of the audit trail after which an anchor (number and hash of the newest one) is written to the log.");
    AUDIT_ANCHOR_INTERVAL = Setting::new("audit-anchor-interval", "audit.anchor_interval", "DURATION", Value("10m"),
        "Time after which an anchor of new entries is written at the latest.");
    AUDIT_ANCHOR_FILE = Setting::new("audit-anchor-file", "audit.anchor_file", "FILE", Absent("anchors are in the log only"),
        "File to which this replica also appends its anchors; at start the audit trail must contain the last one.");
    AUDIT_ANCHOR_URL = Setting::new("audit-anchor-url", "audit.anchor_url", "URL", Absent("none"),
        "Webhook to which this replica also sends its anchors, as signed JSON.");
    AUDIT_ANCHOR_SECRET_FILE = Setting::new("audit-anchor-secret-file", "audit.anchor_secret_file", "FILE", Absent("none"),
        "File with the secret that signs them, 16 to 256 characters; required with --audit-anchor-url.");
    AUDIT_RETENTION = Setting::new("audit-retention", "audit.retention", "DURATION", Absent("entries are kept for good"),
        "How long entries of the audit trail stay in etcd at least; older ones are moved to --audit-archive-dir.");
    AUDIT_ARCHIVE_DIR = Setting::new("audit-archive-dir", "audit.archive_dir", "DIR", Absent("none"),
        "Existing directory for archive files of the audit trail; required with --audit-retention.");
    SMTP_HOST = Setting::new("smtp-host", "smtp.host", "HOST", Absent("no e-mail"),
        "SMTP server for e-mail notifications; its certificate must be valid for this name.");
    SMTP_PORT = Setting::new("smtp-port", "smtp.port", "PORT", Computed("587, 465 or 25, depending on --smtp-tls"),
        "Port of that server.");
    SMTP_TLS = Setting::new("smtp-tls", "smtp.tls", "starttls|implicit|none", Value("starttls"),
        "Encryption of the connection to it; with starttls, a server that does not offer STARTTLS is refused.");
    SMTP_USER = Setting::new("smtp-user", "smtp.user", "NAME", Absent("no authentication"),
        "User name for that server.");
    SMTP_PASSWORD_FILE = Setting::new("smtp-password-file", "smtp.password_file", "FILE", Absent("none"),
        "File with the password of that account.");
    SMTP_FROM = Setting::new("smtp-from", "smtp.from", "ADDRESS", Absent("none"),
        "Sender of e-mail, e.g. Galera Console <console@example.org>; required with --smtp-host.");
    NOTIFY_ALLOW = Setting::new("notify-allow", "notify.allow", "ADDRESS[/BITS],…", Absent("none"),
        "Loopback, link-local and other special addresses that notification targets may use; private networks are always allowed.").repeatable();
    NOTIFY_CA = Setting::new("notify-ca", "notify.ca", "FILE", Absent("the system's authorities only"),
        "Certificate authority (PEM) of notification targets and the SMTP server, in addition to the system's.");
    APPROVAL_LINKS = Setting::new("approval-links", "notify.approval_links", "on|off", Value("off"),
        "Whether the notification of a request has a link, valid once, by which an approver opens it; requires --public-url and --state-secret-file.");
    LOG_FORMAT = Setting::new("log-format", "log_format", "text|json", Value("text"),
        "Format of the log on standard error.").for_all_commands();
    LOG_LEVEL = Setting::new("log-level", "log_level", "FILTER", Value("info"),
        "Log level (error, warn, info, debug, trace) or filter, e.g. info,galera_console=debug.").for_all_commands();
}

/// The flag and variable of the configuration file itself.
pub static CONFIG: Setting = Setting {
    flag: "config",
    key: "",
    value: "FILE",
    default: Absent("no file"),
    repeatable: false,
    scope: SettingScope::AllCommands,
    help: "Configuration file (TOML).",
};

/// The setting whose file key is `key`.
#[must_use]
pub fn by_key(key: &str) -> Option<&'static Setting> {
    let bare = key
        .strip_prefix("serve.")
        .filter(|rest| !rest.contains('.'))
        .unwrap_or(key);
    ALL.iter().copied().find(|setting| setting.key == bare)
}

/// The known variable most similar to `name`, if it is similar enough to be a typo.
#[must_use]
pub fn similar_variable(name: &str) -> Option<String> {
    closest_match(
        name,
        ALL.iter().copied().chain([&CONFIG]).map(Setting::variable),
    )
}

/// The known file key most similar to `key`, if it is similar enough to be a typo.
#[must_use]
pub fn similar_key(key: &str) -> Option<String> {
    closest_match(key, ALL.iter().map(|setting| setting.key.to_owned()))
}

/// The table of all settings in Markdown, as in docs/settings.md.
#[must_use]
pub fn markdown_table() -> String {
    let mut table =
        String::from("| flag | variable | file key | default | meaning |\n|---|---|---|---|---|\n");
    for setting in [&CONFIG].into_iter().chain(ALL.iter().copied()) {
        let key = match setting.key {
            "" => "—".to_owned(),
            "clusters" => "`[clusters]`".to_owned(),
            key => match key.split_once('.') {
                Some((section, key)) => format!("`[{section}] {key}`"),
                None => format!("`{key}`"),
            },
        };
        let default = match setting.default {
            Value(text) => format!("`{text}`"),
            Computed(text) | Absent(text) => text.to_owned(),
        };
        // A bar would end the cell.
        let value = setting.value.replace('|', "\\|");
        table.push_str(&format!(
            "| `--{} {value}` | `{}` | {key} | {default} | {} |\n",
            setting.flag,
            setting.variable(),
            setting.help.replace('|', "\\|"),
        ));
    }
    table
}
