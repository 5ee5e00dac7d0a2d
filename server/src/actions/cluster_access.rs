//! The outside of an executor: what the nodes say and the one statement that they are sent. A trait, so that tests can
//! stop an executor between any two of its steps.

use futures::future::BoxFuture;
use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::Evidence;
use galera::recover::action::StepResult;
use galera::recover::cleanup::RegistryReading;
use galera::{ClusterName, NodeId};
use monitor::Monitor;
use monitor::mysql::MysqlSettings;
use monitor::mysql::{StatementConnection, StatementOutcome};
use registry::Secret;

/// What is known of a cluster at one moment.
#[derive(Clone, Debug)]
pub struct ClusterEvidence {
    /// What the sources say.
    pub evidence: Evidence,
    /// What is remembered.
    pub history: KnownPositions,
    /// Linearizable readings of the cluster's keys, in order of time; the last one is the present. Empty when the
    /// registry cannot be read.
    pub readings: Vec<RegistryReading>,
}

/// An open connection that has sent nothing yet.
pub trait StatementChannel: Send {
    /// Sends `statement` once.
    fn send(self: Box<Self>, statement: String) -> BoxFuture<'static, StepResult>;
}

/// The nodes of all clusters.
pub trait ClusterAccess: Send + Sync {
    /// What is known of `cluster`, with its keys read now and, when `fresh`, every node asked now; `None` for an unknown
    /// cluster.
    fn read_cluster<'a>(
        &'a self,
        cluster: &'a ClusterName,
        fresh: bool,
    ) -> BoxFuture<'a, Option<ClusterEvidence>>;

    /// What was known of `cluster` last, without asking anybody.
    fn last_known(&self, cluster: &ClusterName) -> Option<ClusterEvidence>;

    /// Says something about `cluster` on every page; nothing takes it back.
    fn set_warnings(&self, cluster: &ClusterName, sentences: Vec<String>);

    /// Opens the connection for a statement. The error says why, for people; nothing was sent then.
    fn open_channel<'a>(
        &'a self,
        cluster: &'a ClusterName,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<Box<dyn StatementChannel>, String>>;
}

/// The account that may act on the databases.
#[derive(Clone, Debug)]
pub struct RecoveryCredentials {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// The real nodes, through the hub and SQL.
pub struct MonitorClusterAccess {
    monitor: Monitor,
    recovery_mysql: Option<MysqlSettings>,
    default_port: u16,
    statement_timeout: std::time::Duration,
}

impl MonitorClusterAccess {
    /// The nodes that `monitor` knows; statements are sent with `recovery`, to where `recovery_mysql` says, and answered within
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
    fn send(self: Box<Self>, statement: String) -> BoxFuture<'static, StepResult> {
        Box::pin(async move {
            match self.0.send(&statement).await {
                StatementOutcome::Accepted => StepResult::Done("OK".to_owned()),
                StatementOutcome::Refused(why) => StepResult::Refused(why),
                StatementOutcome::Unknown(why) => StepResult::Unknown(why),
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
            let (known, readings) = self.monitor.read_snapshot(cluster, fresh).await?;
            let readable = known.evidence.registry_health.reachable;
            Some(ClusterEvidence {
                evidence: known.evidence,
                history: known.known_positions,
                readings: if readable { readings } else { Vec::new() },
            })
        })
    }

    fn last_known(&self, cluster: &ClusterName) -> Option<ClusterEvidence> {
        let known = self.monitor.snapshot(cluster)?;
        Some(ClusterEvidence {
            evidence: known.evidence.clone(),
            history: known.known_positions.clone(),
            readings: Vec::new(),
        })
    }

    fn set_warnings(&self, cluster: &ClusterName, sentences: Vec<String>) {
        self.monitor
            .set_notices(&format!("ahead/{cluster}"), sentences);
    }

    fn open_channel<'a>(
        &'a self,
        cluster: &'a ClusterName,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<Box<dyn StatementChannel>, String>> {
        Box::pin(self.connect(cluster, node))
    }
}
