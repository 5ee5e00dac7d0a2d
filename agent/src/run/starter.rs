//! From a data directory and a registry to the way in which the server is started.

use std::sync::Arc;
use std::time::Duration;

use galera::observe::registration::Phase;
use galera::startup::{Action, Data, Founder, Founding, Own, decide};
use galera::{NodeId, Position};
use registry::LeaseId;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::children::Children;
use super::cluster::{Cluster, Seen, founder};
use super::command::{ServerCommand, Workspace, token};
use super::datadir::DataDir;
use super::failure::Failure;
use super::holder::Holder;
use super::identity::Identity;
use super::{initialize, join, recover};
use crate::clock::now;
use crate::settings::homogeneous::Run;

/// How often everything is looked at again when nothing seems to change.
const LOOK: Duration = Duration::from_secs(2);
/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(50);
/// Pause after etcd has not answered.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an order must still stand when it is obeyed.
const STANDS: Duration = Duration::from_secs(2);

/// How the server is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Whom to join; `None` to found or bootstrap.
    pub(super) join: Option<Vec<NodeId>>,
    /// Where the data are, when the server cannot know it by itself.
    pub(super) position: Option<Position>,
}

/// Everything that the way there needs.
pub(super) struct Starter<'a> {
    /// The settings.
    pub(super) settings: &'a Run,
    /// The registry.
    pub(super) cluster: &'a Cluster,
    /// The data directory.
    pub(super) directory: &'a DataDir,
    /// The server's command.
    pub(super) command: &'a ServerCommand,
    /// Child processes.
    pub(super) children: &'a Children,
    /// Private files.
    pub(super) workspace: &'a Workspace,
    /// What is said meanwhile.
    pub(super) holder: &'a Holder,
    /// The lease of this node's report.
    pub(super) standing: watch::Receiver<Option<LeaseId>>,
    /// Tells that something in the registry has changed.
    pub(super) wake: Arc<Notify>,
    /// Who the data are.
    pub(super) identity: Identity,
    /// What they are.
    pub(super) data: Data,
    /// Whether an interrupted initialization left something behind.
    pub(super) remains: bool,
    /// Where the storage engine says that the data are.
    pub(super) recovered: Option<Position>,
}

/// Whether to go on or to look again.
type Step = Result<Option<Start>, Failure>;

impl Starter<'_> {
    /// Decides, acts and waits until the server may be started.
    ///
    /// # Errors
    /// When it must not be.
    pub(super) async fn run(&mut self) -> Result<Start, Failure> {
        loop {
            let seen = self.look().await;
            let decision = decide(&self.own(), &seen.snapshot, &self.settings.startup);
            let phase = match &decision.action {
                Action::Wait { .. } => Phase::Waiting,
                _ => Phase::Starting,
            };
            self.holder.say(phase, &self.data, &decision.sentence);
            let step = match decision.action {
                Action::Wait { .. } => {
                    self.changed().await;
                    Ok(None)
                }
                Action::Refuse => Err(Failure::Refused(decision.sentence)),
                Action::RecoverPosition => self.recover().await,
                Action::Join { members } => self.join(&seen, members).await,
                Action::Found(founding) => Box::pin(self.found(&seen, founding)).await,
                Action::Bootstrap { position, expect } => self.take_order(&position, &expect).await,
                Action::ObeyOrder { order, revision } => {
                    let action = order.action_id.unwrap_or_default();
                    self.obey(&seen, &action, revision).await
                }
            };
            if let Some(start) = step? {
                return Ok(start);
            }
        }
    }

    fn own(&self) -> Own {
        Own {
            cluster: self.cluster.name.clone(),
            node: self.cluster.node.clone(),
            id: self.identity.id.clone(),
            data: self.data.clone(),
            obeyed: self.identity.obeyed(),
        }
    }

    /// What the registry says now; waits for etcd as long as it takes.
    pub(super) async fn look(&self) -> Seen {
        loop {
            match self.cluster.look().await {
                Ok(seen) => return seen,
                Err(error) => self.without_registry(&error).await,
            }
        }
    }

    /// Says that etcd does not answer, and waits a moment.
    async fn without_registry(&self, error: &registry::Error) {
        tracing::debug!("{error}");
        let line = format!(
            "etcd at {} does not answer; waiting for it, nothing is done to the data before",
            self.cluster.registry.endpoints()
        );
        self.holder.say(Phase::Starting, &self.data, &line);
        sleep(PAUSE).await;
    }

    /// Waits until something changes in the registry, but not for ever.
    async fn changed(&self) {
        // Elapsed: nothing was told, which a lost watch would not tell either.
        let _ = timeout(LOOK, self.wake.notified()).await;
        sleep(SETTLE).await;
    }

    async fn lease(&mut self) -> Option<LeaseId> {
        let held = self.standing.wait_for(Option::is_some);
        match timeout(LOOK, held).await {
            Ok(Ok(lease)) => *lease,
            _ => None,
        }
    }

    async fn recover(&mut self) -> Step {
        let saved = self.directory.saved_state()?;
        let outcome = recover::recover(self.command, self.children, self.workspace, &saved).await?;
        tracing::info!("{}", outcome.line);
        self.data = outcome.data;
        self.recovered = self.data.position().cloned();
        if let Some(position) = self.recovered.clone() {
            self.record(&position).await;
        }
        Ok(None)
    }

    /// Records a recovered position durably; it must survive this agent.
    async fn record(&self, position: &Position) {
        let recorded = Box::pin(
            self.cluster
                .register(&self.identity.id, None, Some(position)),
        );
        if let Err(error) = recorded.await {
            tracing::warn!("The recovered position is not recorded durably: {error}");
        }
    }

    async fn join(&mut self, seen: &Seen, members: Vec<NodeId>) -> Step {
        let verified = join::verify(self.settings, members).await;
        if verified.members.is_empty() {
            let line = format!(
                "The registry names members that are Synced and Primary, but none of them confirms it: {}; waiting",
                verified.how
            );
            self.holder.say(Phase::Waiting, &self.data, &line);
            self.changed().await;
            return Ok(None);
        }
        if self.data == Data::Empty && (self.remains || self.identity.prepared) {
            self.discard()?;
        }
        if !self.unstop(seen).await {
            return Ok(None);
        }
        let names: Vec<String> = verified.members.iter().map(ToString::to_string).collect();
        let line = format!("Joining {} ({})", names.join(", "), verified.how);
        self.holder.say(Phase::Joining, &self.data, &line);
        Ok(Some(self.start(Some(verified.members))))
    }

    fn start(&self, join: Option<Vec<NodeId>>) -> Start {
        Start {
            join,
            position: self.recovered.clone(),
        }
    }

    /// Removes what an initialization of this agent left: no server ever ran on it.
    fn discard(&mut self) -> Result<(), Failure> {
        tracing::info!(
            "Removing what an earlier initialization left in {}; no server ever ran on it",
            self.directory.path().display()
        );
        self.directory.discard()?;
        self.identity.prepared = false;
        self.identity.write(self.directory.path())?;
        self.remains = false;
        Ok(())
    }

    /// Takes back the word that this node is stopped, before its server starts; whether that succeeded.
    async fn unstop(&self, seen: &Seen) -> bool {
        let registered = seen
            .snapshot
            .members
            .get(&self.cluster.node)
            .and_then(|member| member.registered.as_ref());
        let ours = registered.is_some_and(|known| known.id.as_deref() == Some(&self.identity.id));
        if !ours && !self.data.is_history() {
            // A node without data registers once it has some.
            return true;
        }
        let written = Box::pin(self.cluster.register(
            &self.identity.id,
            None,
            self.data.position(),
        ));
        match written.await {
            Ok(()) => true,
            Err(error) => {
                self.without_registry(&error).await;
                false
            }
        }
    }

    async fn take_order(
        &mut self,
        position: &Position,
        expect: &[galera::startup::Expect],
    ) -> Step {
        let Some(lease) = self.lease().await else {
            return Ok(None);
        };
        let order = galera::observe::registration::Order::automatic(
            &self.cluster.node,
            position,
            &token()?,
        );
        match Box::pin(self.cluster.take_order(&order, expect, lease)).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!("The registry has changed meanwhile; looking again");
                sleep(SETTLE).await;
            }
            Err(error) => self.without_registry(&error).await,
        }
        Ok(None)
    }

    async fn obey(&mut self, seen: &Seen, action: &str, revision: i64) -> Step {
        if !self.unstop(seen).await {
            return Ok(None);
        }
        self.identity.obey(action);
        self.identity.write(self.directory.path())?;
        match Box::pin(self.cluster.order_stands(revision, STANDS)).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("The order of action {action} ended before it could be obeyed");
                return Ok(None);
            }
            Err(error) => {
                self.without_registry(&error).await;
                return Ok(None);
            }
        }
        self.directory.allow_bootstrap()?;
        Ok(Some(self.start(None)))
    }

    async fn found(&mut self, seen: &Seen, founding: Founding) -> Step {
        let Some(lease) = self.lease().await else {
            return Ok(None);
        };
        let claim = |started| Founder {
            node: self.cluster.node.clone(),
            at: founder(&seen.snapshot)
                .and_then(|known| known.at)
                .or_else(|| Some(now())),
            id: Some(self.identity.id.clone()),
            started,
            state_uuid: None,
        };
        let (unstarted, started) = (claim(false), claim(true));
        let begun = match founding {
            Founding::Continue { revision } => Ok(Some(revision)),
            Founding::Create => self.claim(&unstarted, 0, lease).await,
            Founding::TakeOver { revision } => self.claim(&unstarted, revision, lease).await,
        };
        let Ok(Some(revision)) = begun else {
            return self.lost(begun).await;
        };
        let since = Instant::now();
        self.prepare().await?;
        // Whoever runs already notices within a third of its time to live that the registry was emptied, and says so.
        let late = since + self.settings.ttl / 3 + PAUSE;
        tokio::time::sleep_until(late).await;
        if !self.still_founding(revision).await {
            return Ok(None);
        }
        if !self.unstop(seen).await {
            return Ok(None);
        }
        let marked = self.claim(&started, revision, lease).await;
        let Ok(Some(_)) = marked else {
            return self.lost(marked).await;
        };
        self.directory.allow_bootstrap()?;
        Ok(Some(self.start(None)))
    }

    async fn claim(
        &self,
        founder: &Founder,
        seen: i64,
        lease: LeaseId,
    ) -> Result<Option<i64>, registry::Error> {
        Box::pin(self.cluster.claim_founding(founder, seen, lease)).await
    }

    /// Somebody else founds, or etcd does not answer: the next look tells.
    async fn lost(&self, outcome: Result<Option<i64>, registry::Error>) -> Step {
        match outcome {
            Ok(_) => {
                tracing::info!(
                    "Somebody else was first to found cluster {}",
                    self.cluster.name
                )
            }
            Err(error) => self.without_registry(&error).await,
        }
        Ok(None)
    }

    /// Makes the data that the cluster begins with, unless they are there.
    async fn prepare(&mut self) -> Result<(), Failure> {
        if self.remains {
            self.discard()?;
        }
        if self.data != Data::Empty || self.identity.prepared {
            return Ok(());
        }
        let began = Instant::now();
        initialize::initialize(
            self.directory,
            self.command,
            self.settings,
            self.children,
            self.workspace,
        )
        .await?;
        self.identity.prepared = true;
        self.identity.write(self.directory.path())?;
        self.directory.finish()?;
        tracing::info!(
            duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "Initialized {}",
            self.directory.path().display()
        );
        Ok(())
    }

    /// Looks once more before a server is started: only with the same claim and still nobody else around.
    async fn still_founding(&self, revision: i64) -> bool {
        let seen = match self.cluster.look().await {
            Ok(seen) => seen,
            Err(error) => {
                self.without_registry(&error).await;
                return false;
            }
        };
        let decision = decide(&self.own(), &seen.snapshot, &self.settings.startup);
        let founds = Action::Found(Founding::Continue { revision });
        if decision.action == founds {
            return true;
        }
        tracing::warn!("Not founding after all: {}", decision.sentence);
        if matches!(decision.action, Action::Join { .. })
            && let Err(error) = Box::pin(self.cluster.give_up_founding(revision)).await
        {
            tracing::warn!("The founder key is not given up: {error}");
        }
        false
    }
}
