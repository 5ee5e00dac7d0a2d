//! A trickle of transactions, round the nodes, that survives the failure of any of them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, params};
use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Lab;
use crate::background::runtime;

/// Longest wait for a connection or a transaction; a node that takes longer is passed over.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a node that failed is passed over.
const SKIP_DURATION: Duration = Duration::from_secs(3);

/// MariaDB's error for a table that does not exist, ER_NO_SUCH_TABLE.
const NO_SUCH_TABLE: u16 = 1146;

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS orders (\
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, taken_by VARCHAR(40) NOT NULL, \
    amount INT NOT NULL, note VARBINARY(65000) NOT NULL, at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)";
const INSERT_ORDER: &str =
    "INSERT INTO orders (taken_by, amount, note) VALUES (:node, :amount, :note)";

/// How much is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrafficRate {
    /// Transactions a second on average; it swells and ebbs by half. Zero stops the traffic.
    pub per_second: f64,
    /// Bytes of each transaction.
    pub size: usize,
}

impl TrafficRate {
    /// A few small transactions a second.
    pub const TRICKLE: Self = Self {
        per_second: 5.0,
        size: 200,
    };
    /// Nothing.
    pub const NONE: Self = Self {
        per_second: 0.0,
        size: 0,
    };
}

/// Running traffic; it ends when dropped.
pub struct Traffic {
    rate: watch::Sender<TrafficRate>,
    committed: Arc<AtomicU64>,
    _stop: DropGuard,
}

impl Traffic {
    /// Starts writing to every node of `lab` in turn.
    ///
    /// # Errors
    /// If the table cannot be created.
    pub async fn start(lab: &Lab, flow: TrafficRate) -> Result<Self> {
        lab.node(1).app().await?.query_drop(CREATE_TABLE).await?;
        let targets = lab.nodes().iter().map(|node| TrafficTarget {
            address: node.address(),
            options: node.app_options(),
            connection: None,
            skipped_until: Instant::now(),
        });
        let (sender, flow) = watch::channel(flow);
        let written = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let work = write(targets.collect(), flow, Arc::clone(&written));
        runtime()?.spawn(stop.clone().run_until_cancelled_owned(work));
        Ok(Self {
            rate: sender,
            committed: written,
            _stop: stop.drop_guard(),
        })
    }

    /// Changes how much is written.
    pub fn set_rate(&self, flow: TrafficRate) {
        self.rate.send_replace(flow);
    }

    /// How many transactions have been committed so far.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }
}

struct TrafficTarget {
    address: Ipv4Addr,
    options: Opts,
    connection: Option<Conn>,
    skipped_until: Instant,
}

impl TrafficTarget {
    async fn insert_order(&mut self, size: usize) -> Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => timeout(PATIENCE, Conn::new(self.options.clone())).await??,
        };
        let amount: i32 = rand::rng().random_range(1..500);
        let values =
            params! { "node" => self.address.to_string(), amount, "note" => vec![b'x'; size] };
        let insertion = connection.exec_drop(INSERT_ORDER, &values);
        match timeout(PATIENCE, insertion).await? {
            // The cluster was founded again without data.
            Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_TABLE => {
                timeout(PATIENCE, connection.query_drop(CREATE_TABLE)).await??;
                timeout(PATIENCE, connection.exec_drop(INSERT_ORDER, &values)).await??;
            }
            written => written?,
        }
        // Only a connection whose answer was read is used again.
        self.connection = Some(connection);
        Ok(())
    }
}

async fn write(
    mut targets: Vec<TrafficTarget>,
    mut flow: watch::Receiver<TrafficRate>,
    written: Arc<AtomicU64>,
) {
    let began = Instant::now();
    loop {
        for target in &mut targets {
            let TrafficRate {
                per_second: rate,
                size,
            } = *flow.borrow_and_update();
            if rate <= 0.0 {
                if flow.changed().await.is_err() {
                    return;
                }
                continue;
            }
            // A swell with a period of half a minute, and some noise.
            let swell = (began.elapsed().as_secs_f64() / 30.0 * std::f64::consts::TAU).sin() / 2.0;
            let noise = rand::rng().random_range(0.7..1.3);
            tokio::time::sleep(Duration::from_secs_f64(noise / rate / (1.0 + swell))).await;
            if target.skipped_until > Instant::now() {
                continue;
            }
            match target.insert_order(size).await {
                Ok(()) => {
                    written.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => target.skipped_until = Instant::now() + SKIP_DURATION,
            }
        }
    }
}

/// Options of a connection as `app` to the database `demo`, over TCP.
pub(super) fn app_options(address: Ipv4Addr, port: u16, password: &str) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(address.to_string())
        .tcp_port(port)
        .prefer_socket(false)
        .user(Some("app"))
        .pass(Some(password))
        .db_name(Some("demo"))
        .into()
}
