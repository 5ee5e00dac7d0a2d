//! A deployed stack under observation: what the scenarios are played on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acceptance::load::{AcknowledgedRow, TargetSelector, WriteLoad};
use anyhow::{Context, Result, ensure};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::container_observer::ContainerObserver;
use crate::docker::{self, Container};
use crate::load;
use crate::stack::{NodeStorage, Stack, until};

/// Longest wait for nodes to form one cluster, with full state transfers on a busy machine.
pub(crate) const SYNC_TIMEOUT: Duration = Duration::from_secs(240);
/// How much of each container's log a failure shows.
const LOG_LINES: usize = 40;

/// What all scenarios share.
pub(crate) struct ScenarioRunner {
    /// The directory `deploy`.
    pub(crate) deploy: PathBuf,
    /// The stack's name.
    pub(crate) name: String,
    /// How often the first scenario is played.
    pub(crate) rounds: usize,
    /// Whether a failed stack is kept for inspection.
    pub(crate) keep: bool,
}

/// A deployed stack and its observer.
pub(crate) struct ScenarioContext {
    pub(crate) stack: Stack,
    /// Observes the stack's nodes.
    pub(crate) observer: Arc<ContainerObserver>,
    /// When it was deployed.
    pub(crate) deployed: Instant,
    /// What was acknowledged by loads that have ended.
    rows: Mutex<Vec<AcknowledgedRow>>,
}

impl ScenarioRunner {
    /// Deploys, plays, judges and removes.
    ///
    /// # Errors
    /// What `run` returns, or what the observer saw that must never be.
    pub(crate) async fn run(
        &self,
        storage: NodeStorage,
        further: &[&str],
        play: impl AsyncFnOnce(&ScenarioContext) -> Result<()>,
    ) -> Result<()> {
        let deployed = Instant::now();
        let stack = Stack::deploy(&self.deploy, &self.name, storage, further).await?;
        let tasks = TaskTracker::new();
        let mut played = match stack.console_login().await {
            Ok(login) => {
                let service = stack.service("node");
                let observer = ContainerObserver::start(&tasks, &service, &stack.network(), login)?;
                let context = ScenarioContext {
                    observer: Arc::new(observer),
                    deployed,
                    stack: stack.clone(),
                    rows: Mutex::default(),
                };
                let played = play(&context).await;
                let judged = context.verify();
                if played.is_err() {
                    context.print_state().await;
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

impl ScenarioContext {
    /// Waits until exactly `count` nodes are Synced in one Primary component. Returns how long that took.
    ///
    /// # Errors
    /// If it takes longer than [`SYNC_TIMEOUT`].
    pub(crate) async fn wait_until_synced(&self, count: usize) -> Result<Duration> {
        let began = Instant::now();
        let what = format!("{count} nodes Synced in one Primary component");
        until(&what, SYNC_TIMEOUT, async || {
            self.observer.ensure_all_synced(count)
        })
        .await?;
        print_event(&format!(
            "{count} of {count} Synced after {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        Ok(began.elapsed())
    }

    /// Starts writing to all nodes.
    ///
    /// # Errors
    /// If the table cannot be made.
    pub(crate) async fn start_load(&self) -> Result<WriteLoad> {
        self.start_load_through(&load::target_synced_nodes(&self.observer))
            .await
    }

    /// Starts writing through `select_target`.
    ///
    /// # Errors
    /// If the table cannot be created.
    pub(crate) async fn start_load_through(
        &self,
        select_target: &TargetSelector,
    ) -> Result<WriteLoad> {
        let nodes = self.nodes();
        load::prepare(nodes.first().context("no node runs")?).await?;
        let load = WriteLoad::start(load::WRITERS, select_target)?;
        self.wait_for_rows(&load, 100).await?;
        Ok(load)
    }

    /// Waits for `rows` further rows to be acknowledged.
    ///
    /// # Errors
    /// If that takes too long.
    pub(crate) async fn wait_for_rows(&self, load: &WriteLoad, rows: usize) -> Result<()> {
        let before = load.acknowledged();
        let what = format!("{rows} further acknowledged rows");
        until(&what, Duration::from_secs(60), async || {
            let more = load.acknowledged() - before;
            ensure!(more >= rows, "{more} were");
            Ok(())
        })
        .await
    }

    /// Stops the load and checks on every node that all acknowledged rows of this stack exist.
    ///
    /// # Errors
    /// If one is missing.
    pub(crate) async fn check_rows(&self, load: &WriteLoad) -> Result<()> {
        let mut rows = self.rows.lock().await;
        rows.extend(load.stop().await);
        for node in self.nodes() {
            let missing = load::count_missing(&node, &rows).await;
            let missing = missing.with_context(|| format!("asking {}", node.task))?;
            ensure!(
                missing == 0,
                "{missing} of {} acknowledged rows are missing on {}",
                rows.len(),
                node.task
            );
        }
        ensure!(!rows.is_empty(), "nothing was written");
        print_event(&format!(
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
    /// If they do not run.
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
    /// The first that `check_rows` returns.
    pub(crate) async fn check_for(
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

    fn verify(&self) -> Result<()> {
        let answers = self.observer.verify()?;
        print_event(&format!(
            "never two Primary components in {answers} observations"
        ));
        Ok(())
    }

    async fn print_state(&self) {
        eprintln!("    {}", self.observer.describe());
        for node in self.nodes() {
            let text = docker::logs(&node.id, LOG_LINES).await.unwrap_or_default();
            eprintln!("    ---- end of the log of {}", node.task);
            text.lines().for_each(|line| eprintln!("    | {line}"));
        }
        let keys = self.stack.etcdctl("get --prefix /galera/").await;
        let keys = keys.unwrap_or_else(|error| format!("{error:#}"));
        eprintln!("    ---- registry");
        keys.lines().for_each(|line| eprintln!("    | {line}"));
    }
}

/// A line about what happened.
pub(crate) fn print_event(line: &str) {
    println!("    {line}");
}
