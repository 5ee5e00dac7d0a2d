//! The executor's access to clusters: evidence in, one statement out. A trait, so that tests can stop an executor between
//! any two of its steps.

use futures::future::BoxFuture;
use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::Evidence;
use galera::recover::action::StepResult;
use galera::recover::bootstrap::StatementDialect;
use galera::recover::cleanup::RegistryReading;
use galera::{ClusterName, NodeId};
use monitor::Monitor;
use monitor::mysql::MysqlSettings;
use monitor::mysql::{StatementConnection, StatementOutcome};
use registry::Secret;

/// What is known about a cluster at one moment.
#[derive(Clone, Debug)]
pub struct ClusterEvidence {
    /// What SQL and the registry report.
    pub evidence: Evidence,
    /// Positions seen earlier.
    pub history: KnownPositions,
    /// Linearizable readings of the cluster's keys, oldest first; the last one is current. Empty if the registry cannot be
    /// read.
    pub readings: Vec<RegistryReading>,
}

/// An open connection over which nothing has been sent yet.
pub trait StatementChannel: Send {
    /// Sends the bootstrap statement of `dialect` once; nothing else can be sent.
    fn send(self: Box<Self>, dialect: StatementDialect) -> BoxFuture<'static, StepResult>;
}

/// Reads clusters and opens connections to their nodes.
pub trait ClusterAccess: Send + Sync {
    /// Reads the keys of `cluster` now and, if `fresh`, probes every node now; `None` for an unknown cluster.
    fn read_cluster<'a>(
        &'a self,
        cluster: &'a ClusterName,
        fresh: bool,
    ) -> BoxFuture<'a, Option<ClusterEvidence>>;

    /// The latest evidence of `cluster`, without reading or probing anything; `readings` is empty.
    fn last_known(&self, cluster: &ClusterName) -> Option<ClusterEvidence>;

    /// Replaces the warnings shown for `cluster` on every page. An empty list clears them.
    fn set_warnings(&self, cluster: &ClusterName, messages: Vec<String>);

    /// Opens a connection for a statement. The error is human-readable, and nothing has been sent then.
    fn open_channel<'a>(
        &'a self,
        cluster: &'a ClusterName,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<Box<dyn StatementChannel>, String>>;
}

/// The database account for recovery statements.
#[derive(Clone, Debug)]
pub struct RecoveryCredentials {
    pub user: String,
    pub password: Secret,
}

/// [`ClusterAccess`] through the monitor and SQL.
pub struct MonitorClusterAccess {
    monitor: Monitor,
    recovery_mysql: Option<MysqlSettings>,
    default_port: u16,
    statement_timeout: std::time::Duration,
}

impl MonitorClusterAccess {
    /// Reads from `monitor`. Statements are sent as `recovery`, with the port and TLS settings of `mysql`, and fail after
    /// `statement_timeout`.
    #[must_use]
    pub fn new(
        monitor: Monitor,
        mysql: &MysqlSettings,
        recovery: Option<RecoveryCredentials>,
        statement_timeout: std::time::Duration,
    ) -> Self {
        Self {
            monitor,
            default_port: mysql.port,
            recovery_mysql: recovery.map(|recovery| MysqlSettings {
                user: recovery.user,
                password: recovery.password,
                ..mysql.clone()
            }),
            statement_timeout,
        }
    }

    async fn connect(
        &self,
        cluster: &ClusterName,
        node: &NodeId,
    ) -> Result<Box<dyn StatementChannel>, String> {
        let Some(mysql) = &self.recovery_mysql else {
            return Err("the console has no recovery account (--recovery-user)".to_owned());
        };
        let port = node.port().unwrap_or(self.default_port);
        let opened =
            StatementConnection::open(node.host(), mysql, port, cluster, self.statement_timeout);
        match opened.await {
            Ok(connection) => Ok(Box::new(SqlChannel(connection))),
            Err(error) => Err(error.message),
        }
    }
}

struct SqlChannel(StatementConnection);

impl StatementChannel for SqlChannel {
    fn send(self: Box<Self>, dialect: StatementDialect) -> BoxFuture<'static, StepResult> {
        Box::pin(async move {
            match self.0.send(dialect.bootstrap_statement()).await {
                StatementOutcome::Accepted => StepResult::Done("OK".to_owned()),
                StatementOutcome::Refused(reason) => StepResult::Refused(reason),
                StatementOutcome::Unknown(reason) => StepResult::Unknown(reason),
            }
        })
    }
}

impl ClusterAccess for MonitorClusterAccess {
    fn read_cluster<'a>(
        &'a self,
        cluster: &'a ClusterName,
        fresh: bool,
    ) -> BoxFuture<'a, Option<ClusterEvidence>> {
        Box::pin(async move {
            let (snapshot, readings) = self.monitor.read_snapshot(cluster, fresh).await?;
            let readable = snapshot.evidence.registry_health.reachable;
            Some(ClusterEvidence {
                evidence: snapshot.evidence,
                history: snapshot.known_positions,
                readings: if readable { readings } else { Vec::new() },
            })
        })
    }

    fn last_known(&self, cluster: &ClusterName) -> Option<ClusterEvidence> {
        let snapshot = self.monitor.snapshot(cluster)?;
        Some(ClusterEvidence {
            evidence: snapshot.evidence.clone(),
            history: snapshot.known_positions.clone(),
            readings: Vec::new(),
        })
    }

    fn set_warnings(&self, cluster: &ClusterName, messages: Vec<String>) {
        self.monitor
            .set_notices(&format!("ahead/{cluster}"), messages);
    }

    fn open_channel<'a>(
        &'a self,
        cluster: &'a ClusterName,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<Box<dyn StatementChannel>, String>> {
        Box::pin(self.connect(cluster, node))
    }
}
