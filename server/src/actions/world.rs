//! The outside of an executor: what the nodes say and the one statement that they are sent. A trait, so that tests can
//! stop an executor between any two of its steps.

use futures::future::BoxFuture;
use galera::judge::known_positions::History;
use galera::observe::observation::Evidence;
use galera::recover::action::StepResult;
use galera::recover::cleanup::Reading;
use galera::{ClusterName, NodeId};
use monitor::Hub;
use monitor::mysql::MysqlSettings;
use monitor::mysql::{Answer, StatementConnection};
use registry::Secret;

/// What is known of a cluster at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// What the sources say.
    pub evidence: Evidence,
    /// What is remembered.
    pub history: History,
    /// Linearizable readings of the cluster's keys, in order of time; the last one is the present. Empty when the
    /// registry cannot be read.
    pub readings: Vec<Reading>,
}

/// An open connection that has sent nothing yet.
pub trait Channel: Send {
    /// Sends `statement` once.
    fn send(self: Box<Self>, statement: String) -> BoxFuture<'static, StepResult>;
}

/// The nodes of all clusters.
pub trait World: Send + Sync {
    /// What is known of `cluster`, with its keys read now and, when `fresh`, every node asked now; `None` for an unknown
    /// cluster.
    fn look<'a>(&'a self, cluster: &'a ClusterName, fresh: bool) -> BoxFuture<'a, Option<Look>>;

    /// What was known of `cluster` last, without asking anybody.
    fn known(&self, cluster: &ClusterName) -> Option<Look>;

    /// Says something about `cluster` on every page; nothing takes it back.
    fn tell(&self, cluster: &ClusterName, sentences: Vec<String>);

    /// Opens the connection for a statement. The error says why, for people; nothing was sent then.
    fn open<'a>(
        &'a self,
        cluster: &'a ClusterName,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<Box<dyn Channel>, String>>;
}

/// The account that may act on the databases.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// The real nodes, through the hub and SQL.
pub struct HubWorld {
    hub: Hub,
    mysql: Option<MysqlSettings>,
    default_port: u16,
    limit: std::time::Duration,
}

impl HubWorld {
    /// The nodes that `hub` knows; statements are sent with `recovery`, to where `mysql` says, and answered within
    /// `limit`.
    #[must_use]
    pub fn new(
        hub: Hub,
        mysql: &MysqlSettings,
        recovery: Option<Recovery>,
        limit: std::time::Duration,
    ) -> Self {
        Self {
            hub,
            default_port: mysql.port,
            mysql: recovery.map(|recovery| MysqlSettings {
                user: recovery.user,
                password: recovery.password,
                ..mysql.clone()
            }),
            limit,
        }
    }

    async fn connect(
        &self,
        cluster: &ClusterName,
        node: &NodeId,
    ) -> Result<Box<dyn Channel>, String> {
        let Some(mysql) = &self.mysql else {
            return Err("the console has no recovery account (--recovery-user)".to_owned());
        };
        let port = node.port().unwrap_or(self.default_port);
        let opened = StatementConnection::open(node.host(), mysql, port, cluster, self.limit);
        match opened.await {
            Ok(connection) => Ok(Box::new(SqlChannel(connection))),
            Err(error) => Err(error.message),
        }
    }
}

struct SqlChannel(StatementConnection);

impl Channel for SqlChannel {
    fn send(self: Box<Self>, statement: String) -> BoxFuture<'static, StepResult> {
        Box::pin(async move {
            match self.0.send(&statement).await {
                Answer::Taken => StepResult::Done("OK".to_owned()),
                Answer::Refused(why) => StepResult::Refused(why),
                Answer::Unknown(why) => StepResult::Unknown(why),
            }
        })
    }
}

impl World for HubWorld {
    fn look<'a>(&'a self, cluster: &'a ClusterName, fresh: bool) -> BoxFuture<'a, Option<Look>> {
        Box::pin(async move {
            let (known, readings) = self.hub.look(cluster, fresh).await?;
            let readable = known.evidence.registry_health.reachable;
            Some(Look {
                evidence: known.evidence,
                history: known.history,
                readings: if readable { readings } else { Vec::new() },
            })
        })
    }

    fn known(&self, cluster: &ClusterName) -> Option<Look> {
        let known = self.hub.known(cluster)?;
        Some(Look {
            evidence: known.evidence.clone(),
            history: known.history.clone(),
            readings: Vec::new(),
        })
    }

    fn tell(&self, cluster: &ClusterName, sentences: Vec<String>) {
        self.hub.set_notices(&format!("ahead/{cluster}"), sentences);
    }

    fn open<'a>(
        &'a self,
        cluster: &'a ClusterName,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<Box<dyn Channel>, String>> {
        Box::pin(self.connect(cluster, node))
    }
}
