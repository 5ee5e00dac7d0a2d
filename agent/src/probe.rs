//! Reads the server's status every second over a dedicated connection.
//!
//! It only uses SHOW, which needs no privilege and works on a server that is not Primary; `run::accounts` is the only other
//! module of the agent that uses the SQL client. Every attempt has a deadline, after which its connection is discarded.

mod failure;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::FutureExt;
use galera::ClusterName;
use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::observe::wsrep::ServiceOptions;
use registry::Secret;
use sql_client::{Connection, Error, Login, Peer, connect_socket, connect_tcp};
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::observation::{ServerState, StatusReading};
use crate::outage_log::OutageLog;
use crate::settings::DatabaseSettings;
use crate::settings::accounts::DatabaseAccount;
use failure::{one_line, probe_error, unresolvable};

/// Between two probes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest delay after an attempt that panicked.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);
/// Delay after a refused sign-in: a server may block an account after too many (`max_password_errors`).
const DENIED_DELAY: Duration = Duration::from_secs(5);
/// Time for one attempt, including connecting.
const DEADLINE: Duration = Duration::from_secs(3);

const STATUS: &str = "SHOW GLOBAL STATUS LIKE 'wsrep\\_%'";
/// What decides whether the server serves; it changes at any time.
static SERVICE: LazyLock<String> = LazyLock::new(|| {
    let names = ServiceOptions::NAMES;
    format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
});
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('wsrep_node_name', 'wsrep_cluster_name', 'wsrep_provider', 'wsrep_provider_options', 'wsrep_provider_pc_weight', \
     'version')";

type VariableRows = Vec<(String, String)>;

/// Probes one server.
pub struct StatusProbe {
    database: DatabaseSettings,
    /// Accounts to use when the server denies access to that of `database`, in order.
    other_logins: Vec<DatabaseAccount>,
    cluster: ClusterName,
    connection: Option<ProbeConnection>,
    outage_log: OutageLog,
    logged_summary: Option<String>,
}

struct ProbeConnection {
    conn: Connection,
    /// Read once per connection: they change only with a restart.
    variables: VariableRows,
}

impl StatusProbe {
    /// A probe of `database`, which must belong to `cluster`.
    #[must_use]
    pub fn new(database: DatabaseSettings, cluster: ClusterName) -> Self {
        Self {
            database,
            other_logins: Vec::new(),
            cluster,
            connection: None,
            outage_log: OutageLog::default(),
            logged_summary: None,
        }
    }

    /// Uses these accounts, in order, when the server denies access to the first one.
    #[must_use]
    pub fn with_other_logins(mut self, logins: Vec<DatabaseAccount>) -> Self {
        self.other_logins = logins;
        self
    }

    /// Probes once over a new connection.
    ///
    /// # Errors
    /// If the server is unreachable, denies access or belongs to another cluster.
    pub async fn probe_once(mut self) -> Result<StatusReading, ProbeError> {
        self.supervised_attempt().await.0
    }

    /// Publishes the server's state every second and whenever `probe_now` is notified, until dropped.
    pub async fn run(mut self, server: watch::Sender<ServerState>, probe_now: Arc<Notify>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut delay = INTERVAL;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = probe_now.notified() => {}
            }
            let (outcome, panicked) = self.supervised_attempt().await;
            self.log_outcome(&outcome);
            let denied =
                matches!(&outcome, Err(error) if error.kind == ProbeErrorKind::AccessDenied);
            server.send_modify(|server| *server = server.after_probe(outcome));
            match panicked {
                true => {
                    sleep(delay).await;
                    delay = (delay * 2).min(RESTART_DELAY_MAX);
                }
                false => delay = INTERVAL,
            }
            if denied {
                sleep(DENIED_DELAY).await;
            }
        }
    }

    /// An attempt that cannot end the agent. Also returns whether it panicked.
    async fn supervised_attempt(&mut self) -> (Result<StatusReading, ProbeError>, bool) {
        // Nothing of an attempt that panicked is used afterwards: it has taken the connection.
        caught(self.attempt()).await
    }

    /// Probes once. A connection that was closed while idle is replaced once: this says nothing about the server.
    async fn attempt(&mut self) -> Result<StatusReading, ProbeError> {
        let reused = self.connection.is_some();
        match self.attempt_with_deadline().await {
            Err(error) if reused && error.kind == ProbeErrorKind::Closed => {
                self.attempt_with_deadline().await
            }
            outcome => outcome,
        }
    }

    async fn attempt_with_deadline(&mut self) -> Result<StatusReading, ProbeError> {
        // Taken, so that a failed or cancelled attempt drops the connection.
        let connection = self.connection.take();
        let attempt = Box::pin(self.read(connection));
        let (reading, connection) = match timeout(DEADLINE, attempt).await {
            Ok(read) => read?,
            Err(_) => {
                return Err(probe_error(
                    ProbeErrorKind::TimedOut,
                    format!(
                        "{} did not respond within {} s",
                        self.database.location(),
                        DEADLINE.as_secs()
                    ),
                ));
            }
        };
        self.connection = Some(connection);
        Ok(reading)
    }

    async fn read(
        &self,
        connection: Option<ProbeConnection>,
    ) -> Result<(StatusReading, ProbeConnection), ProbeError> {
        let fail = |error: Error| failure::classify(&self.database, &error);
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut status = connection.conn.query_pairs(STATUS).await.map_err(fail)?;
        let more = connection.conn.query_pairs(&SERVICE).await;
        status.extend(more.map_err(fail)?);
        status.extend(connection.variables.iter().cloned());
        Ok((StatusReading::from_rows(&status), connection))
    }

    async fn connect(&self) -> Result<ProbeConnection, ProbeError> {
        let fail = |error: Error| failure::classify(&self.database, &error);
        let mut conn = self.sign_in().await?;
        let variables = conn.query_pairs(VARIABLES).await.map_err(fail)?;
        check_identity(&self.cluster, &variables)?;
        // This fails on a server without Galera, which was rejected above.
        conn.execute("SET SESSION wsrep_sync_wait=0")
            .await
            .map_err(fail)?;
        Ok(ProbeConnection { conn, variables })
    }

    /// Signs in with the first account that the server accepts.
    async fn sign_in(&self) -> Result<Connection, ProbeError> {
        let database = &self.database;
        let first = match self
            .sign_in_as(&database.user, database.password.as_ref())
            .await
        {
            Err(error) if error.kind == ProbeErrorKind::AccessDenied => error,
            outcome => return outcome,
        };
        let mut denied = vec![database.user.as_str()];
        for login in &self.other_logins {
            match self.sign_in_as(&login.user, Some(&login.password)).await {
                Err(error) if error.kind == ProbeErrorKind::AccessDenied => {
                    denied.push(&login.user);
                }
                outcome => return outcome,
            }
        }
        Err(match self.other_logins.is_empty() {
            true => first,
            false => failure::all_denied(&database.location(), &denied, &first),
        })
    }

    async fn sign_in_as(
        &self,
        user: &str,
        password: Option<&Secret>,
    ) -> Result<Connection, ProbeError> {
        let database = &self.database;
        let login = Login {
            user,
            password: password.map_or("", Secret::expose),
        };
        let opened = match &database.socket {
            Some(path) => match connect_socket(path).await {
                Ok(stream) => Connection::open(stream, Peer::Socket, login).await,
                Err(error) => Err(error.into()),
            },
            None => {
                let found = lookup_host((database.host.as_str(), database.port)).await;
                let addresses: Vec<SocketAddr> = found
                    .map_err(|error| unresolvable(&database.location(), &error))?
                    .collect();
                let peer = Peer::Network {
                    host: &database.host,
                    tls: &database.tls,
                };
                match connect_tcp(&addresses).await {
                    Ok(stream) => Connection::open(stream, peer, login).await,
                    Err(error) => Err(error.into()),
                }
            }
        };
        opened.map_err(|error| failure::classify(database, &error))
    }

    /// Logs changes of the server's state, and a lasting failure once a minute.
    fn log_outcome(&mut self, outcome: &Result<StatusReading, ProbeError>) {
        let location = self.database.location();
        match outcome {
            Ok(reading) => {
                if let Some(outage) = self.outage_log.recovered() {
                    tracing::info!(
                        outage_s = outage.as_secs(),
                        "Server {location} is reachable again"
                    );
                }
                let summary = reading.summary();
                if self.logged_summary.as_ref() != Some(&summary) {
                    tracing::info!("Server {location}: {summary}");
                    self.logged_summary = Some(summary);
                }
            }
            Err(error) => {
                self.logged_summary = None;
                if let Some(outage) = self.outage_log.failed(&error.message) {
                    let (kind, outage_s) = (error.kind.as_str(), outage.as_secs());
                    tracing::warn!(
                        kind,
                        outage_s,
                        "Server unreachable, withdrawing its status: {error}"
                    );
                }
            }
        }
    }
}

/// The outcome of `attempt`, or its panic as a probe error. Also returns whether it panicked.
async fn caught<T>(
    attempt: impl Future<Output = Result<T, ProbeError>>,
) -> (Result<T, ProbeError>, bool) {
    match AssertUnwindSafe(attempt).catch_unwind().await {
        Ok(outcome) => (outcome, false),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let reason = text.unwrap_or("a panic without a message");
            tracing::error!("The probe panicked: {reason}");
            (Err(failure::internal(reason)), true)
        }
    }
}

/// Reporting a server of another cluster would be misleading.
fn check_identity(cluster: &ClusterName, variables: &VariableRows) -> Result<(), ProbeError> {
    let value = |name: &str| {
        let found = variables
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    };
    if matches!(value("wsrep_provider"), "" | "none") {
        let message = "the server runs without Galera; set wsrep_provider and wsrep_on";
        return Err(probe_error(ProbeErrorKind::NotAMember, message.to_owned()));
    }
    let name = value("wsrep_cluster_name");
    if name != cluster.wsrep_name() {
        let name = one_line(name);
        let message = format!(
            "the server belongs to cluster {name:?} while CLUSTER_NAME is {cluster}; correct one of them"
        );
        return Err(probe_error(ProbeErrorKind::NotAMember, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sql_client::Tls;
    use sql_client::hostile::{HostileServer, Misbehavior, PASSWORD};

    use super::*;

    fn check(rows: &[(&str, &str)]) -> Result<(), String> {
        let rows = rows
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        check_identity(&"lab".parse().unwrap(), &rows).map_err(|error| error.message)
    }

    #[test]
    fn only_a_server_of_this_cluster_is_reported() {
        let provider = ("wsrep_provider", "/usr/lib/galera/libgalera_smm.so");
        assert_eq!(check(&[provider, ("wsrep_cluster_name", "lab")]), Ok(()));
        let other = check(&[provider, ("wsrep_cluster_name", "other")]).unwrap_err();
        assert!(
            other.contains("\"other\"") && other.contains("CLUSTER_NAME is lab"),
            "{other}"
        );
        assert!(
            check(&[("wsrep_provider", "none")])
                .unwrap_err()
                .contains("without Galera")
        );
        assert!(check(&[]).unwrap_err().contains("without Galera"));
    }

    fn database(port: u16) -> DatabaseSettings {
        DatabaseSettings {
            host: "127.0.0.1".to_owned(),
            port,
            socket: None,
            tls: Tls::Off,
            user: "console".to_owned(),
            password: Some(Secret::new(PASSWORD)),
        }
    }

    #[tokio::test]
    async fn a_hostile_server_gets_no_password_and_ends_no_probe() {
        for &misbehavior in Misbehavior::ALL {
            // These last until the deadline, which the test does not.
            if misbehavior.waits() || misbehavior.answers() {
                continue;
            }
            let server = HostileServer::start(misbehavior);
            let port = server.address().port();
            let mut probe = StatusProbe::new(database(port), "lab".parse().unwrap());
            for _ in 0..2 {
                let (outcome, panicked) = probe.supervised_attempt().await;
                let error = outcome.unwrap_err();
                assert!(!panicked, "{misbehavior:?}");
                assert!(
                    matches!(
                        error.kind,
                        ProbeErrorKind::Protocol
                            | ProbeErrorKind::Closed
                            | ProbeErrorKind::AccessDenied
                            | ProbeErrorKind::TlsFailed
                            | ProbeErrorKind::ServerError
                    ),
                    "{misbehavior:?}: {error}"
                );
            }
            assert!(!server.has_password(), "{misbehavior:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_probe_error() {
        let (outcome, panicked) = caught::<()>(async { panic!("fault {}", 7) }).await;
        let error = outcome.unwrap_err();
        assert!(panicked && error.kind == ProbeErrorKind::Protocol);
        assert!(error.message.contains("fault 7"), "{error}");
        assert!(!caught(async { Ok(()) }).await.1);
    }
}
