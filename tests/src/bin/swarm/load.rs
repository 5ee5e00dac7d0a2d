//! Clients that write all the time and remember what was acknowledged, so that nothing of it can go missing unnoticed.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::docker::{self, Container};
use crate::observer::{Login, Observer};

/// How many write at the same time.
const WRITERS: u64 = 3;
/// Longest wait for a connection or a transaction; then its outcome is unknown and the client goes elsewhere.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest wait for all rows.
const READ: Duration = Duration::from_secs(30);
/// Pause between two transactions of a writer.
const PAUSE: Duration = Duration::from_millis(15);
/// Pause after a failure.
const REST: Duration = Duration::from_millis(200);

/// Where clients connect.
#[derive(Clone)]
pub(crate) enum Door {
    /// To any node that is Synced.
    Nodes(Arc<Observer>),
    /// To one address, whatever is behind it.
    One(Ipv4Addr),
}

#[derive(Default)]
struct Ledger {
    acknowledged: Vec<u64>,
    failed: usize,
    last: Option<Instant>,
    longest_pause: Duration,
}

/// Running writers.
pub(crate) struct Load {
    ledger: Arc<Mutex<Ledger>>,
    stop: CancellationToken,
    writers: TaskTracker,
    login: Login,
}

impl Load {
    /// Makes the table and the account through `node`, as its root.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn prepare(node: &Container, password: &str) -> Result<Login> {
        let login = Login {
            user: "writer".to_owned(),
            password: password.to_owned(),
        };
        let statements = format!(
            "CREATE DATABASE IF NOT EXISTS acceptance; \
             CREATE TABLE IF NOT EXISTS acceptance.ledger (id BIGINT UNSIGNED PRIMARY KEY); \
             CREATE OR REPLACE USER writer@'%' IDENTIFIED BY '{password}'; \
             GRANT SELECT, INSERT ON acceptance.* TO writer@'%'"
        );
        let script = format!(
            "MYSQL_PWD=$(cat \"$MYSQL_ROOT_PASSWORD_FILE\") mariadb --user=root --execute=\"{statements}\""
        );
        docker::shell(node, &script).await?;
        Ok(login)
    }

    /// Starts writing.
    pub(crate) fn start(door: &Door, login: Login) -> Self {
        let load = Self {
            ledger: Arc::default(),
            stop: CancellationToken::new(),
            writers: TaskTracker::new(),
            login,
        };
        static STARTED: AtomicU64 = AtomicU64::new(0);
        for number in 0..WRITERS {
            let writer = Writer {
                number,
                first: STARTED.fetch_add(1, Ordering::Relaxed) << 40,
                door: door.clone(),
                login: load.login.clone(),
                ledger: Arc::clone(&load.ledger),
            };
            load.writers
                .spawn(load.stop.clone().run_until_cancelled_owned(writer.write()));
        }
        load.writers.close();
        load
    }

    /// The account that writes.
    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// How many rows were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        lock(&self.ledger).acknowledged.len()
    }

    /// The longest time without an acknowledged row since this was last asked.
    pub(crate) fn longest_pause(&self) -> Duration {
        let mut ledger = lock(&self.ledger);
        let open = ledger.last.map_or(Duration::ZERO, |last| last.elapsed());
        std::mem::take(&mut ledger.longest_pause).max(open)
    }

    /// Ends the writing; returns the acknowledged rows.
    pub(crate) async fn end(&self) -> Vec<u64> {
        self.stop.cancel();
        self.writers.wait().await;
        std::mem::take(&mut lock(&self.ledger).acknowledged)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How many of `rows` are not on a node.
///
/// # Errors
/// When it does not answer in time.
pub(crate) async fn missing(node: &Container, login: &Login, rows: &[u64]) -> Result<usize> {
    let read = async {
        let mut connection = Conn::new(login.options(node.door)).await?;
        // After everything that the cluster has committed before.
        connection
            .query_drop("SET SESSION wsrep_sync_wait = 1")
            .await?;
        let there: Vec<u64> = connection.query("SELECT id FROM acceptance.ledger").await?;
        anyhow::Ok(there.into_iter().collect::<HashSet<_>>())
    };
    let there = timeout(READ, read)
        .await
        .context("reading the rows takes too long")??;
    Ok(rows.iter().filter(|row| !there.contains(row)).count())
}

struct Writer {
    number: u64,
    /// Where its ids begin: no two writers of this process share any.
    first: u64,
    door: Door,
    login: Login,
    ledger: Arc<Mutex<Ledger>>,
}

impl Writer {
    async fn write(self) {
        let mut connection = None;
        for sequence in 0_u64.. {
            // Never tried twice: whoever gets no answer does not know whether the row is there.
            let id = self.first + sequence;
            match timeout(PATIENCE, self.row(&mut connection, id, sequence)).await {
                Ok(Ok(())) => {
                    self.note(id);
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Err(_)) | Err(_) => {
                    connection = None;
                    lock(&self.ledger).failed += 1;
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    async fn row(&self, connection: &mut Option<Conn>, id: u64, sequence: u64) -> Result<()> {
        let mut open = match connection.take() {
            Some(open) => open,
            None => {
                let address = self.address(sequence).context("no node is Synced")?;
                Conn::new(self.login.options(address)).await?
            }
        };
        let statement = format!("INSERT INTO acceptance.ledger VALUES ({id})");
        open.query_drop(statement).await?;
        *connection = Some(open);
        Ok(())
    }

    fn address(&self, sequence: u64) -> Option<Ipv4Addr> {
        let observer = match &self.door {
            Door::One(address) => return Some(*address),
            Door::Nodes(observer) => observer,
        };
        let nodes = observer.nodes();
        let synced: Vec<_> = nodes
            .iter()
            .filter(|(_, answer)| answer.as_ref().is_some_and(|answer| answer.synced()))
            .collect();
        let turn = usize::try_from(self.number + sequence).unwrap_or_default();
        let (container, _) = synced.get(turn.checked_rem(synced.len())?)?;
        Some(container.door)
    }

    fn note(&self, id: u64) {
        let mut ledger = lock(&self.ledger);
        let now = Instant::now();
        if let Some(last) = ledger.last.replace(now) {
            ledger.longest_pause = ledger.longest_pause.max(now - last);
        }
        ledger.acknowledged.push(id);
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
