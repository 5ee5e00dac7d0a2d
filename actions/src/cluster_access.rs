//! The executor's access to clusters: evidence in, one statement out. A trait, so that tests can stop an executor between
//! any two of its steps.

use futures::future::BoxFuture;
use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::{Evidence, ProbeError, ProbeErrorKind};
use galera::recover::action::StepResult;
use galera::recover::bootstrap::{PlannedServer, RecoveryReach, StatementDialect};
use galera::recover::cleanup::RegistryReading;
use galera::{ClusterName, NodeId};
use monitor::Monitor;
use monitor::mysql::{MysqlSettings, ReserveAccount, StatementConnection, StatementOutcome, Tls};
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

    /// Opens a connection for a statement to `planned`, the server that `node` must lead to. The error is human-readable,
    /// and nothing has been sent then.
    fn open_channel<'a>(
        &'a self,
        cluster: &'a ClusterName,
        node: &'a NodeId,
        planned: &'a PlannedServer,
    ) -> BoxFuture<'a, Result<Box<dyn StatementChannel>, String>>;
}

/// The database account for recovery statements.
#[derive(Clone, Debug)]
pub struct RecoveryCredentials {
    pub user: String,
    pub password: Secret,
    /// Whether it is also used without verified TLS.
    pub any_transport: bool,
}

impl RecoveryCredentials {
    /// How the account connects where `mysql` is how probes do. A database on another host that does not offer TLS is
    /// refused unless any transport is allowed, even if probes read it.
    #[must_use]
    pub fn account(self, mysql: &MysqlSettings) -> RecoveryAccount {
        let (tls, reach) = match &mysql.tls {
            tls if self.any_transport => (tls.clone(), RecoveryReach::Everywhere),
            Tls::Preferred(files) | Tls::Required(files) => {
                (Tls::Required(files.clone()), RecoveryReach::Everywhere)
            }
            Tls::Off => (Tls::Off, RecoveryReach::ThisHost),
        };
        RecoveryAccount {
            mysql: MysqlSettings {
                user: self.user,
                password: self.password,
                port: mysql.port,
                tls,
                resolver: mysql.resolver.clone(),
                probe_policy: mysql.probe_policy.clone(),
            },
            reach,
        }
    }
}

/// The recovery account with its connection settings.
#[derive(Clone, Debug)]
pub struct RecoveryAccount {
    mysql: MysqlSettings,
    /// Where it may connect.
    pub reach: RecoveryReach,
}

impl RecoveryAccount {
    /// The account as the one that reads servers on which every connection is in use.
    #[must_use]
    pub fn reserve(&self) -> ReserveAccount {
        ReserveAccount {
            mysql: self.mysql.clone(),
            reach: self.reach,
        }
    }
}

/// [`ClusterAccess`] through the monitor and SQL.
pub struct MonitorClusterAccess {
    monitor: Monitor,
    recovery: Option<RecoveryAccount>,
    default_port: u16,
    statement_timeout: std::time::Duration,
}

impl MonitorClusterAccess {
    /// Reads from `monitor`. Statements are sent with `recovery` to nodes on `default_port`, if they have no other, and
    /// fail after `statement_timeout`.
    #[must_use]
    pub const fn new(
        monitor: Monitor,
        default_port: u16,
        recovery: Option<RecoveryAccount>,
        statement_timeout: std::time::Duration,
    ) -> Self {
        Self {
            monitor,
            recovery,
            default_port,
            statement_timeout,
        }
    }

    async fn connect(
        &self,
        cluster: &ClusterName,
        node: &NodeId,
        planned: &PlannedServer,
    ) -> Result<Box<dyn StatementChannel>, String> {
        let usable = |account: &&RecoveryAccount| account.reach.includes(node.host());
        let Some(account) = self.recovery.as_ref().filter(usable) else {
            return Err(
                "the console has no recovery account that it may use (--recovery-user, --recovery-transport)"
                    .to_owned(),
            );
        };
        let open = |port| {
            StatementConnection::open(
                node.host(),
                &account.mysql,
                port,
                cluster,
                planned,
                self.statement_timeout,
            )
        };
        let mut opened = open(node.port().unwrap_or(self.default_port)).await;
        let is_full = |error: &ProbeError| error.kind == ProbeErrorKind::TooManyConnections;
        if opened.as_ref().is_err_and(is_full)
            && let Some(port) = self.extra_port(cluster, node)
        {
            opened = open(port).await.or(opened);
        }
        match opened {
            Ok(connection) => Ok(Box::new(SqlChannel(connection))),
            Err(error) => Err(error.message),
        }
    }

    /// The `extra_port` that the server at `node` last reported.
    fn extra_port(&self, cluster: &ClusterName, node: &NodeId) -> Option<u16> {
        let snapshot = self.monitor.snapshot(cluster)?;
        let probe = snapshot.evidence.probes.get(node)?;
        probe.status.as_ref()?.1.extra_port
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
        planned: &'a PlannedServer,
    ) -> BoxFuture<'a, Result<Box<dyn StatementChannel>, String>> {
        Box::pin(self.connect(cluster, node, planned))
    }
}

#[cfg(test)]
mod tests {
    use monitor::mysql::TlsSettings;

    use super::*;

    fn account(tls: Tls, any_transport: bool) -> RecoveryAccount {
        let mysql = MysqlSettings {
            user: "console".to_owned(),
            password: Secret::new("reads"),
            port: 3306,
            tls,
            resolver: console_core::resolver::Resolver::default(),
            probe_policy: Default::default(),
        };
        let credentials = RecoveryCredentials {
            user: "recovery".to_owned(),
            password: Secret::new("acts"),
            any_transport,
        };
        let account = credentials.account(&mysql);
        let used = &account.mysql;
        assert_eq!((used.user.as_str(), used.port), ("recovery", 3306));
        account
    }

    #[test]
    fn the_recovery_account_needs_verified_tls_unless_allowed() {
        let files = TlsSettings::new("ca.pem");
        let (preferred, required) = (Tls::Preferred(files.clone()), Tls::Required(files));
        for (probes, any, expected, reach) in [
            (&Tls::Off, false, &Tls::Off, RecoveryReach::ThisHost),
            (&preferred, false, &required, RecoveryReach::Everywhere),
            (&required, false, &required, RecoveryReach::Everywhere),
            (&Tls::Off, true, &Tls::Off, RecoveryReach::Everywhere),
            (&preferred, true, &preferred, RecoveryReach::Everywhere),
            (&required, true, &required, RecoveryReach::Everywhere),
        ] {
            let account = account(probes.clone(), any);
            assert_eq!((&account.mysql.tls, account.reach), (expected, reach));
        }
    }

    #[test]
    fn only_loopback_addresses_are_this_host() {
        let reach = RecoveryReach::ThisHost;
        for host in [
            "127.0.0.1",
            "127.8.9.10",
            "::1",
            "::ffff:127.0.0.1",
            "localhost",
        ] {
            assert!(reach.includes(host), "{host}");
            assert!(!RecoveryReach::Nowhere.includes(host), "{host}");
        }
        for host in [
            "10.0.0.1",
            "::",
            "0.0.0.0",
            "127.0.0.1.example.org",
            "db1",
            "",
        ] {
            assert!(!reach.includes(host), "{host}");
            assert!(RecoveryReach::Everywhere.includes(host), "{host}");
        }
    }
}
