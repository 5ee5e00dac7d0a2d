//! A deployed stack under observation: what the scenarios are played on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acceptance::load::{Door, Load, Row};
use anyhow::{Context, Result, ensure};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::docker::{self, Container};
use crate::load;
use crate::observer::Observer;
use crate::stack::{Stack, Storage, until};

/// Longest wait for nodes to become one cluster: with whole state transfers, on a machine that does everything at once.
pub(crate) const WHOLE: Duration = Duration::from_secs(240);
/// How much of each container's log a failure shows.
const LINES: usize = 40;

/// What all scenarios share.
pub(crate) struct Theatre {
    /// The directory `deploy`.
    pub(crate) deploy: PathBuf,
    /// The stack's name.
    pub(crate) name: String,
    /// How often the first scenario is played.
    pub(crate) rounds: usize,
    /// Whether a stack that failed stays for inspection.
    pub(crate) keep: bool,
}

/// A deployed stack and its observer.
pub(crate) struct Stage {
    /// The stack.
    pub(crate) stack: Stack,
    /// Who asks its nodes.
    pub(crate) observer: Arc<Observer>,
    /// When it was deployed.
    pub(crate) deployed: Instant,
    /// What was acknowledged by loads that have ended.
    rows: Mutex<Vec<Row>>,
}

impl Theatre {
    /// Deploys, plays, judges and removes.
    ///
    /// # Errors
    /// What `play` returns, or what the observer saw that must never be.
    pub(crate) async fn play(
        &self,
        storage: Storage,
        further: &[&str],
        play: impl AsyncFnOnce(&Stage) -> Result<()>,
    ) -> Result<()> {
        let deployed = Instant::now();
        let stack = Stack::deploy(&self.deploy, &self.name, storage, further).await?;
        let tasks = TaskTracker::new();
        let mut played = match stack.console_login().await {
            Ok(login) => {
                let service = stack.service("node");
                let observer = Observer::start(&tasks, &service, &stack.network(), login)?;
                let stage = Stage {
                    observer: Arc::new(observer),
                    deployed,
                    stack: stack.clone(),
                    rows: Mutex::default(),
                };
                let played = play(&stage).await;
                let judged = stage.judge();
                if played.is_err() {
                    stage.show().await;
                }
                played.and(judged)
            }
            Err(error) => Err(error),
        };
        tasks.close();
        tasks.wait().await;
        if played.is_ok() || !self.keep {
            let removed = stack.remove().await;
            played = played.and(removed);
        }
        played
    }
}

impl Stage {
    /// Waits until exactly `count` nodes are Synced in one Primary component; says how long that took.
    ///
    /// # Errors
    /// When they are not within [`WHOLE`].
    pub(crate) async fn whole(&self, count: usize) -> Result<Duration> {
        let began = Instant::now();
        let what = format!("{count} nodes Synced in one Primary component");
        until(&what, WHOLE, async || self.observer.whole(count)).await?;
        say(&format!(
            "{count} of {count} Synced after {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        Ok(began.elapsed())
    }

    /// Starts writing to all nodes.
    ///
    /// # Errors
    /// When the table cannot be made.
    pub(crate) async fn load(&self) -> Result<Load> {
        self.load_through(&load::to_nodes(&self.observer)).await
    }

    /// Starts writing through `door`.
    ///
    /// # Errors
    /// When the table cannot be made.
    pub(crate) async fn load_through(&self, door: &Door) -> Result<Load> {
        let nodes = self.nodes();
        load::prepare(nodes.first().context("no node runs")?).await?;
        let load = Load::start(load::WRITERS, door)?;
        self.written(&load, 100).await?;
        Ok(load)
    }

    /// Waits for `rows` further rows to be acknowledged.
    ///
    /// # Errors
    /// When that takes too long.
    pub(crate) async fn written(&self, load: &Load, rows: usize) -> Result<()> {
        let before = load.acknowledged();
        let what = format!("{rows} further acknowledged rows");
        until(&what, Duration::from_secs(60), async || {
            let more = load.acknowledged() - before;
            ensure!(more >= rows, "{more} were");
            Ok(())
        })
        .await
    }

    /// Ends the load and looks for every row that was ever acknowledged on this stage, on every node.
    ///
    /// # Errors
    /// When one is missing.
    pub(crate) async fn check(&self, load: &Load) -> Result<()> {
        let mut rows = self.rows.lock().await;
        rows.extend(load.end().await);
        for node in self.nodes() {
            let missing = load::lost(&node, &rows).await;
            let missing = missing.with_context(|| format!("asking {}", node.task))?;
            ensure!(
                missing == 0,
                "{missing} of {} acknowledged rows are missing on {}",
                rows.len(),
                node.task
            );
        }
        ensure!(!rows.is_empty(), "nothing was written");
        say(&format!(
            "all {} acknowledged rows are on every node",
            rows.len()
        ));
        Ok(())
    }

    /// The running nodes.
    pub(crate) fn nodes(&self) -> Vec<Container> {
        let nodes = self.observer.nodes().into_iter();
        nodes.map(|(container, _)| container).collect()
    }

    /// Kills nodes, and waits until the observer knows that they are gone.
    ///
    /// # Errors
    /// When they do not run.
    pub(crate) async fn kill(&self, victims: &[Container]) -> Result<()> {
        self.stack.kill(victims).await?;
        until(
            "the killed to be gone",
            Duration::from_secs(30),
            async || {
                let nodes = self.nodes();
                let left = victims
                    .iter()
                    .filter(|victim| nodes.contains(victim))
                    .count();
                ensure!(left == 0, "{left} still run");
                Ok(())
            },
        )
        .await
    }

    /// Checks something over and over for a while.
    ///
    /// # Errors
    /// The first that `check` returns.
    pub(crate) async fn meanwhile(
        &self,
        duration: Duration,
        check: impl Fn() -> Result<()>,
    ) -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            check()?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }

    fn judge(&self) -> Result<()> {
        let answers = self.observer.judge()?;
        say(&format!(
            "never two Primary components: {answers} answers of nodes"
        ));
        Ok(())
    }

    async fn show(&self) {
        eprintln!("    {}", self.observer.describe());
        for node in self.nodes() {
            let text = docker::written(&node.id, LINES).await.unwrap_or_default();
            eprintln!("    ---- the end of {}'s log", node.task);
            text.lines().for_each(|line| eprintln!("    | {line}"));
        }
        let keys = self.stack.etcdctl("get --prefix /galera/").await;
        let keys = keys.unwrap_or_else(|error| format!("{error:#}"));
        eprintln!("    ---- the registry");
        keys.lines().for_each(|line| eprintln!("    | {line}"));
    }
}

/// A line about what happened.
pub(crate) fn say(line: &str) {
    println!("    {line}");
}
