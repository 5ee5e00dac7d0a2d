//! The labs that tests share, each: three etcd members, three nodes with agents, a console, a trickle of transactions.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use acceptance::api::Api;
use acceptance::lab::console::Console;
use acceptance::lab::traffic::{Flow, Traffic};
use acceptance::live::Live;
use acceptance::{Lab, eventually};
use anyhow::{Result, ensure};
use galera::view::{SourceKind, VerdictState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::views::{self, TOPIC};

/// Longest wait for the console to see what the lab's repair has brought about.
const SETTLED: Duration = Duration::from_secs(20);

/// How long what agents report lives.
const TTL: Duration = Duration::from_secs(5);

/// What is shared.
pub(crate) struct Shared {
    // Dropped in this order.
    pub(crate) traffic: Traffic,
    pub(crate) console: Console,
    pub(crate) lab: Lab,
}

/// At most so many tests have a lab at once: one fewer than `make test` runs at once, because some bring their own.
const LABS: usize = 2;

/// Labs that nobody uses at the moment, and the right to use one.
struct Pool {
    free: Mutex<Vec<Arc<Shared>>>,
    turns: Arc<Semaphore>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            free: Mutex::default(),
            turns: Arc::new(Semaphore::new(LABS)),
        }
    }
}

/// Exclusive use of a shared lab, healthy at first. The last holder's end is the end of the labs.
pub(crate) struct Guard {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    _turn: OwnedSemaphorePermit,
}

impl Deref for Guard {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.push(Arc::clone(&self.shared));
    }
}

/// Waits for one's turn and repairs what the test before has left behind.
pub(crate) async fn lab() -> Result<Guard> {
    static POOL: Mutex<Weak<Pool>> = Mutex::new(Weak::new());
    let pool = {
        let mut shared = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = shared.upgrade().unwrap_or_default();
        *shared = Arc::downgrade(&pool);
        pool
    };
    let turn = Arc::clone(&pool.turns).acquire_owned().await?;
    let free = {
        let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop()
    };
    let shared = match free {
        Some(shared) => match shared.repair().await {
            Ok(()) => shared,
            Err(error) => {
                println!("a shared lab is beyond repair and thrown away: {error:#}");
                drop(shared);
                Shared::start().await?
            }
        },
        None => Shared::start().await?,
    };
    Ok(Guard {
        shared,
        pool,
        _turn: turn,
    })
}

impl Shared {
    async fn start() -> Result<Arc<Self>> {
        let lab = Lab::builder()
            .etcd(3)
            .agents(true)
            // What waits for leases is quick.
            .ttl(TTL)
            .slow_transfers(u64::MAX)
            .start()
            .await?;
        let console = lab.console().await?;
        let traffic = Traffic::start(&lab, Flow::TRICKLE).await?;
        let shared = Self {
            traffic,
            console,
            lab,
        };
        shared.settled().await?;
        Ok(Arc::new(shared))
    }

    async fn repair(&self) -> Result<()> {
        self.traffic.set(Flow::TRICKLE);
        self.lab.repair().await?;
        if self.console.pid().is_none() {
            self.console.launch()?;
        }
        self.console.pause(false)?;
        self.console.ready().await?;
        self.settled().await
    }

    /// Waits until the console says that all is well.
    async fn settled(&self) -> Result<()> {
        // Nobody can sign in for a moment after etcd was away.
        let api = eventually("signing in", SETTLED, async || self.viewer().await).await?;
        eventually(
            "the console to see a healthy cluster",
            SETTLED,
            async || {
                let view = api.cluster(self.lab.cluster()).await?;
                let well = view.verdict.state == VerdictState::Healthy && view.registry.reachable;
                let ids = self.lab.ids();
                let registered = ids.iter().all(|id| {
                    views::heard(&view, id, SourceKind::Registry)
                        && views::node(&view, id).is_some_and(|node| node.registered)
                });
                ensure!(well && registered, "it says {}", views::describe(&view));
                Ok(())
            },
        )
        .await
    }

    /// A signed-in viewer.
    pub(crate) async fn viewer(&self) -> Result<Api> {
        self.console.sign_in("viewer").await
    }

    /// A live connection that is subscribed to the cluster.
    pub(crate) async fn live(&self) -> Result<Live> {
        let mut live = self.viewer().await?.live().await?;
        live.subscribe(&[TOPIC]).await?;
        Ok(live)
    }
}
