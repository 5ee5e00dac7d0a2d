//! Sessions that make a server useless to others: a global read lock, every connection in use.

use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::time::timeout;

use super::LabConditions;
use crate::rounds_lab::RoundsLab;

/// The least that a server accepts.
const FEWEST_CONNECTIONS: usize = 10;
/// MariaDB's own default.
const DEFAULT_CONNECTIONS: usize = 151;
/// Longest wait for a statement or a connection.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(4);

impl LabConditions {
    pub(super) async fn lock(&mut self, lab: &RoundsLab, node: usize) {
        let options = lab.node(node).options("root");
        let held = timeout(STATEMENT_TIMEOUT, async {
            let mut session = Conn::new(options).await?;
            session.query_drop("FLUSH TABLES WITH READ LOCK").await?;
            anyhow::Ok(session)
        });
        if let Ok(Ok(session)) = held.await {
            self.locks.push((node, session));
        }
    }

    pub(super) async fn fill(&mut self, lab: &RoundsLab, node: usize) {
        let limit = format!("SET GLOBAL max_connections={FEWEST_CONNECTIONS}");
        if lab.node(node).execute(&limit).await.is_err() {
            return;
        }
        let options = lab.local_options(node);
        for _ in 0..=FEWEST_CONNECTIONS {
            match timeout(STATEMENT_TIMEOUT, Conn::new(options.clone())).await {
                Ok(Ok(client)) => self.clients.push((node, client)),
                _ => break,
            }
        }
    }

    /// Ends the sessions that hold a lock on a node, as docs/recovery.md says: by `KILL`, from `SHOW PROCESSLIST`. Returns
    /// how many there were.
    ///
    /// # Errors
    /// If the node does not answer.
    pub(crate) async fn kill_locking_sessions(
        &mut self,
        lab: &RoundsLab,
        node: usize,
    ) -> Result<usize> {
        let held = self.locks.iter().filter(|(locked, _)| *locked == node);
        let ids: Vec<u32> = held.map(|(_, session)| session.id()).collect();
        for id in &ids {
            lab.node(node).execute(&format!("KILL {id}")).await?;
        }
        self.locks.retain(|(locked, _)| *locked != node);
        Ok(ids.len())
    }

    /// Raises `max_connections` of a node as root, or ends the applications' sessions where root gets no connection.
    ///
    /// # Errors
    /// If the node does not answer even then.
    pub(crate) async fn free_connections(&mut self, lab: &RoundsLab, node: usize) -> Result<()> {
        let limit = format!("SET GLOBAL max_connections={DEFAULT_CONNECTIONS}");
        if lab.node(node).execute(&limit).await.is_ok() {
            return Ok(());
        }
        self.clients.retain(|(full, _)| *full != node);
        let raised = lab.node(node).execute(&limit).await;
        raised.with_context(|| format!("raising max_connections of n{}", node + 1))
    }

    /// Ends every session; nodes that answer get their former limit back.
    pub(crate) async fn end_sessions(&mut self, lab: &RoundsLab) {
        self.locks.clear();
        for (node, client) in std::mem::take(&mut self.clients) {
            drop(client);
            // A server that was restarted has its limit back.
            let _ = self.free_connections(lab, node).await;
        }
    }
}
