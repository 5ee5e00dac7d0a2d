//! The SQL connection that reads one node's status.
//!
//! Uses only SHOW and one SET SESSION, which work on a non-Primary node and need no privilege beyond USAGE. Nothing
//! here has a deadline; the caller sets one and drops the connection when it expires.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use console_core::address_policy::AddressPolicy;
use console_core::clock::now;
use galera::ClusterName;
use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::observe::server_details::ServerDetails;
use galera::observe::wsrep::{ServiceOptions, WsrepStatus};
use registry::spans;
use sql_client::{Connection, Login, Peer, connect_tcp};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::MysqlSettings;
use super::failure::{self, shorten};

const STATUS: &str = "SHOW GLOBAL STATUS LIKE 'wsrep_%'";
/// `wsrep_provider_pc_bootstrap` exists only where provider options are system variables, and selects the syntax of a
/// bootstrap. The provider's options have the votes of the node.
/// Further ones decide whether the server serves, and change at any time.
static VARIABLES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
         ('wsrep_node_name', 'wsrep_cluster_name', 'wsrep_provider', 'version', 'server_uuid', 'extra_port', \
         'wsrep_provider_pc_bootstrap', 'wsrep_provider_options', 'wsrep_provider_pc_weight', \
         'wsrep_provider_pc_ignore_sb', 'wsrep_provider_pc_ignore_quorum', {})",
        ServiceOptions::NAMES
    )
});
/// After how long the variables are read again. It costs the server more than a reading of the status.
const VARIABLES_MAX_AGE: Duration = Duration::from_secs(5);
static DETAIL_VARIABLES: LazyLock<String> = LazyLock::new(ServerDetails::variables_statement);
static DETAIL_STATUS: LazyLock<String> = LazyLock::new(ServerDetails::status_statement);
/// After how long the details are read again: no decision rests on them.
const DETAILS_MAX_AGE: Duration = Duration::from_secs(15);

/// A connection verified to belong to the expected cluster.
pub(crate) struct StatusConnection {
    conn: Connection,
    user: String,
    /// The server's address.
    address: Option<SocketAddr>,
    /// Variables added to every reading (`wsrep_node_name`, `version`, …).
    variables: Vec<(String, String)>,
    variables_read_at: Instant,
    /// The votes of the component and `wsrep_ready` in the last reading: a change hints at changed variables.
    last_hints: Option<(Option<u64>, Option<bool>)>,
    /// Further variables and status, and when they were read.
    details: Option<(Arc<ServerDetails>, Instant)>,
}

impl StatusConnection {
    /// Connects to `host:port`, at an address that `policy` permits, and checks that a node of `cluster` answers.
    ///
    /// # Errors
    /// Classified, with a message shown to users.
    pub(crate) async fn open(
        host: &str,
        settings: &MysqlSettings,
        policy: Option<&AddressPolicy>,
        port: u16,
        cluster: &ClusterName,
    ) -> Result<Self, ProbeError> {
        let addresses = permitted(host, resolve(host, settings, port).await?, policy)?;
        let (mut conn, address) = connect_to(host, settings, &addresses).await?;
        conn.execute("SET SESSION wsrep_sync_wait=0")
            .await
            .map_err(|error| failure::classify(&settings.user, &error))?;
        let mut connection = Self {
            conn,
            user: settings.user.clone(),
            address,
            variables: Vec::new(),
            variables_read_at: Instant::now(),
            last_hints: None,
            details: None,
        };
        let variables = connection.rows(&VARIABLES).await?;
        check_identity(cluster, &variables)?;
        connection.variables = variables;
        Ok(connection)
    }

    /// The server's address.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Reads the node's status once.
    ///
    /// # Errors
    /// Classified; the connection must not be used again afterwards.
    pub(crate) async fn read_status(&mut self) -> Result<WsrepStatus, ProbeError> {
        let rows = self.rows(STATUS).await?;
        if rows.is_empty() {
            return Err(failure::not_galera());
        }
        let status = self.status(&rows);
        let hints = (status.cluster_weight, status.ready);
        let before = self.last_hints.replace(hints);
        let changed = before.is_some_and(|before| before != hints);
        if changed || self.variables_read_at.elapsed() >= VARIABLES_MAX_AGE {
            self.variables = self.rows(&VARIABLES).await?;
            self.variables_read_at = Instant::now();
        } else if before.is_some() && self.details_are_due() {
            // Not with the first reading, which a person may wait for.
            self.read_details().await?;
        } else {
            return Ok(status);
        }
        Ok(self.status(&rows))
    }

    fn details_are_due(&self) -> bool {
        let read = self.details.as_ref();
        read.is_none_or(|(_, at)| at.elapsed() >= DETAILS_MAX_AGE)
    }

    /// A server that refuses these statements is read without details.
    async fn read_details(&mut self) -> Result<(), ProbeError> {
        let mut rows = Vec::new();
        for statement in [&*DETAIL_VARIABLES, &*DETAIL_STATUS] {
            match self.rows(statement).await {
                Ok(read) => rows.extend(read),
                Err(error) if error.kind == ProbeErrorKind::ServerError => {}
                Err(error) => return Err(error),
            }
        }
        let details = Arc::new(ServerDetails::from_rows(rows).with_time(now()));
        self.details = Some((details, Instant::now()));
        Ok(())
    }

    fn status(&self, rows: &[(String, String)]) -> WsrepStatus {
        let all = rows.iter().chain(&self.variables);
        let mut status = WsrepStatus::from_rows(all.map(|(name, value)| (name, value)));
        status.details = self
            .details
            .as_ref()
            .map(|(details, _)| Arc::clone(details));
        status
    }

    async fn rows(&mut self, query: &str) -> Result<Vec<(String, String)>, ProbeError> {
        rows(&mut self.conn, &self.user, query).await
    }
}

/// The rows of a SHOW statement.
pub(super) async fn rows(
    conn: &mut Connection,
    user: &str,
    query: &str,
) -> Result<Vec<(String, String)>, ProbeError> {
    let read = conn.query_pairs(query);
    read.instrument(sql_call("SHOW"))
        .await
        .map_err(|error| failure::classify(user, &error))
}

/// The span of a statement of the kind `operation`, without its text; disabled where nothing is traced.
pub(super) fn sql_call(operation: &'static str) -> Span {
    if !spans::is_traced() {
        return Span::none();
    }
    tracing::info_span!(
        target: spans::TARGET, "sql",
        otel.name = operation, otel.kind = "client", otel.status_code = Empty,
        db.system.name = "mariadb", db.operation.name = operation, error.type = Empty,
    )
}

/// Opens a connection with the account of `settings`, without sending a statement.
pub(super) async fn connect(
    host: &str,
    settings: &MysqlSettings,
    port: u16,
) -> Result<Connection, ProbeError> {
    let addresses = resolve(host, settings, port).await?;
    let (connection, _) = connect_to(host, settings, &addresses).await?;
    Ok(connection)
}

/// Opens a connection to the first of `addresses` that accepts one; returns that address too.
async fn connect_to(
    host: &str,
    settings: &MysqlSettings,
    addresses: &[SocketAddr],
) -> Result<(Connection, Option<SocketAddr>), ProbeError> {
    let login = Login {
        user: &settings.user,
        password: settings.password.expose(),
    };
    let peer = Peer::Network {
        host,
        tls: &settings.tls,
    };
    let connected = async {
        let stream = connect_tcp(addresses).await?;
        let address = stream.peer_addr().ok();
        Ok((Connection::open(stream, peer, login).await?, address))
    };
    Box::pin(connected)
        .await
        .map_err(|error| failure::classify(&settings.user, &error))
}

/// The addresses that `policy` permits.
fn permitted(
    host: &str,
    addresses: Vec<SocketAddr>,
    policy: Option<&AddressPolicy>,
) -> Result<Vec<SocketAddr>, ProbeError> {
    let Some(policy) = policy else {
        return Ok(addresses);
    };
    let mut blocked = None;
    let mut permitted = Vec::new();
    for address in addresses {
        match policy.blocked_reason(address.ip()) {
            None => permitted.push(address),
            Some(what) => blocked = Some((address.ip(), what)),
        }
    }
    match blocked {
        Some((address, what)) if permitted.is_empty() => Err(failure::blocked(host, address, what)),
        _ => Ok(permitted),
    }
}

async fn resolve(
    host: &str,
    settings: &MysqlSettings,
    port: u16,
) -> Result<Vec<SocketAddr>, ProbeError> {
    match settings.resolver.resolve(host).await {
        Ok(found) => Ok(found.into_iter().map(|ip| (ip, port).into()).collect()),
        Err(error) => Err(failure::unresolvable(host, &error.to_string())),
    }
}

pub(super) fn check_identity(
    cluster: &ClusterName,
    variables: &[(String, String)],
) -> Result<(), ProbeError> {
    let value = |name: &str| {
        let found = variables
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    if value("wsrep_provider").is_none_or(|provider| provider.is_empty() || provider == "none") {
        return Err(failure::not_galera());
    }
    match value("wsrep_cluster_name") {
        Some(name) if name != cluster.wsrep_name() => Err(failure::not_a_member(format!(
            "belongs to cluster {:?} instead of {:?}: the address was given to another server, or its wsrep_cluster_name is wrong",
            shorten(name),
            cluster.wsrep_name()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rows: &[(&str, &str)]) -> Result<(), ProbeError> {
        let rows: Vec<_> = rows
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        check_identity(&"lab".parse().unwrap(), &rows)
    }

    #[test]
    fn accepts_a_node_of_the_cluster() {
        assert_eq!(
            checked(&[
                ("wsrep_provider", "/usr/lib/libgalera.so"),
                ("wsrep_cluster_name", "lab")
            ])
            .map_err(|e| e.message),
            Ok(())
        );
    }

    #[test]
    fn refuses_a_node_of_another_cluster() {
        let error =
            checked(&[("wsrep_provider", "x.so"), ("wsrep_cluster_name", "other")]).unwrap_err();
        assert_eq!(error.kind, ProbeErrorKind::NotAMember);
        assert!(
            error.message.contains("belongs to cluster \"other\""),
            "{}",
            error.message
        );
    }

    #[test]
    fn refuses_a_database_without_galera() {
        for rows in [
            &[("wsrep_provider", "none")][..],
            &[("version", "8.0.36")][..],
        ] {
            let error = checked(rows).unwrap_err();
            assert!(
                error.message.contains("without Galera"),
                "{}",
                error.message
            );
        }
    }
}
