//! Reads the server's status every second over a dedicated connection.
//!
//! The only module of the agent that uses the database driver. It only uses SHOW, which needs no privilege and works on
//! a server that is not Primary. Every attempt has a deadline, after which its connection is discarded.

mod failure;

use std::sync::Arc;
use std::time::Duration;

use galera::ClusterName;
use galera::observe::observation::{ProbeError, ProbeErrorKind};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, Opts, OptsBuilder, Row, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::observation::{ServerState, StatusReading};
use crate::outage_log::OutageLog;
use crate::settings::DatabaseSettings;
use failure::{connection_closed, from_io, from_server, one_line, probe_error};

/// Between two probes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for one attempt, including connecting.
const DEADLINE: Duration = Duration::from_secs(3);
/// More than any Galera version returns.
const ROWS_MAX: usize = 1_000;
const PACKET_MAX: usize = 1 << 20;

const STATUS: &str = "SHOW GLOBAL STATUS LIKE 'wsrep\\_%'";
const READ_ONLY: &str = "SHOW GLOBAL VARIABLES LIKE 'read_only'";
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('wsrep_node_name', 'wsrep_cluster_name', 'wsrep_provider', 'version')";

type VariableRows = Vec<(String, String)>;

/// Probes one server.
pub struct StatusProbe {
    database: DatabaseSettings,
    cluster: ClusterName,
    connection: Option<ProbeConnection>,
    read_only: bool,
    outage_log: OutageLog,
    logged_summary: Option<String>,
}

struct ProbeConnection {
    conn: Conn,
    /// Read once per connection: they change only with a restart.
    variables: VariableRows,
}

impl StatusProbe {
    /// A probe of `database`, which must belong to `cluster`.
    #[must_use]
    pub fn new(database: DatabaseSettings, cluster: ClusterName) -> Self {
        Self {
            database,
            cluster,
            connection: None,
            read_only: false,
            outage_log: OutageLog::default(),
            logged_summary: None,
        }
    }

    /// Also reads `read_only`.
    #[must_use]
    pub const fn with_read_only(mut self, asked: bool) -> Self {
        self.read_only = asked;
        self
    }

    /// Probes once over a new connection.
    ///
    /// # Errors
    /// If the server is unreachable, denies access or belongs to another cluster.
    pub async fn probe_once(mut self) -> Result<StatusReading, ProbeError> {
        self.attempt().await
    }

    /// Publishes the server's state every second and whenever `probe_now` is notified, until dropped.
    pub async fn run(mut self, server: watch::Sender<ServerState>, probe_now: Arc<Notify>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = probe_now.notified() => {}
            }
            let outcome = self.attempt().await;
            self.log_outcome(&outcome);
            server.send_modify(|server| *server = server.after_probe(outcome));
        }
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
        let fail = |error: Error| self.classify(&error);
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut status = query_rows(&mut connection.conn, STATUS)
            .await
            .map_err(fail)?;
        if self.read_only {
            let more = query_rows(&mut connection.conn, READ_ONLY).await;
            status.extend(more.map_err(fail)?);
        }
        status.extend(connection.variables.iter().cloned());
        Ok((StatusReading::from_rows(&status), connection))
    }

    async fn connect(&self) -> Result<ProbeConnection, ProbeError> {
        let fail = |error: Error| self.classify(&error);
        let mut conn = Conn::new(options(&self.database)).await.map_err(fail)?;
        let variables = query_rows(&mut conn, VARIABLES).await.map_err(fail)?;
        check_identity(&self.cluster, &variables)?;
        // This fails on a server without Galera, which was rejected above.
        conn.query_drop("SET SESSION wsrep_sync_wait=0")
            .await
            .map_err(fail)?;
        Ok(ProbeConnection { conn, variables })
    }

    fn classify(&self, error: &Error) -> ProbeError {
        let location = self.database.location();
        match error {
            Error::Io(IoError::Io(error)) => from_io(&location, error),
            Error::Driver(DriverError::ConnectionClosed) => connection_closed(&location),
            Error::Server(error) => {
                from_server(&location, &self.database, error.code, &error.message)
            }
            other => probe_error(
                ProbeErrorKind::Protocol,
                format!(
                    "{location} violates the MySQL protocol: {}",
                    one_line(&other.to_string())
                ),
            ),
        }
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

async fn query_rows(conn: &mut Conn, query: &str) -> Result<VariableRows, Error> {
    let mut result = conn.query_iter(query).await?;
    let mut rows = Vec::new();
    while let Some(row) = result.next().await? {
        if rows.len() < ROWS_MAX {
            rows.extend(name_and_value(row));
        }
    }
    Ok(rows)
}

/// A row of SHOW; invalid UTF-8 is replaced.
fn name_and_value(row: Row) -> Option<(String, String)> {
    let mut values = row.unwrap_raw().into_iter().flatten();
    let mut text = || match values.next() {
        Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    };
    Some((text()?, text()?))
}

fn options(database: &DatabaseSettings) -> Opts {
    let password = database
        .password
        .as_ref()
        .map(|password| password.expose().to_owned());
    let socket = database
        .socket
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    OptsBuilder::default()
        .ip_or_hostname(database.host.as_str())
        .tcp_port(database.port)
        // Otherwise the driver reads the server's socket path and reconnects there, possibly to another server.
        .prefer_socket(socket.is_some())
        .socket(socket)
        .user(Some(database.user.as_str()))
        .pass(password)
        // If either were unset, the driver would query it from the server first.
        .max_allowed_packet(Some(PACKET_MAX))
        .wait_timeout(Some(28_800))
        .stmt_cache_size(0)
        .into()
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
        return Err(probe_error(ProbeErrorKind::Protocol, message.to_owned()));
    }
    let name = value("wsrep_cluster_name");
    if name != cluster.as_str() {
        let name = one_line(name);
        let message = format!(
            "the server belongs to cluster {name:?} while CLUSTER_NAME is {cluster}; correct one of them"
        );
        return Err(probe_error(ProbeErrorKind::Protocol, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
}
