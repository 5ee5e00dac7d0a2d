//! The configuration: a pure function of flags, environment and file, checked whole before any port opens.
//!
//! Precedence is flag, environment, file, default. Every problem is collected with where it came from, so that one
//! start shows them all.

mod parse;
mod problem;
mod reader;
mod report;
mod sections;
pub mod settings;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use console_core::net::PublicUrl;
use galera::recover::plan::ActionKind;
use galera::{ClusterName, NodeId};
use ipnet::IpNet;
use notify::SmtpConfig;
use registry::Secret;

pub use problem::{ConfigError, ConfigProblem, SettingOrigin, read_file, read_password};
pub use report::EffectiveSetting;
pub use sources::{ConfigInputs, FlagValues};

use crate::telemetry::LogConfig;
use reader::ConfigReader;

/// Where the registry and the console's state live.
#[derive(Clone, Debug)]
pub enum EtcdConfig {
    /// An existing cluster.
    Cluster(Box<registry::EtcdSettings>),
    /// A child process of our own with its data in this directory.
    Embedded(PathBuf),
}

/// Everything about HTTP.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address of pages and API.
    pub listen: SocketAddr,
    /// Address that browsers use, when it is known.
    pub public_url: Option<PublicUrl>,
    /// The built site.
    pub site_root: PathBuf,
    /// Own address of /metrics and the health checks.
    pub metrics_listen: Option<SocketAddr>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a sign-in lasts.
    pub session_lifetime: Duration,
}

/// The account that reads the databases.
#[derive(Clone, Debug)]
pub struct MysqlConfig {
    /// Its name.
    pub user: String,
    /// Its password; empty when none was given.
    pub password: Secret,
    /// Port of nodes whose identity names none.
    pub port: u16,
    /// Authority of the databases' certificates; turns TLS on.
    pub tls_ca: Option<PathBuf>,
}

/// The account that may act on the databases.
#[derive(Clone, Debug)]
pub struct RecoveryConfig {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// How notifications leave the console.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    /// The server that takes e-mail.
    pub smtp: Option<SmtpConfig>,
    /// Special addresses that targets may reach.
    pub allow: Vec<IpNet>,
    /// Authority of receivers' certificates, beside the system's.
    pub ca: Option<PathBuf>,
}

/// Approvals that actions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalPolicy {
    /// For every kind that is not named below.
    pub default_count: u32,
    /// For single kinds.
    pub per_kind: BTreeMap<ActionKind, u32>,
}

impl ApprovalPolicy {
    /// Whether one person can do something alone.
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

/// What is kept of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// How long changes are kept.
    pub retention: Duration,
    /// Most changes kept of one cluster.
    pub changes_max: u64,
}

/// The configuration of `serve`.
#[derive(Clone, Debug)]
pub struct Config {
    /// HTTP.
    pub http: HttpConfig,
    /// etcd.
    pub etcd: EtcdConfig,
    /// Where nodes register.
    pub registry_prefix: String,
    /// Where the console keeps its state.
    pub state_prefix: String,
    /// Pinned clusters with their expected members.
    pub clusters: BTreeMap<ClusterName, BTreeSet<NodeId>>,
    /// The account that reads the databases.
    pub mysql: MysqlConfig,
    /// The account that may act on the databases.
    pub recovery: Option<RecoveryConfig>,
    /// How often every database is asked.
    pub poll_interval: Duration,
    /// How long a database may take to answer.
    pub probe_timeout: Duration,
    /// Approvals that actions need.
    pub approvals: ApprovalPolicy,
    /// How long a request waits for approval.
    pub request_expiry: Duration,
    /// How long an approved action waits to be executed.
    pub approval_expiry: Duration,
    /// What is kept of what happened.
    pub history: HistoryConfig,
    /// Notifications.
    pub notify: NotifyConfig,
    /// The log.
    pub log: LogConfig,
    /// Every setting with its value and where that came from, secrets left out.
    pub effective: Vec<EffectiveSetting>,
    /// What works but should be known.
    pub warnings: Vec<ConfigProblem>,
}

/// The part of the configuration that the `user` commands need.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// etcd.
    pub etcd: EtcdConfig,
    /// Where the console keeps its state.
    pub state_prefix: String,
    /// The log.
    pub log: LogConfig,
}

/// Reads the configuration of `serve` and `check-config`.
///
/// # Errors
/// Every problem at once.
pub fn load(inputs: &ConfigInputs) -> Result<Config, ConfigError> {
    let mut reader = ConfigReader::new(inputs);
    let http = reader.http();
    let etcd = reader.etcd();
    let prefixes = reader.prefixes();
    let port = reader.single(&settings::MYSQL_PORT, parse::port);
    let clusters = reader.clusters(port.unwrap_or(3306));
    let user = reader.single(&settings::MYSQL_USER, parse::non_empty_text);
    let password = reader.password_file(&settings::MYSQL_PASSWORD_FILE);
    let tls_ca = reader.readable_file(&settings::MYSQL_TLS_CA);
    let recovery = reader.recovery();
    let timing = reader.timing();
    let approvals = reader.single(&settings::APPROVALS, parse::approvals);
    let expiries = reader.expiries();
    let history = reader.history();
    let notify = reader.notify();
    let log = reader.log();
    reader.finish(|reader| {
        let (registry_prefix, state_prefix) = prefixes?;
        let (poll_interval, probe_timeout) = timing?;
        Some(Config {
            http: http?,
            etcd: etcd?,
            registry_prefix,
            state_prefix,
            clusters: clusters?,
            mysql: MysqlConfig {
                user: user?,
                password: password.unwrap_or_else(|| Secret::new("")),
                port: port?,
                tls_ca,
            },
            recovery,
            poll_interval,
            probe_timeout,
            approvals: approvals?,
            request_expiry: expiries?.0,
            approval_expiry: expiries?.1,
            history: history?,
            notify,
            log: log?,
            effective: std::mem::take(&mut reader.effective),
            warnings: std::mem::take(&mut reader.warnings),
        })
    })
}

/// Reads the part of the configuration that the `user` commands need; the values of other settings are not judged.
///
/// # Errors
/// Every problem at once.
pub fn load_for_admin(inputs: &ConfigInputs) -> Result<AdminConfig, ConfigError> {
    let mut reader = ConfigReader::new(inputs);
    let etcd = reader.etcd();
    let state_prefix = reader.single(&settings::STATE_PREFIX, parse::prefix);
    let log = reader.log();
    reader.finish(|_| {
        Some(AdminConfig {
            etcd: etcd?,
            state_prefix: state_prefix?,
            log: log?,
        })
    })
}

#[cfg(test)]
mod tests;
