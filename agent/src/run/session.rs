//! A node with a registry: its tasks, and the cycle from the start decision to the server's exit, which begins again when the
//! agent restarts its own server.

use std::sync::Arc;
use std::time::Duration;

use galera::observe::registration::{self, AgentPhase, OrderVerifier};
use registry::Registry;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::adopted_server::AdoptedServer;
use super::cluster::ClusterRegistry;
use super::durable_keys::DurableKeys;
use super::error::RunError;
use super::identity::DataIdentity;
use super::phase_reporter::PhaseReporter;
use super::restart::{RestartRequest, RestartWatch};
use super::signals::SignalStreams;
use super::startup_driver::{ServerStart, StartupDriver};
use super::supervise::{self, SupervisedServer, SupervisionEnd, SupervisionTasks};
use super::transfer_watch::TransferWatch;
use super::{PreparedNode, log_exit};
use crate::clock::now;
use crate::observation::ServerState;
use crate::report::{ReportTarget, Reporter, TRANSIENT_STATES_MAX, TransientState};

/// Time to withdraw the report.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a first join begins again, doubled each time.
const JOIN_DELAY: Duration = Duration::from_secs(5);
/// Longest such pause.
const JOIN_DELAY_MAX: Duration = Duration::from_secs(60);

/// What the tasks of a node with a registry share.
pub(super) struct RegistrySession {
    pub(super) cluster: ClusterRegistry,
    publish: watch::Sender<ServerState>,
    pub(super) server: watch::Receiver<ServerState>,
    transient_sender: mpsc::Sender<TransientState>,
    /// Notified of every change to the cluster's keys.
    pub(super) changes: Arc<Notify>,
    /// Makes the reporter write all fields again.
    pub(super) rewrite: Arc<Notify>,
    /// Makes the durable keys be written again.
    pub(super) keys_removed: Arc<Notify>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RegistrySession {
    /// Also returns the reporter, which does not run yet.
    pub(super) fn new(node: &PreparedNode, registry: Registry) -> (Self, Reporter) {
        let cluster = ClusterRegistry {
            registry,
            keys: node.settings.keys.clone(),
            name: node.settings.cluster.clone(),
            node: node.settings.node(node.variables.port),
        };
        let (publish, server) = watch::channel(ServerState::Unknown);
        let (transient_sender, transient_receiver) = mpsc::channel(TRANSIENT_STATES_MAX);
        let rewrite = Arc::<Notify>::default();
        let reporter = Reporter::new(
            cluster.registry.clone(),
            ReportTarget {
                keys: cluster.keys.clone(),
                cluster: cluster.name.clone(),
                node: cluster.node.clone(),
            },
            node.settings.ttl,
            now(),
        )
        .without_registration()
        .with_transient_states(transient_receiver)
        .with_rewrite_signal(Arc::clone(&rewrite));
        let session = Self {
            cluster,
            publish,
            server,
            transient_sender,
            changes: Arc::default(),
            rewrite,
            keys_removed: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        (session, reporter)
    }

    /// Starts or adopts the server and supervises it until it exits for good. Returns the exit code.
    pub(super) async fn run(
        &self,
        node: &PreparedNode,
        reporter: Reporter,
        mut adopted: Option<AdoptedServer>,
        signals: &mut SignalStreams,
    ) -> Result<u8, RunError> {
        let mut contents = node.contents.clone();
        let mut members_seen = node.members_seen.clone();
        let mut identity = node.identity_or_new()?;
        let order_keys = node.settings.order_keys.as_ref();
        if order_keys.is_none() {
            tracing::warn!(
                "ORDER_PUBLIC_KEY_FILE is not set: this agent rejects all console orders"
            );
        }
        let key_ids = order_keys.map(OrderVerifier::key_ids).unwrap_or_default();
        let fork_epoch = watch::Sender::new(identity.fork_epoch);
        let data_id = watch::Sender::new(identity.id.clone());
        let reporter = reporter
            .with_constant_fields([("order_keys", registration::order_keys_value(&key_ids))])
            .with_data_id(data_id.subscribe())
            .with_fork_epoch(fork_epoch.subscribe())
            .with_transfer(self.watch_transfers(node));
        let lease_id = reporter.subscribe_lease_id();
        let mut idle_reporter = Some(reporter);
        // When adopting a running server there is no start decision, so phase updates are discarded.
        let discarding_reporter = PhaseReporter::new(watch::Sender::new(ServerState::Unknown));
        let mut failed_joins = 0;
        loop {
            let phase_reporter =
                PhaseReporter::new(self.publish.clone()).with_members_seen(members_seen.clone());
            let mut driver = StartupDriver {
                settings: &node.settings,
                cluster: &self.cluster,
                directory: &node.directory,
                command: &node.command,
                variables: &node.variables,
                children: &node.children,
                workspace: &node.workspace,
                reporter: match &adopted {
                    Some(_) => &discarding_reporter,
                    None => &phase_reporter,
                },
                lease_id: lease_id.clone(),
                data_id: data_id.clone(),
                fork_epoch: fork_epoch.clone(),
                changes: Arc::clone(&self.changes),
                identity,
                data: contents.data.clone(),
                members_seen: members_seen.clone(),
                interrupted_init: contents.interrupted_init,
                unfinished_join: contents.unfinished_join,
                recovered_position: None,
                own_order: None,
                order_read: None,
                keep_obstacle: None,
            };
            let (mut process, joins) = match adopted.take() {
                Some(adopted) => (PreparedNode::adopt(adopted, &phase_reporter), false),
                None => {
                    let start = tokio::select! {
                        start = self.decide_start(&mut driver, idle_reporter.take()) => start?,
                        name = signals.wait_for_stop() => {
                            tracing::info!("Stopping on {name}; the server has not been started");
                            return Ok(0);
                        }
                    };
                    let child = SupervisedServer::Child(node.launch(&start)?);
                    (child, start.join.is_some())
                }
            };
            let running = driver.identity.clone();
            let diverged = watch::Sender::new(None);
            let maintaining = async {
                if let Some(reporter) = idle_reporter.take() {
                    self.claim_and_report(&mut driver, reporter).await?;
                }
                Err(self
                    .maintain_durable_keys(
                        node,
                        running.clone(),
                        fork_epoch.clone(),
                        diverged.clone(),
                    )
                    .await)
            };
            let supervising = node.supervise(
                &mut process,
                signals,
                &self.publish,
                &self.transient_sender,
                &phase_reporter,
                SupervisionTasks {
                    maintaining,
                    restart: self.restart_request(node, &fork_epoch, joins, diverged.subscribe()),
                },
            );
            let SupervisionEnd { exit, restart } = Box::pin(supervising).await?;
            let ended = supervise::infer_exit(exit, &node.directory);
            let Some(request) = restart else {
                if ended.is_success() {
                    let epoch = *fork_epoch.borrow();
                    supervise::record_stop(&self.cluster, &node.directory, &running, epoch).await;
                }
                return Ok(log_exit(ended));
            };
            tracing::info!("Server stopped to be started again ({ended})");
            // Processes of a state transfer end soon after the server that started them.
            if let Some(left) = AdoptedServer::find(&node.variables.datadir).await? {
                return Err(RunError::Unavailable(format!(
                    "process {} still uses the data directory; stop it first",
                    left.pid()
                )));
            }
            if request.join {
                failed_joins += 1;
                let name = tokio::select! {
                    () = sleep(join_delay(failed_joins)) => None,
                    name = signals.wait_for_stop() => Some(name),
                };
                if let Some(name) = name {
                    tracing::info!("Stopping on {name}; the server has not been started again");
                    return Ok(0);
                }
            }
            contents = node.directory.examine(node.settings.cluster.as_str())?;
            members_seen = node.members_seen_after(&request)?;
            identity = contents.identity.clone().unwrap_or(running);
            data_id.send_replace(identity.id.clone());
        }
    }

    /// The value of `transfer`.
    fn watch_transfers(&self, node: &PreparedNode) -> watch::Receiver<Option<String>> {
        let (publish, transfer) = watch::channel(None);
        let watch = TransferWatch {
            directory: node.directory.path().to_path_buf(),
            server: self.server.clone(),
            publish,
        };
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { stop.run_until_cancelled(watch.run()).await });
        transfer
    }

    /// Why the server must be started again; pending as long as it need not be.
    async fn restart_request(
        &self,
        node: &PreparedNode,
        fork_epoch: &watch::Sender<u64>,
        joins: bool,
        diverged: watch::Receiver<Option<String>>,
    ) -> RestartRequest {
        let watch = RestartWatch {
            cluster: &self.cluster,
            directory: &node.directory,
            fork_epoch: fork_epoch.subscribe(),
            expected_members: node.settings.startup.expected_members.count(),
            joins,
            diverged,
        };
        match watch.run(self.publish.subscribe()).await {
            Ok(request) => request,
            Err(failure) => {
                tracing::error!(
                    "The agent no longer recognizes a server that must be restarted: {failure}"
                );
                std::future::pending().await
            }
        }
    }

    /// Starts publishing, unless that was done, then decides how to start the server.
    async fn decide_start(
        &self,
        driver: &mut StartupDriver<'_>,
        reporter: Option<Reporter>,
    ) -> Result<ServerStart, RunError> {
        driver.finish_keeping().await?;
        match reporter {
            Some(reporter) => self.claim_and_report(driver, reporter).await?,
            None => driver.identity.restore(driver.directory.path())?,
        }
        Box::pin(driver.run()).await
    }

    /// Claims the address and the identity, then starts publishing.
    async fn claim_and_report(
        &self,
        driver: &mut StartupDriver<'_>,
        reporter: Reporter,
    ) -> Result<(), RunError> {
        // etcd first: nothing is written to the directory before it has responded.
        driver.read_cluster().await;
        driver.identity.restore(driver.directory.path())?;
        driver.claim_identity().await?;
        let message = "Reading the data directory and the registry";
        driver
            .reporter
            .report(AgentPhase::Starting, &driver.data, message);
        self.tasks
            .spawn(reporter.run(self.server.clone(), self.stop.clone()));
        Ok(())
    }

    /// Runs until dropped; returns only if it fails.
    async fn maintain_durable_keys(
        &self,
        node: &PreparedNode,
        identity: DataIdentity,
        fork_epoch: watch::Sender<u64>,
        diverged: watch::Sender<Option<String>>,
    ) -> RunError {
        let durable_keys = DurableKeys {
            fork_epoch,
            rewrite: Arc::clone(&self.rewrite),
            cluster: self.cluster.clone(),
            identity,
            data_dir: node.directory.path().to_path_buf(),
            interval: node.settings.ttl / 3,
            position_apart: None,
            diverged,
        };
        Box::pin(durable_keys.run(self.publish.subscribe(), Arc::clone(&self.keys_removed))).await;
        RunError::Internal("the durable keys are no longer maintained".to_owned())
    }

    /// Withdraws the report. What is not withdrawn in time expires with its lease.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = timeout(WITHDRAW_TIMEOUT, self.tasks.wait()).await;
    }
}

/// Pause before a first join begins again, after `failed` that did not complete.
fn join_delay(failed: u32) -> Duration {
    JOIN_DELAY_MAX.min(JOIN_DELAY * 2_u32.saturating_pow(failed.saturating_sub(1)))
}
