//! The SQL connection that reads one node's status.
//!
//! Uses only SHOW and one SET SESSION, which work on a non-Primary node and need no privilege beyond USAGE. Nothing
//! here has a deadline; the caller sets one and drops the connection when it expires.

use std::net::IpAddr;

use galera::ClusterName;
use galera::observe::observation::ProbeError;
use galera::observe::wsrep::WsrepStatus;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, SslOpts, Value};

use super::MysqlSettings;
use super::failure::{self, shorten};

/// More rows or bytes than any Galera version sends: a peer that exceeds them is not a Galera node.
const ROWS_MAX: usize = 1_000;
/// Largest packet accepted, in bytes.
const PACKET_MAX: usize = 1 << 20;

const STATUS: &str = "SHOW GLOBAL STATUS LIKE 'wsrep_%'";
/// `wsrep_provider_pc_bootstrap` exists only where provider options are system variables, and selects the syntax of a
/// bootstrap.
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('wsrep_node_name', 'wsrep_cluster_name', 'wsrep_provider', 'version', 'wsrep_provider_pc_bootstrap')";

/// A connection verified to belong to the expected cluster.
pub(crate) struct StatusConnection {
    conn: Conn,
    user: String,
    /// Variables added to every reading (`wsrep_node_name`, `version`, …); none of them changes while a server runs.
    identity: Vec<(String, String)>,
}

impl StatusConnection {
    /// Connects to `host:port` and checks that a node of `cluster` answers.
    ///
    /// # Errors
    /// Classified, with a message shown to users.
    pub(crate) async fn open(
        host: &str,
        settings: &MysqlSettings,
        port: u16,
        cluster: &ClusterName,
    ) -> Result<Self, ProbeError> {
        let mut conn = connect(host, settings, port).await?;
        conn.query_drop("SET SESSION wsrep_sync_wait=0")
            .await
            .map_err(|error| failure::classify(&settings.user, &error))?;
        let mut connection = Self {
            conn,
            user: settings.user.clone(),
            identity: Vec::new(),
        };
        let variables = connection.rows(VARIABLES).await?;
        check_identity(cluster, &variables)?;
        connection.identity = variables;
        Ok(connection)
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
        let all = rows.iter().chain(&self.identity);
        Ok(WsrepStatus::from_rows(
            all.map(|(name, value)| (name, value)),
        ))
    }

    async fn rows(&mut self, query: &str) -> Result<Vec<(String, String)>, ProbeError> {
        rows(&mut self.conn, &self.user, query).await
    }
}

/// The rows of a SHOW statement, bounded.
pub(super) async fn rows(
    conn: &mut Conn,
    user: &str,
    query: &str,
) -> Result<Vec<(String, String)>, ProbeError> {
    let fail = |error| failure::classify(user, &error);
    let mut result = conn.query_iter(query).await.map_err(&fail)?;
    let mut rows = Vec::new();
    while let Some(row) = result.next().await.map_err(&fail)? {
        if rows.len() == ROWS_MAX {
            return Err(failure::protocol_error(format!(
                "more than {ROWS_MAX} status rows"
            )));
        }
        rows.extend(text_pair(row));
    }
    Ok(rows)
}

/// Opens a connection with the account of `settings`, without sending a statement.
pub(super) async fn connect(
    host: &str,
    settings: &MysqlSettings,
    port: u16,
) -> Result<Conn, ProbeError> {
    let addresses = resolve(host, settings).await?;
    Box::pin(Conn::new(options(host, port, addresses, settings)))
        .await
        .map_err(|error| failure::classify(&settings.user, &error))
}

async fn resolve(host: &str, settings: &MysqlSettings) -> Result<Vec<IpAddr>, ProbeError> {
    let found = settings.resolver.resolve(host).await;
    found.map_err(|error| failure::unresolvable(host, &error.to_string()))
}

fn options(host: &str, port: u16, addresses: Vec<IpAddr>, settings: &MysqlSettings) -> Opts {
    let tls = settings.tls_ca.clone().map(|ca| {
        SslOpts::default()
            .with_root_certs(vec![ca.into()])
            .with_disable_built_in_roots(true)
    });
    OptsBuilder::default()
        .ip_or_hostname(host)
        .resolved_ips(Some(addresses))
        .tcp_port(port)
        .user(Some(settings.user.as_str()))
        .pass(Some(settings.password.expose()))
        .ssl_opts(tls)
        // The driver would ask the server for its socket path and reconnect there, possibly to another server.
        .prefer_socket(false)
        // Set both: otherwise the driver queries the server for them first.
        .max_allowed_packet(Some(PACKET_MAX))
        .wait_timeout(Some(28_800))
        .stmt_cache_size(0)
        .into()
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
        Some(name) if name != cluster.as_str() => Err(failure::protocol_error(format!(
            "belongs to cluster {:?} instead of {:?}: not a node of this cluster, or its wsrep_cluster_name is wrong",
            shorten(name),
            cluster.as_str()
        ))),
        _ => Ok(()),
    }
}

/// Name and value of a SHOW row. Skips non-text values and replaces invalid UTF-8.
fn text_pair(row: Row) -> Option<(String, String)> {
    let mut values = row.unwrap_raw().into_iter().flatten();
    let mut text = || match values.next() {
        Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    };
    Some((text()?, text()?))
}

#[cfg(test)]
mod tests {
    use galera::observe::observation::ProbeErrorKind;

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
        assert_eq!(error.kind, ProbeErrorKind::Protocol);
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
