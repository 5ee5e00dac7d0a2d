//! Drives a node from its data directory and the registry to the decision how its server is started.

mod founding;
mod orders;

use std::sync::Arc;
use std::time::Duration;

use galera::observe::registration::{AgentPhase, HeldData, MembersSeen, OrderVerifier};
use galera::startup::{
    DataState, OrderKeyState, OrderTrust, RejoinKeyState, ReplaceRegistration, StartingNode,
    StartupAction, decide,
};
use galera::{NodeId, Position, Timestamp};
use registry::LeaseId;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::children::Children;
use super::cluster::{ClusterListing, ClusterRegistry};
use super::command::{PrivateDirectory, ServerCommand, ServerVariables};
use super::datadir::DataDir;
use super::error::RunError;
use super::identity::DataIdentity;
use super::phase_reporter::PhaseReporter;
use super::{join, recover};
use crate::clock::now;
use crate::settings::run::RunSettings;

/// Longest time between two evaluations.
const RECHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Changes within this time are evaluated together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Delay after etcd has not responded.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Between two examinations whether the data can be kept aside.
const OBSTACLE_RECHECK: Duration = Duration::from_secs(30);

/// How the server is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerStart {
    /// Members to join; `None` to found or bootstrap.
    pub(super) join: Option<Vec<NodeId>>,
    /// Position to start from, if the server cannot determine it itself.
    pub(super) position: Option<Position>,
}

/// Everything needed for the start decision.
pub(super) struct StartupDriver<'a> {
    pub(super) settings: &'a RunSettings,
    pub(super) cluster: &'a ClusterRegistry,
    pub(super) directory: &'a DataDir,
    pub(super) command: &'a ServerCommand,
    pub(super) variables: &'a ServerVariables,
    pub(super) children: &'a Children,
    /// For private files.
    pub(super) workspace: &'a PrivateDirectory,
    /// Publishes the phase during startup.
    pub(super) reporter: &'a PhaseReporter,
    /// The lease of this node's report.
    pub(super) lease_id: watch::Receiver<Option<LeaseId>>,
    /// The published `data_id`.
    pub(super) data_id: watch::Sender<String>,
    /// The published `fork_epoch`.
    pub(super) fork_epoch: watch::Sender<u64>,
    /// Notified when the registry has changed.
    pub(super) changes: Arc<Notify>,
    pub(super) identity: DataIdentity,
    pub(super) data: DataState,
    /// How many members the data last had around them.
    pub(super) members_seen: MembersSeen,
    /// Whether an interrupted initialization left files behind.
    pub(super) interrupted_init: bool,
    /// Whether an interrupted first join left files behind.
    pub(super) unfinished_join: bool,
    /// The position recovered from the storage engine.
    pub(super) recovered_position: Option<Position>,
    /// The `mod_revision` of the order that this process wrote for itself.
    pub(super) own_order: Option<i64>,
    /// The revision of the order that was read last, and when it was first read.
    pub(super) order_read: Option<(i64, Timestamp)>,
    /// Why the data cannot be kept aside, and when that was examined; only of a node that is held back.
    pub(super) keep_obstacle: Option<(Option<String>, Instant)>,
}

/// `None`: evaluate again.
type StartupStep = Result<Option<ServerStart>, RunError>;

impl StartupDriver<'_> {
    /// Decides, acts and waits until the server may be started.
    ///
    /// # Errors
    /// If it must not be started.
    pub(super) async fn run(&mut self) -> Result<ServerStart, RunError> {
        loop {
            let listing = self.read_cluster().await;
            self.note_order(&listing);
            if self.data.has_history() && !self.has_registration(&listing) {
                // Other nodes count the report of a registered member only.
                self.register_history().await;
            }
            let decision = decide(
                &self.node_facts(),
                &listing.snapshot,
                &self.settings.startup,
            );
            let phase = match &decision.action {
                StartupAction::Wait { .. } => AgentPhase::Waiting,
                _ => AgentPhase::Starting,
            };
            let held = decision.held.map(|range| HeldData {
                range,
                obstacle: self.examine_keep_obstacle(),
            });
            self.reporter
                .report_held(phase, &self.data, &decision.explanation, held.as_ref());
            let step = match decision.action {
                StartupAction::Wait { .. } => {
                    self.wait_for_change().await;
                    Ok(None)
                }
                StartupAction::Refuse => Err(RunError::Refused(decision.explanation)),
                StartupAction::RecoverPosition => self.recover().await,
                StartupAction::Join { members } => self.join(&listing, members).await,
                StartupAction::FoundCluster(founding) => {
                    Box::pin(self.found_cluster(&listing, founding)).await
                }
                StartupAction::Bootstrap {
                    position,
                    preconditions: expect,
                } => self.write_order(&position, &expect).await,
                StartupAction::FollowOrder { order, revision } => {
                    let action = order.action_id.unwrap_or_default();
                    self.follow_order(&listing, &action, revision).await
                }
                StartupAction::Rejoin { rejoin, revision } => {
                    let action = rejoin.order.action_id.unwrap_or_default();
                    Box::pin(self.rejoin(&action, revision)).await
                }
                StartupAction::WithdrawOrder { revision } => self.withdraw_order(revision).await,
            };
            if let Some(start) = step? {
                return Ok(start);
            }
        }
    }

    fn node_facts(&self) -> StartingNode {
        StartingNode {
            cluster: self.cluster.name.clone(),
            node: self.cluster.node.clone(),
            data_id: self.identity.id.clone(),
            data: self.data.clone(),
            members_seen: Some(self.members_seen.clone()),
            fork_epoch: self.identity.fork_epoch,
            fork: self.identity.fork.clone(),
            founding: self.identity.founding,
            obeyed_orders: self.identity.obeyed_orders(),
            orders: self.order_trust(),
        }
    }

    fn order_trust(&self) -> OrderTrust {
        let keys = self.settings.order_keys.clone();
        let now = now();
        OrderTrust {
            keys: keys.map(|keys| Arc::new(keys) as Arc<dyn OrderVerifier>),
            now,
            order_read_at: self.order_read.map_or(now, |(_, at)| at),
            own_lease: *self.lease_id.borrow(),
            own_order: self.own_order,
            keep_obstacle: self
                .keep_obstacle
                .as_ref()
                .and_then(|(obstacle, _)| obstacle.clone()),
        }
    }

    /// Why the data cannot be kept aside, examined again now and then: it walks the whole directory.
    fn examine_keep_obstacle(&mut self) -> Option<String> {
        let recent = |at: &Instant| at.elapsed() < OBSTACLE_RECHECK;
        if self
            .keep_obstacle
            .as_ref()
            .is_none_or(|(_, at)| !recent(at))
        {
            let obstacle = self.directory.keep_obstacle(self.variables);
            self.keep_obstacle = Some((obstacle, Instant::now()));
        }
        self.keep_obstacle
            .as_ref()
            .and_then(|(obstacle, _)| obstacle.clone())
    }

    /// Whether this node's durable registration exists, of whatever data.
    fn has_registration(&self, listing: &ClusterListing) -> bool {
        let member = listing.snapshot.members.get(&self.cluster.node);
        member.is_some_and(|member| member.registration.is_some())
    }

    /// Remembers when the current order was first read.
    fn note_order(&mut self, listing: &ClusterListing) {
        let rejoin = match &listing.snapshot.rejoin {
            RejoinKeyState::Known {
                rejoin, revision, ..
            } if rejoin.order.node == self.cluster.node => Some(*revision),
            RejoinKeyState::Known { .. } | RejoinKeyState::Absent => None,
        };
        let bootstrap = match &listing.snapshot.order {
            OrderKeyState::Known { revision, .. } => Some(*revision),
            OrderKeyState::Absent | OrderKeyState::Unreadable => None,
        };
        let revision = rejoin.or(bootstrap);
        if self.order_read.map(|(revision, _)| revision) != revision {
            self.order_read = revision.map(|revision| (revision, now()));
        }
    }

    /// Reads the cluster's keys; retries until etcd responds.
    pub(super) async fn read_cluster(&self) -> ClusterListing {
        loop {
            match self.cluster.read().await {
                Ok(listing) => return listing,
                Err(error) => self.report_registry_outage(&error).await,
            }
        }
    }

    /// Publishes that etcd does not respond, then waits before the next attempt.
    async fn report_registry_outage(&self, error: &registry::Error) {
        tracing::debug!("{error}");
        let message = format!(
            "etcd at {} is unreachable; waiting for it before touching the data",
            self.cluster.registry.endpoints()
        );
        self.reporter
            .report(AgentPhase::Starting, &self.data, &message);
        sleep(RETRY_DELAY).await;
    }

    /// Waits for a change in the registry, with a limit.
    async fn wait_for_change(&self) {
        // On timeout: evaluate anyway, because the watch may be broken.
        let _ = timeout(RECHECK_INTERVAL, self.changes.notified()).await;
        sleep(DEBOUNCE).await;
    }

    async fn wait_for_lease(&mut self) -> Option<LeaseId> {
        let granted = self.lease_id.wait_for(Option::is_some);
        match timeout(RECHECK_INTERVAL, granted).await {
            Ok(Ok(lease)) => *lease,
            _ => None,
        }
    }

    async fn recover(&mut self) -> StartupStep {
        let saved = self.directory.saved_state()?;
        let outcome =
            recover::recover_position(self.command, self.children, self.workspace, &saved).await?;
        tracing::info!("{}", outcome.message);
        self.data = outcome.data;
        self.recovered_position = self.data.position().cloned();
        if let Some(position) = self.recovered_position.clone() {
            self.record_position(&position).await;
        }
        Ok(None)
    }

    /// Records the recovered position durably; it must survive this agent.
    async fn record_position(&self, position: &Position) {
        let recorded = Box::pin(self.cluster.register(
            &self.identity.id,
            ReplaceRegistration::OwnOnly,
            None,
            Some(position),
        ));
        if let Err(error) = recorded.await {
            tracing::warn!("Could not record the recovered position: {error}");
        }
    }

    async fn join(&mut self, listing: &ClusterListing, members: Vec<NodeId>) -> StartupStep {
        let verified = join::verify_members(self.settings, members).await;
        if verified.members.is_empty() {
            let message = format!(
                "Waiting: the registry lists Synced, Primary members, but none could be verified: {}",
                verified.explanation
            );
            self.reporter
                .report(AgentPhase::Waiting, &self.data, &message);
            self.wait_for_change().await;
            return Ok(None);
        }
        if self.data == DataState::Empty && (self.interrupted_init || self.identity.prepared) {
            self.discard_initialization()?;
        }
        self.set_unfinished_aside()?;
        if !self
            .clear_stopped(listing, ReplaceRegistration::OwnOnly)
            .await
        {
            return Ok(None);
        }
        if matches!(self.data, DataState::Unrecoverable { .. }) {
            self.directory.forget_position()?;
        }
        self.continue_fork(listing)?;
        if self.data == DataState::Empty {
            // Before the server starts: whatever it leaves behind is that of an unfinished transfer.
            self.directory.begin_join(&self.identity)?;
        }
        let names: Vec<String> = verified.members.iter().map(ToString::to_string).collect();
        let message = format!("Joining {} ({})", names.join(", "), verified.explanation);
        self.reporter
            .report(AgentPhase::Joining, &self.data, &message);
        Ok(Some(self.server_start(Some(verified.members))))
    }

    /// Takes over the fork of the members that are joined.
    fn continue_fork(&mut self, listing: &ClusterListing) -> Result<(), RunError> {
        let snapshot = &listing.snapshot;
        let joined = snapshot.fork_to_join(&self.cluster.node, self.identity.fork_epoch);
        if let Some((epoch, record)) = joined {
            self.identity.record_fork(epoch, record);
            self.identity.write(self.directory.path())?;
            self.fork_epoch.send_replace(epoch);
        }
        Ok(())
    }

    fn server_start(&self, join: Option<Vec<NodeId>>) -> ServerStart {
        ServerStart {
            join,
            position: self.recovered_position.clone(),
        }
    }

    /// Removes an initialization by this agent; no server has used it.
    fn discard_initialization(&mut self) -> Result<(), RunError> {
        tracing::info!(
            "Removing an earlier initialization from {}; no server has used it",
            self.directory.path().display()
        );
        self.directory.discard_initialization()?;
        self.identity.prepared = false;
        self.identity.write(self.directory.path())?;
        self.interrupted_init = false;
        Ok(())
    }

    /// Sets aside what an interrupted first join left behind: it never was a member's data.
    fn set_unfinished_aside(&mut self) -> Result<(), RunError> {
        if std::mem::take(&mut self.unfinished_join)
            && let Some(list) = self.directory.set_unfinished_aside()?
        {
            tracing::warn!(
                "The first state transfer of these data never completed; renamed what it left behind, as listed in {}",
                list.display()
            );
        }
        Ok(())
    }

    /// Whether `node` is the registration of this node's data.
    pub(super) fn is_registered_as(&self, node: &NodeId, listing: &ClusterListing) -> bool {
        let member = listing.snapshot.members.get(node);
        let registration = member.and_then(|member| member.registration.as_ref());
        registration.is_some_and(|known| known.id.as_deref() == Some(&self.identity.id))
    }

    /// Clears the clean stop from this node's registration before its server starts. Returns whether that succeeded.
    async fn clear_stopped(&self, listing: &ClusterListing, replace: ReplaceRegistration) -> bool {
        let ours = self.is_registered_as(&self.cluster.node, listing);
        if !ours && !self.data.has_history() {
            // A node without data is registered once it has some.
            return true;
        }
        let written =
            Box::pin(
                self.cluster
                    .register(&self.identity.id, replace, None, self.data.position()),
            );
        match written.await {
            // The registration of other data stays as it is.
            Ok(_) => true,
            Err(error) => {
                self.report_registry_outage(&error).await;
                false
            }
        }
    }
}
