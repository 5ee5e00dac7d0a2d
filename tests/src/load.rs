//! Clients that write continuously and record what was acknowledged, so that any loss is detected.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::background::runtime;

/// Longest wait for a connection or a transaction; the outcome is then unknown and the client moves to another node.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for all rows.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two transactions of a writer.
const PAUSE: Duration = Duration::from_millis(15);
/// Pause after a failure.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// What makes the table and the account `writer`, as statements for an administrator.
#[must_use]
pub fn schema(password: &str) -> [String; 4] {
    [
        "CREATE DATABASE IF NOT EXISTS acceptance".to_owned(),
        "CREATE TABLE IF NOT EXISTS acceptance.ledger (id BIGINT UNSIGNED PRIMARY KEY)".to_owned(),
        format!("CREATE OR REPLACE USER writer@'%' IDENTIFIED BY '{password}'"),
        "GRANT SELECT, INSERT ON acceptance.* TO writer@'%'".to_owned(),
    ]
}

/// Where a client connects.
#[derive(Clone, Debug)]
pub struct ConnectTarget {
    /// The node's name.
    pub node: String,
    pub options: Opts,
}

/// Where a writer goes next: its number and how many rows it has tried; `None` when there is nowhere to go.
pub type TargetSelector = Arc<dyn Fn(u64, u64) -> Option<ConnectTarget> + Send + Sync>;

/// An acknowledged row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcknowledgedRow {
    pub id: u64,
    /// Who acknowledged it.
    pub node: String,
    /// The node's `wsrep_last_committed` shortly afterwards, which is at or above the row's seqno; `None` if it could
    /// not be read.
    pub position: Option<u64>,
}

#[derive(Default)]
struct WriteLedger {
    acknowledged: Vec<AcknowledgedRow>,
    last: Option<Instant>,
    longest_pause: Duration,
}

/// Running writers; they end with this value.
pub struct WriteLoad {
    ledger: Arc<Mutex<WriteLedger>>,
    stop: CancellationToken,
    writers: TaskTracker,
}

impl WriteLoad {
    /// Starts `writers` writers.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(writers: u64, select_target: &TargetSelector) -> Result<Self> {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let load = Self {
            ledger: Arc::default(),
            stop: CancellationToken::new(),
            writers: TaskTracker::new(),
        };
        for number in 0..writers {
            let writer = LoadWriter {
                number,
                first_id: STARTED.fetch_add(1, Ordering::Relaxed) << 40,
                select_target: Arc::clone(select_target),
                ledger: Arc::clone(&load.ledger),
            };
            let work = load.stop.clone().run_until_cancelled_owned(writer.write());
            load.writers.spawn_on(work, runtime()?.handle());
        }
        load.writers.close();
        Ok(load)
    }

    /// How many rows were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        lock(&self.ledger).acknowledged.len()
    }

    /// The longest time without an acknowledged row since the last call.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        let mut ledger = lock(&self.ledger);
        let open = ledger.last.map_or(Duration::ZERO, |last| last.elapsed());
        std::mem::take(&mut ledger.longest_pause).max(open)
    }

    /// Ends the writing; returns the acknowledged rows.
    pub async fn stop(&self) -> Vec<AcknowledgedRow> {
        self.stop.cancel();
        self.writers.wait().await;
        std::mem::take(&mut lock(&self.ledger).acknowledged)
    }
}

impl Drop for WriteLoad {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Which of `rows` are not on a node.
///
/// # Errors
/// If it does not respond in time.
pub async fn missing_rows(
    options: Opts,
    rows: &[AcknowledgedRow],
) -> Result<Vec<&AcknowledgedRow>> {
    let read = async {
        let mut connection = Conn::new(options).await?;
        // After everything that the cluster has committed before.
        connection
            .query_drop("SET SESSION wsrep_sync_wait = 1")
            .await?;
        let there: Vec<u64> = connection.query("SELECT id FROM acceptance.ledger").await?;
        connection.disconnect().await?;
        anyhow::Ok(there.into_iter().collect::<HashSet<_>>())
    };
    let there = timeout(READ_TIMEOUT, read)
        .await
        .context("reading the rows takes too long")??;
    Ok(rows.iter().filter(|row| !there.contains(&row.id)).collect())
}

struct LoadWriter {
    number: u64,
    /// Where its ids begin: no two writers of this process share any.
    first_id: u64,
    select_target: TargetSelector,
    ledger: Arc<Mutex<WriteLedger>>,
}

impl LoadWriter {
    async fn write(self) {
        let mut connection = None;
        for sequence in 0_u64.. {
            // Never retried: without a response it is unknown whether the row exists.
            let id = self.first_id + sequence;
            match timeout(
                TRANSACTION_TIMEOUT,
                self.insert_row(&mut connection, id, sequence),
            )
            .await
            {
                Ok(Ok(())) => tokio::time::sleep(PAUSE).await,
                Ok(Err(_)) | Err(_) => {
                    connection = None;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    async fn insert_row(
        &self,
        connection: &mut Option<(String, Conn)>,
        id: u64,
        sequence: u64,
    ) -> Result<()> {
        let (node, mut open) = match connection.take() {
            Some(open) => open,
            None => {
                let way = (self.select_target)(self.number, sequence)
                    .context("there is nowhere to go")?;
                (way.node, Conn::new(way.options).await?)
            }
        };
        let statement = format!("INSERT INTO acceptance.ledger VALUES ({id})");
        open.query_drop(statement).await?;
        self.record_row(id, &node);
        let status = "SHOW GLOBAL STATUS LIKE 'wsrep_last_committed'";
        let position: Option<(String, u64)> = open.query_first(status).await?;
        if let Some((_, position)) = position {
            self.record_position(id, position);
        }
        *connection = Some((node, open));
        Ok(())
    }

    fn record_row(&self, id: u64, node: &str) {
        let mut ledger = lock(&self.ledger);
        let now = Instant::now();
        if let Some(last) = ledger.last.replace(now) {
            ledger.longest_pause = ledger.longest_pause.max(now - last);
        }
        ledger.acknowledged.push(AcknowledgedRow {
            id,
            node: node.to_owned(),
            position: None,
        });
    }

    fn record_position(&self, id: u64, position: u64) {
        let mut ledger = lock(&self.ledger);
        // One of the last: there are few writers.
        if let Some(row) = ledger
            .acknowledged
            .iter_mut()
            .rev()
            .find(|row| row.id == id)
        {
            row.position = Some(position);
        }
    }
}

fn lock(ledger: &Mutex<WriteLedger>) -> MutexGuard<'_, WriteLedger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
