//! The configuration: a pure function of flags, environment and file, validated as a whole before any port opens.
//!
//! Precedence: flag, environment, file, default. Every problem is collected with its origin, so that one start
//! reports them all.

mod listener;
mod metrics_server;
mod otlp;
mod parse;
mod problem;
mod reader;
mod report;
mod sections;
pub mod settings;
mod sign_on;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use accounts::{PasswordContext, SignInPolicy};
use console_core::audit::AnchorSettings;
use console_core::authority::MigrationPolicy;
use console_core::net::PublicUrl;
use console_core::resolver;
use console_core::state_secret::{self, StateSecretFileError, StateSecrets};
use galera::access::{ClusterLabels, Role};
use galera::recover::action::{ClusterApprovals, ClusterApprovalsError};
use galera::recover::plan::ActionKind;
use galera::{ClusterName, NodeId};
use ipnet::IpNet;
use monitor::mysql::Tls;
use notify::{AnchorWebhookSettings, SmtpConfig};
use order_signature::OrderSigningKey;
use registry::Secret;

pub use otlp::OtlpConfig;
pub use problem::{ConfigError, ConfigProblem, SettingOrigin, read_file, read_password};
pub use report::EffectiveSetting;
pub use sources::{ConfigInputs, FlagValues};

use crate::allowed_hosts::HostPattern;
use crate::metrics_server::MetricsServerConfig;
use crate::sign_on::SignOnConfig;
use crate::telemetry::LogConfig;
use crate::tls::ListenerTls;
use reader::ConfigReader;

/// Which etcd holds the registry and the console's state.
#[derive(Clone, Debug)]
pub enum EtcdConfig {
    /// An existing cluster.
    Cluster(Box<registry::EtcdSettings>),
    /// A dedicated child process with its data in this directory.
    Embedded(PathBuf),
}

impl EtcdConfig {
    /// Whether all of it is on this machine's loopback interface.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Cluster(settings) => settings.is_loopback(),
            Self::Embedded(_) => true,
        }
    }
}

/// The secret that seals records in etcd.
#[derive(Clone, Debug)]
pub struct StateSecretConfig {
    pub file: PathBuf,
    /// Its secrets; `None` for the file of an embedded etcd that does not exist yet.
    pub secrets: Option<StateSecrets>,
    /// What happens with plain records.
    pub migration: MigrationPolicy,
    /// The file with what this host has seen of the records.
    pub seen_records: Option<PathBuf>,
}

impl StateSecretConfig {
    /// A file beside the data directory of an embedded etcd.
    #[must_use]
    pub fn beside(data_dir: &Path, suffix: &str) -> PathBuf {
        let mut name = data_dir.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    /// The secrets; creates the file unless it exists.
    ///
    /// # Errors
    /// [`StateSecretFileError`].
    pub fn secrets_or_new(&self) -> Result<StateSecrets, StateSecretFileError> {
        if let Some(secrets) = &self.secrets {
            return Ok(secrets.clone());
        }
        match state_secret::generate_file(&self.file) {
            // A command that was started at the same time was faster.
            Err(StateSecretFileError::Exists(_)) => state_secret::read_file(&self.file),
            generated => generated,
        }
    }
}

/// HTTP server settings.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address of pages and API.
    pub listen: SocketAddr,
    /// Address that browsers use, if known.
    pub public_url: Option<PublicUrl>,
    /// Directory of the built site.
    pub site_root: PathBuf,
    /// Dedicated address of /metrics and the health checks.
    pub metrics_listen: Option<SocketAddr>,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// TLS of `listen`.
    pub tls: Option<ListenerTls>,
    /// Hosts that requests may name, in addition to that of `public_url`.
    pub allowed_hosts: Vec<HostPattern>,
    /// The token that /metrics requires.
    pub metrics_token: Option<Secret>,
    /// The nodes that have series of their own in /metrics.
    pub metrics_nodes: monitor::MetricsNodes,
    /// How long a session lasts without use; `None` for its whole lifetime.
    pub session_idle_timeout: Option<Duration>,
    /// How long a proof permits what needs a recent one; `None` for the whole session.
    pub step_up_interval: Option<Duration>,
    /// Accounts with one of these roles need a second factor.
    pub second_factor_roles: Vec<Role>,
    /// Longest validity of a person's API token.
    pub token_lifetime_max: Duration,
    /// Whether service accounts with the role approver may approve.
    pub service_approval: bool,
    /// The identity provider; requires `public_url`.
    pub sign_on: Option<SignOnConfig>,
    /// Whether accounts with a password may sign in.
    pub local_accounts: bool,
}

/// Words that passwords of the console at `public_url` must not consist of.
pub(crate) fn password_context(public_url: Option<&PublicUrl>) -> PasswordContext {
    PasswordContext::new(public_url.map(PublicUrl::host))
}

impl HttpConfig {
    /// How users sign in, and what they must prove.
    pub(crate) fn sign_in_policy(&self) -> SignInPolicy {
        SignInPolicy {
            session_lifetime: self.session_lifetime,
            idle_timeout: self.session_idle_timeout,
            step_up_interval: self.step_up_interval,
            second_factor_roles: self.second_factor_roles.clone(),
            service_approval: self.service_approval,
            local_accounts: self.local_accounts,
            password_context: password_context(self.public_url.as_ref()),
        }
    }
}

/// What clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Open connections of a listener.
    pub connections: usize,
    /// Open connections of one client address.
    pub connections_per_address: usize,
    /// Open connections of one trusted proxy.
    pub connections_per_proxy: usize,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client may take to read some of a response.
    pub write_timeout: Duration,
    /// Password hashes computed concurrently.
    pub password_hashes: usize,
    /// Concurrent DNS look-ups.
    pub dns_lookups: usize,
    /// Pages rendered concurrently for clients without a session.
    pub anonymous_renders: usize,
    /// Concurrent requests of one account.
    pub requests_per_account: usize,
    /// Requests of one API token in a minute.
    pub token_requests: usize,
    /// WebSocket connections of one account.
    pub live_per_account: usize,
    /// WebSocket connections of one client address.
    pub live_per_address: usize,
}

impl Default for LimitsConfig {
    /// The defaults of the settings.
    fn default() -> Self {
        Self {
            connections: 6_000,
            connections_per_address: 512,
            connections_per_proxy: 5_000,
            header_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(20),
            password_hashes: accounts::CONCURRENT_HASHES_MAX,
            dns_lookups: resolver::LOOKUPS_MAX,
            anonymous_renders: 2,
            requests_per_account: 64,
            token_requests: 600,
            live_per_account: 100,
            live_per_address: 500,
        }
    }
}

/// The account that reads the databases.
#[derive(Clone, Debug)]
pub struct MysqlConfig {
    pub user: String,
    /// Empty if none is configured.
    pub password: Secret,
    /// Port of nodes whose id has none.
    pub port: u16,
    /// Whether connections use TLS.
    pub tls: Tls,
    /// Special addresses at which nodes may be probed that are not pinned.
    pub probe_allow: Vec<IpNet>,
}

/// The account that may act on the databases.
#[derive(Clone, Debug)]
pub struct RecoveryConfig {
    pub user: String,
    pub password: Secret,
    /// Whether it is also used without verified TLS.
    pub any_transport: bool,
}

/// Notification settings.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    /// The SMTP server for e-mail.
    pub smtp: Option<SmtpConfig>,
    /// Special addresses that targets may reach.
    pub allow: Vec<IpNet>,
    /// Authority of receivers' certificates, in addition to the system's.
    pub ca: Option<PathBuf>,
    /// Whether notifications of requests have a link for approvers.
    pub approval_links: bool,
}

/// Number of approvals that actions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalPolicy {
    /// For every kind not in `per_kind`.
    pub default_count: u32,
    /// Overrides for single kinds.
    pub per_kind: BTreeMap<ActionKind, u32>,
    /// The least for actions on some clusters.
    pub clusters: Vec<ClusterApprovals>,
}

impl ApprovalPolicy {
    /// Whether any kind of action needs no approval.
    #[must_use]
    pub fn allows_acting_alone(&self) -> bool {
        ActionKind::ALL.iter().any(|kind| {
            self.per_kind
                .get(kind)
                .copied()
                .unwrap_or(self.default_count)
                == 0
        })
    }
}

/// Retention of the event history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// How long changes are kept.
    pub retention: Duration,
    /// Maximum number of changes kept per cluster.
    pub changes_max: u64,
}

/// Anchors of the audit trail outside etcd.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// When they are taken.
    pub anchors: AnchorSettings,
    /// Where they are written besides the log.
    pub anchor_file: Option<PathBuf>,
    /// The webhook that they are sent to.
    pub anchor_webhook: Option<AnchorWebhookSettings>,
    /// How long entries stay in etcd, and the directory that they are moved to then.
    pub retention: Option<(Duration, PathBuf)>,
}

/// Where nodes register with etcd's v2 API.
#[derive(Clone, Debug)]
pub struct RegistryV2Config {
    pub etcd: registry::EtcdSettings,
    /// Whether it has to be there; otherwise it is read if it holds keys.
    pub required: bool,
}

/// The configuration of `serve`.
#[derive(Clone, Debug)]
pub struct Config {
    pub http: HttpConfig,
    pub limits: LimitsConfig,
    pub etcd: EtcdConfig,
    /// The quota of etcd's database in bytes, for members that do not report it.
    pub etcd_quota: u64,
    /// Directory of recorded figures and views; `None` if they are not recorded.
    pub data_directory: Option<PathBuf>,
    /// The server that figures of long ranges are queried from.
    pub metrics_server: Option<MetricsServerConfig>,
    /// The export of traces and metrics by OTLP.
    pub otlp: Option<OtlpConfig>,
    /// etcd prefix under which nodes register.
    pub registry_prefix: String,
    /// Where nodes register with etcd's v2 API; `None` if that is not read.
    pub registry_v2: Option<RegistryV2Config>,
    /// etcd prefix of the console's own state.
    pub state_prefix: String,
    /// The secret of the records below it; `None` leaves them open to every writer of etcd.
    pub state_secret: Option<StateSecretConfig>,
    /// Pinned clusters with their expected members.
    pub clusters: BTreeMap<ClusterName, BTreeSet<NodeId>>,
    /// Labels of clusters, which roles and approval policies may name.
    pub labels: ClusterLabels,
    pub mysql: MysqlConfig,
    /// The account that may act on the databases; `None` disables SQL actions.
    pub recovery: Option<RecoveryConfig>,
    /// The key that signs bootstrap orders; without it no order is sent to an agent that verifies them.
    pub order_key: Option<Arc<OrderSigningKey>>,
    /// Time between two probes of a database.
    pub poll_interval: Duration,
    /// Deadline of one probe.
    pub probe_timeout: Duration,
    /// Clusters that are monitored; pinned ones always are.
    pub max_clusters: usize,
    pub approvals: ApprovalPolicy,
    /// How long a request waits for approval.
    pub request_expiry: Duration,
    /// How long an approved action waits for execution.
    pub approval_expiry: Duration,
    pub history: HistoryConfig,
    pub audit: AuditConfig,
    pub notify: NotifyConfig,
    pub log: LogConfig,
    /// Every setting with its value and origin, without secrets.
    pub effective: Vec<EffectiveSetting>,
    /// Valid but questionable settings.
    pub warnings: Vec<ConfigProblem>,
}

/// The part of the configuration that the `user` and `audit` commands need.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Longest validity of a person's API token.
    pub token_lifetime_max: Duration,
    pub etcd: EtcdConfig,
    /// etcd prefix of the console's own state.
    pub state_prefix: String,
    /// The secret of the records below it.
    pub state_secret: Option<StateSecretConfig>,
    /// Address that browsers use, if known.
    pub public_url: Option<PublicUrl>,
    pub log: LogConfig,
}

/// The part of the configuration that the `incident` commands need.
#[derive(Clone, Debug)]
pub struct ReportConfig {
    pub admin: AdminConfig,
    /// Where a console on this host records figures and views.
    pub data_dir: Option<PathBuf>,
    pub poll_interval: Duration,
}

/// The part of the configuration that the `etcd-roles` commands need.
#[derive(Clone, Debug)]
pub struct RolesConfig {
    pub etcd: EtcdConfig,
    /// etcd prefix under which nodes register.
    pub registry_prefix: String,
    /// etcd prefix of the console's own state.
    pub state_prefix: String,
    /// Pinned clusters with their expected members.
    pub clusters: BTreeMap<ClusterName, BTreeSet<NodeId>>,
    pub log: LogConfig,
}

/// Reads the part of the configuration that the `etcd-roles` commands need; other settings are not validated.
///
/// # Errors
/// Every problem.
pub fn load_for_roles(inputs: &ConfigInputs) -> Result<RolesConfig, ConfigError> {
    let mut reader = ConfigReader::new(inputs);
    let data_dir = reader.data_dir();
    let etcd = reader.etcd(data_dir.as_deref());
    let prefixes = reader.prefixes();
    let port = reader.single(&settings::MYSQL_PORT, parse::port);
    let clusters = reader.clusters(port.unwrap_or(3306));
    let log = reader.log();
    reader.finish(|_| {
        let (registry_prefix, state_prefix) = prefixes?;
        Some(RolesConfig {
            etcd: etcd?,
            registry_prefix,
            state_prefix,
            clusters: clusters?,
            log: log?,
        })
    })
}

/// Reads the configuration of `serve` and `check-config`.
///
/// # Errors
/// Every problem.
pub fn load(inputs: &ConfigInputs) -> Result<Config, ConfigError> {
    let mut reader = ConfigReader::new(inputs);
    let http = reader.http();
    let limits = reader.limits();
    let metrics_server = reader.metrics_server();
    let otlp = reader.otlp();
    let data_dir = reader.data_dir();
    let etcd = reader.etcd(data_dir.as_deref());
    let etcd_quota = reader.single(&settings::ETCD_QUOTA, parse::byte_size);
    let prefixes = reader.prefixes();
    let registry_v2 = reader.registry_v2(etcd.as_ref());
    let state_secret = reader.state_secret(etcd.as_ref(), data_dir.as_deref());
    let port = reader.single(&settings::MYSQL_PORT, parse::port);
    let clusters = reader.clusters(port.unwrap_or(3306));
    let labels = reader.cluster_labels();
    let user = reader.single(&settings::MYSQL_USER, parse::non_empty_text);
    let password = reader.password_file(&settings::MYSQL_PASSWORD_FILE);
    let tls = reader.mysql_tls();
    let probe_allow = reader.list(&settings::PROBE_ALLOW, parse::network);
    let recovery = reader.recovery(tls.as_ref());
    let order_key = reader.order_key();
    let timing = reader.timing();
    let max_clusters = reader.single(&settings::MAX_CLUSTERS, parse::limit);
    let approvals = reader.single(&settings::APPROVALS, parse::approvals);
    let cluster_approvals = reader.list(&settings::CLUSTER_APPROVALS, |text| {
        text.parse()
            .map_err(|error: ClusterApprovalsError| error.to_string())
    });
    let expiries = reader.expiries();
    let history = reader.history();
    let audit = reader.audit();
    let notify = reader.notify();
    let log = reader.log();
    reader.finish(|reader| {
        let (registry_prefix, state_prefix) = prefixes?;
        let (poll_interval, probe_timeout) = timing?;
        let http = http?;
        if let Some(message) = missing_for_links(&notify, &http, state_secret.as_ref()) {
            reader.warnings.push(ConfigProblem {
                origin: reader.origin(&settings::APPROVAL_LINKS),
                message: message.to_owned(),
            });
        }
        Some(Config {
            http,
            limits: limits?,
            etcd: etcd?,
            etcd_quota: etcd_quota?,
            data_directory: data_dir,
            metrics_server,
            otlp,
            registry_prefix,
            registry_v2,
            state_prefix,
            state_secret,
            clusters: clusters?,
            labels: labels?,
            mysql: MysqlConfig {
                user: user?,
                password: password.unwrap_or_else(|| Secret::new("")),
                port: port?,
                tls: tls?,
                probe_allow,
            },
            recovery,
            order_key,
            poll_interval,
            probe_timeout,
            max_clusters: max_clusters?,
            approvals: ApprovalPolicy {
                clusters: cluster_approvals,
                ..approvals?
            },
            request_expiry: expiries?.0,
            approval_expiry: expiries?.1,
            history: history?,
            audit: audit?,
            notify,
            log: log?,
            effective: std::mem::take(&mut reader.effective),
            warnings: std::mem::take(&mut reader.warnings),
        })
    })
}

/// Why notifications have no approval links although they are on.
fn missing_for_links(
    notify: &NotifyConfig,
    http: &HttpConfig,
    state_secret: Option<&StateSecretConfig>,
) -> Option<&'static str> {
    match (&http.public_url, state_secret) {
        _ if !notify.approval_links => None,
        (None, _) => Some("notifications have no approval links: set --public-url"),
        (_, None) => Some("notifications have no approval links: set --state-secret-file"),
        _ => None,
    }
}

impl Config {
    /// Why notifications have no approval links although the setting is on; `None` if they have, or it is off.
    #[must_use]
    pub fn approval_links_missing(&self) -> Option<&'static str> {
        missing_for_links(&self.notify, &self.http, self.state_secret.as_ref())
    }
}

/// Reads the part of the configuration that the `user` and `audit` commands need; other settings are not validated.
///
/// # Errors
/// Every problem.
pub fn load_for_admin(inputs: &ConfigInputs) -> Result<AdminConfig, ConfigError> {
    let mut reader = ConfigReader::new(inputs);
    let data_dir = reader.data_dir();
    let etcd = reader.etcd(data_dir.as_deref());
    let state_prefix = reader.single(&settings::STATE_PREFIX, parse::prefix);
    let state_secret = reader.state_secret(etcd.as_ref(), data_dir.as_deref());
    let public_url = reader.single(&settings::PUBLIC_URL, parse::public_url);
    let log = reader.log();
    let token_lifetime_max = reader.token_lifetime_max();
    reader.finish(|_| {
        Some(AdminConfig {
            token_lifetime_max: token_lifetime_max?,
            etcd: etcd?,
            state_prefix: state_prefix?,
            state_secret,
            public_url,
            log: log?,
        })
    })
}

/// Loads and validates the settings of the `incident` commands.
///
/// # Errors
/// All problems, when there are any.
pub fn load_for_reports(inputs: &ConfigInputs) -> Result<ReportConfig, ConfigError> {
    let admin = load_for_admin(inputs)?;
    let mut reader = ConfigReader::new(inputs);
    let data_dir = reader.data_dir();
    let timing = reader.timing();
    reader.finish(|_| {
        Some(ReportConfig {
            admin,
            data_dir,
            poll_interval: timing?.0,
        })
    })
}

#[cfg(test)]
mod tests;
