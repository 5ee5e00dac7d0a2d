//! The one table of settings: flags, variables, file keys, help texts and the README's table all come from here.

use super::problem::closest_match;

/// Every environment variable of the console begins with this.
pub const VARIABLE_PREFIX: &str = "GALERA_CONSOLE_";

/// Which commands use a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingScope {
    /// `serve` and `check-config` only.
    Serve,
    /// Also the `user` commands.
    AllCommands,
}

/// What holds when nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingDefault {
    /// This text, read like a given one.
    Value(&'static str),
    /// Found out at start; the text says how.
    Computed(&'static str),
    /// Nothing; the text says what that means.
    Absent(&'static str),
}

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag without its dashes.
    pub flag: &'static str,
    /// The key in the file: `section.key`, or `key` at the top (where `serve.key` means the same).
    pub key: &'static str,
    /// What the value looks like.
    pub value: &'static str,
    /// What holds when nothing is set.
    pub default: SettingDefault,
    /// Whether it may be given more than once.
    pub repeatable: bool,
    /// Which commands use it.
    pub scope: SettingScope,
    /// One sentence for people.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable's name.
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
        "Where pages and API are served; port 0 takes a free one.");
    PUBLIC_URL = Setting::new("public-url", "public_url", "URL", Absent("the request's Host header"),
        "Address that browsers use, e.g. https://console.example.org; https makes the session cookie Secure.");
    SITE_ROOT = Setting::new("site-root", "site_root", "DIR", Computed("`site` beside the program"),
        "Directory of the built site (made by `make build`).");
    METRICS_LISTEN = Setting::new("metrics-listen", "metrics_listen", "ADDRESS:PORT", Absent("served on --listen"),
        "Serves /metrics, /healthz and /readyz here; /metrics is then not served on --listen.");
    TRUSTED_PROXIES = Setting::new("trusted-proxies", "trusted_proxies", "ADDRESS[/BITS],…", Absent("none"),
        "Reverse proxies whose X-Forwarded-For is believed when sign-in is throttled per address.").repeatable();
    SESSION_LIFETIME = Setting::new("session-lifetime", "session_lifetime", "DURATION", Value("12h"),
        "How long a sign-in lasts.");
    ETCD_ENDPOINTS = Setting::new("etcd-endpoints", "etcd.endpoints", "URL,…", Absent("an embedded etcd"),
        "Members of the etcd cluster that holds the registry and the console's state.").repeatable().for_all_commands();
    ETCD_USER = Setting::new("etcd-user", "etcd.user", "NAME", Absent("no sign-in to etcd"),
        "Account of the console in etcd.").for_all_commands();
    ETCD_PASSWORD_FILE = Setting::new("etcd-password-file", "etcd.password_file", "FILE", Absent("none"),
        "File that holds the etcd account's password.").for_all_commands();
    ETCD_CA = Setting::new("etcd-ca", "etcd.ca", "FILE", Absent("none"),
        "Certificate authority (PEM) that signed etcd's certificates; needed for https endpoints.").for_all_commands();
    ETCD_CERT = Setting::new("etcd-cert", "etcd.cert", "FILE", Absent("none"),
        "Client certificate (PEM) for etcd.").for_all_commands();
    ETCD_KEY = Setting::new("etcd-key", "etcd.key", "FILE", Absent("none"),
        "Private key (PEM) of the client certificate.").for_all_commands();
    ETCD_DATA_DIR = Setting::new("etcd-data-dir", "etcd.data_dir", "DIR",
        Computed("`/var/lib/galera-console/etcd` for root where its parent exists, else `galera-console/etcd` in the user's state directory"),
        "Data of the embedded etcd; only used when no endpoints are given.").for_all_commands();
    REGISTRY_PREFIX = Setting::new("registry-prefix", "registry.prefix", "KEY", Value("/galera"),
        "Where nodes register in etcd.");
    STATE_PREFIX = Setting::new("state-prefix", "state.prefix", "KEY", Value("/galera-console"),
        "Where the console keeps its own state in etcd.").for_all_commands();
    CLUSTER = Setting::new("cluster", "clusters", "NAME=HOST[:PORT],…", Absent("found in the registry"),
        "Pins a cluster's expected members; may repeat (in the variable: separated by spaces; in the file: NAME = [\"HOST\", …]).").repeatable();
    MYSQL_USER = Setting::new("mysql-user", "mysql.user", "NAME", Value("console"),
        "Account that reads the databases' status.");
    MYSQL_PASSWORD_FILE = Setting::new("mysql-password-file", "mysql.password_file", "FILE", Absent("an empty password"),
        "File that holds that account's password.");
    MYSQL_PORT = Setting::new("mysql-port", "mysql.port", "PORT", Value("3306"),
        "Port of nodes whose identity names none.");
    MYSQL_TLS_CA = Setting::new("mysql-tls-ca", "mysql.tls_ca", "FILE", Absent("no TLS to the databases"),
        "Certificate authority (PEM) that signed the databases' certificates; turns TLS on.");
    RECOVERY_USER = Setting::new("recovery-user", "recovery.user", "NAME", Absent("SQL actions are unavailable"),
        "Account that may act on the databases.");
    RECOVERY_PASSWORD_FILE = Setting::new("recovery-password-file", "recovery.password_file", "FILE", Absent("none"),
        "File that holds that account's password.");
    POLL_INTERVAL = Setting::new("poll-interval", "poll_interval", "DURATION", Value("1s"),
        "How often every database is asked.");
    PROBE_TIMEOUT = Setting::new("probe-timeout", "probe_timeout", "DURATION", Value("3s"),
        "How long a database may take to answer.");
    APPROVALS = Setting::new("approvals", "approvals", "COUNT,KIND=COUNT,…", Value("1"),
        "Approvals that an action needs; 0 lets one person act alone. A kind (bootstrap, cleanup, decommission) may have its own: 1,decommission=2.");
    REQUEST_EXPIRY = Setting::new("request-expiry", "request_expiry", "DURATION", Value("15m"),
        "How long a request waits for approval.");
    APPROVAL_EXPIRY = Setting::new("approval-expiry", "approval_expiry", "DURATION", Value("5m"),
        "How long an approved action may wait to be executed.");
    HISTORY_RETENTION = Setting::new("history-retention", "history.retention", "DURATION", Value("90d"),
        "How long changes of verdicts and states are kept.");
    HISTORY_MAX_CHANGES = Setting::new("history-max-changes", "history.max_changes", "COUNT", Value("200000"),
        "Most changes kept of one cluster, 5 to 10 bytes each; the oldest go first.");
    SMTP_HOST = Setting::new("smtp-host", "smtp.host", "HOST", Absent("no e-mail"),
        "Server that takes notifications by e-mail; its certificate must carry this name.");
    SMTP_PORT = Setting::new("smtp-port", "smtp.port", "PORT", Computed("587, 465 or 25, by --smtp-tls"),
        "Port of that server.");
    SMTP_TLS = Setting::new("smtp-tls", "smtp.tls", "starttls|implicit|none", Value("starttls"),
        "How the connection to it is encrypted; a server that does not offer STARTTLS is refused.");
    SMTP_USER = Setting::new("smtp-user", "smtp.user", "NAME", Absent("no sign-in to it"),
        "Account at that server.");
    SMTP_PASSWORD_FILE = Setting::new("smtp-password-file", "smtp.password_file", "FILE", Absent("none"),
        "File that holds that account's password.");
    SMTP_FROM = Setting::new("smtp-from", "smtp.from", "ADDRESS", Absent("none"),
        "Sender of e-mail, e.g. Galera Console <console@example.org>; needed with --smtp-host.");
    NOTIFY_ALLOW = Setting::new("notify-allow", "notify.allow", "ADDRESS[/BITS],…", Absent("none"),
        "Loopback, link-local and other special addresses that notification targets may reach all the same; private networks need not be named.").repeatable();
    NOTIFY_CA = Setting::new("notify-ca", "notify.ca", "FILE", Absent("the system's authorities only"),
        "Certificate authority (PEM) of notification targets and of the SMTP server, beside the system's.");
    LOG_FORMAT = Setting::new("log-format", "log_format", "text|json", Value("text"),
        "How the log on standard error is written.").for_all_commands();
    LOG_LEVEL = Setting::new("log-level", "log_level", "FILTER", Value("info"),
        "Which events are logged: error, warn, info, debug, trace, or a filter like info,galera_console=debug.").for_all_commands();
}

/// The flag and variable that name the configuration file itself.
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

/// The known variable that `name` was probably meant to be.
#[must_use]
pub fn similar_variable(name: &str) -> Option<String> {
    closest_match(
        name,
        ALL.iter().copied().chain([&CONFIG]).map(Setting::variable),
    )
}

/// The known file key that `key` was probably meant to be.
#[must_use]
pub fn similar_key(key: &str) -> Option<String> {
    closest_match(key, ALL.iter().map(|setting| setting.key.to_owned()))
}

/// The table of all settings in Markdown, as README shows it.
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
