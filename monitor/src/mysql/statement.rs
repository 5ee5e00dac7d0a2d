//! The connection on which the single statement of a plan is sent, with the recovery account.
//!
//! Opened before the intention is recorded. The database itself closes it if the sender pauses for longer than
//! [`STATEMENT_WAIT_TIMEOUT`], so that an old intention can no longer be sent, and refuses a statement that it runs later
//! than the deadline that was set when the connection was opened (I38). The server's process is compared with the planned
//! one over this connection, because an address may lead to several servers.

use std::time::Duration;

use galera::ClusterName;
use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::observe::wsrep::WsrepStatus;
use galera::recover::action::STATEMENT_WAIT_TIMEOUT;
use galera::recover::bootstrap::{PlannedServer, STATEMENT_DEADLINE, STATEMENT_TIME_ZONE};
use registry::spans;
use sql_client::{Connection, Error};
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::MysqlSettings;
use super::connection::{check_identity, connect, rows, sql_call};
use super::failure::{self, shorten};

const IDENTITY: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('wsrep_cluster_name', 'wsrep_provider', 'server_uuid')";
const PROCESS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN \
     ('wsrep_gcomm_uuid', 'wsrep_local_state_uuid', 'wsrep_cluster_state_uuid')";

/// Attempts to connect to a server on which every connection is in use, and the pause between two.
const RESERVE_ATTEMPTS: usize = 10;
const RESERVE_DELAY: Duration = Duration::from_millis(100);

/// The server's response to the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementOutcome {
    /// OK, which does not prove any effect yet (I21).
    Accepted,
    /// Refused by the server.
    Refused(String),
    /// May or may not have been executed.
    Unknown(String),
}

/// An open connection that has not sent a statement yet.
pub struct StatementConnection {
    conn: Connection,
    user: String,
    limit: Duration,
}

impl StatementConnection {
    /// Connects to `host:port` with the recovery account and checks that a node of `cluster` answers, and that it is the
    /// server that the statement was planned for.
    ///
    /// # Errors
    /// Classified, with a message shown to users; no statement was sent.
    pub async fn open(
        host: &str,
        settings: &MysqlSettings,
        port: u16,
        cluster: &ClusterName,
        planned: &PlannedServer,
        limit: Duration,
    ) -> Result<Self, ProbeError> {
        let opened = async {
            let mut conn = connect_to_reserve(host, settings, port).await?;
            let fail = |error| failure::classify(&settings.user, &error);
            let variables = rows(&mut conn, &settings.user, IDENTITY).await?;
            check_identity(cluster, &variables)?;
            let status = rows(&mut conn, &settings.user, PROCESS).await?;
            let reported = WsrepStatus::from_rows(variables.into_iter().chain(status));
            planned.check(&reported).map_err(failure::protocol_error)?;
            let wait = format!(
                "SET SESSION wait_timeout={}",
                STATEMENT_WAIT_TIMEOUT.as_secs()
            );
            for prepared in [&wait, STATEMENT_TIME_ZONE, STATEMENT_DEADLINE] {
                let prepared = conn.execute(prepared).instrument(sql_call("SET"));
                prepared.await.map_err(fail)?;
            }
            Ok(conn)
        };
        let conn = timeout(limit, Box::pin(opened))
            .await
            .unwrap_or_else(|_| Err(failure::timed_out(limit, false)))?;
        Ok(Self {
            conn,
            user: settings.user.clone(),
            limit,
        })
    }

    /// Sends `statement` exactly once, and consumes the connection.
    pub async fn send(mut self, statement: &str) -> StatementOutcome {
        // Every statement of a plan sets a variable.
        let span = sql_call("SET GLOBAL");
        let sent = Box::pin(self.conn.execute(statement)).instrument(span.clone());
        let outcome = match timeout(self.limit, sent).await {
            Ok(Ok(())) => StatementOutcome::Accepted,
            Ok(Err(error)) => classify_outcome(&self.user, &error),
            Err(_) => StatementOutcome::Unknown(format!(
                "no answer within {} s; it may still be executed",
                self.limit.as_secs_f64()
            )),
        };
        match &outcome {
            StatementOutcome::Accepted => {}
            StatementOutcome::Refused(_) => spans::record_error(&span, "refused"),
            StatementOutcome::Unknown(_) => spans::record_error(&span, "unknown"),
        }
        outcome
    }
}

/// Connects, and waits for the connection that a server reserves for this account if a probe holds it for a moment.
async fn connect_to_reserve(
    host: &str,
    settings: &MysqlSettings,
    port: u16,
) -> Result<Connection, ProbeError> {
    let mut attempt = 1;
    loop {
        match connect(host, settings, port).await {
            Err(error)
                if error.kind == ProbeErrorKind::TooManyConnections
                    && attempt < RESERVE_ATTEMPTS =>
            {
                attempt += 1;
                sleep(RESERVE_DELAY).await;
            }
            connected => return connected,
        }
    }
}

/// A refusal by the server is certain; anything that ends the connection or interrupts the statement leaves the
/// outcome unknown.
fn classify_outcome(user: &str, error: &Error) -> StatementOutcome {
    let Error::Server(server) = error else {
        return StatementOutcome::Unknown(failure::classify(user, error).message);
    };
    let text = shorten(&server.message);
    match server.code {
        // Shutting down, killed, interrupted, timed out.
        1053 | 1205 | 1317 | 1927 | 1969 | 3024 => {
            StatementOutcome::Unknown(format!("error {}: {text}", server.code))
        }
        1227 => StatementOutcome::Refused(format!(
            "error 1227: the account {user} lacks a privilege (SUPER, or SYSTEM_VARIABLES_ADMIN): {text}"
        )),
        // The value of a statement that is late: an option that does not exist.
        1210 | 1231 => StatementOutcome::Refused(format!(
            "error {}: the server did not run it, because it was Primary by then, the statement was late, or its group is \
             forming a new view ({text})",
            server.code
        )),
        code => StatementOutcome::Refused(format!("error {code}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use sql_client::ServerError;

    use super::*;

    fn outcome_of(code: u16) -> StatementOutcome {
        let error = Error::Server(ServerError {
            code,
            message: "text".to_owned(),
        });
        classify_outcome("recovery", &error)
    }

    #[test]
    fn a_missing_privilege_is_a_refusal() {
        assert!(
            matches!(outcome_of(1227), StatementOutcome::Refused(text) if text.contains("SUPER"))
        );
        assert!(matches!(outcome_of(1064), StatementOutcome::Refused(_)));
    }

    #[test]
    fn i38_a_late_statement_was_certainly_not_run() {
        for code in [1210, 1231] {
            let outcome = outcome_of(code);
            assert!(
                matches!(&outcome, StatementOutcome::Refused(text) if text.contains("late")),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn an_interruption_leaves_the_outcome_unknown() {
        for code in [1053, 1205, 1317, 1927, 1969, 3024] {
            assert!(
                matches!(outcome_of(code), StatementOutcome::Unknown(_)),
                "{code}"
            );
        }
        let reset = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(
            classify_outcome("recovery", &reset),
            StatementOutcome::Unknown(_)
        ));
    }
}
