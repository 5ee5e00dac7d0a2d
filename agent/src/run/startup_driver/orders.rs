//! Orders of people and of agents: writes, withdraws and follows them.

use std::time::Duration;

use galera::Position;
use galera::observe::registration::{BootstrapOrder, ClusterField};
use galera::startup::{DataState, KeyPrecondition, ReplaceRegistration};
use tokio::time::sleep;

use super::{DEBOUNCE, StartupDriver, StartupStep};
use crate::clock::now;
use crate::run::cluster::ClusterListing;
use crate::run::command::random_token;
use crate::run::error::RunError;
use crate::run::identity::DataIdentity;

/// Remaining lifetime that an order must have to be followed.
const ORDER_MIN_TTL: Duration = Duration::from_secs(2);

impl StartupDriver<'_> {
    pub(super) async fn write_order(
        &mut self,
        position: &Position,
        expect: &[KeyPrecondition],
    ) -> StartupStep {
        let Some(lease) = self.wait_for_lease().await else {
            return Ok(None);
        };
        let order = BootstrapOrder::automatic(&self.cluster.node, position, &random_token()?);
        match Box::pin(self.cluster.write_order(&order, expect, lease)).await {
            Ok(Some(revision)) => self.own_order = Some(revision),
            Ok(None) => {
                tracing::info!("The registry has changed; evaluating again");
                sleep(DEBOUNCE).await;
            }
            Err(error) => self.report_registry_outage(&error).await,
        }
        Ok(None)
    }

    pub(super) async fn withdraw_order(&mut self, revision: i64) -> StartupStep {
        if let Err(error) = Box::pin(self.cluster.withdraw_order(revision)).await {
            self.report_registry_outage(&error).await;
        }
        Ok(None)
    }

    pub(super) async fn follow_order(
        &mut self,
        listing: &ClusterListing,
        action: &str,
        revision: i64,
    ) -> StartupStep {
        let replace = ReplaceRegistration::OfOtherData;
        if !self.clear_stopped(listing, replace).await {
            return Ok(None);
        }
        self.identity.record_obeyed(action);
        self.identity.write(self.directory.path())?;
        match Box::pin(self.cluster.order_is_valid(
            ClusterField::Bootstrap,
            revision,
            ORDER_MIN_TTL,
        ))
        .await
        {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("The order of action {action} ended before it could be followed");
                return Ok(None);
            }
            Err(error) => {
                self.report_registry_outage(&error).await;
                return Ok(None);
            }
        }
        if !self.record_fork(listing, action).await? {
            return Ok(None);
        }
        self.directory.allow_bootstrap()?;
        Ok(Some(self.server_start(None)))
    }

    /// Keeps the data aside, as ordered: what is left is an empty directory with another identity, which joins.
    pub(super) async fn rejoin(&mut self, action: &str, revision: i64) -> StartupStep {
        // What was examined while the node waited may have changed.
        self.keep_obstacle = None;
        if let Some(obstacle) = self.examine_keep_obstacle() {
            tracing::warn!("The order of action {action} to rejoin is not followed: {obstacle}");
            return Ok(None);
        }
        let field = ClusterField::Rejoin;
        match Box::pin(self.cluster.order_is_valid(field, revision, ORDER_MIN_TTL)).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("The order of action {action} ended before it could be followed");
                self.wait_for_change().await;
                return Ok(None);
            }
            Err(error) => {
                self.report_registry_outage(&error).await;
                return Ok(None);
            }
        }
        self.identity.record_obeyed(action);
        self.identity.write(self.directory.path())?;
        let mut fresh = DataIdentity::new(self.settings.cluster.as_str())?;
        fresh.obeyed_orders.clone_from(&self.identity.obeyed_orders);
        let kept = self
            .directory
            .keep_aside(self.variables, &self.identity.id, &fresh)?;
        let position = self.data.position().map(ToString::to_string);
        tracing::warn!(
            position = position.as_deref().unwrap_or_default(),
            "As ordered by action {action}, the data of this node are kept in {}; it joins empty. Nothing removes that \
             directory",
            kept.display()
        );
        self.adopt_fresh_identity(fresh);
        // Approved: nothing is waited for any longer that only these data have.
        let registered = Box::pin(self.cluster.register(
            &self.identity.id,
            ReplaceRegistration::OfOtherData,
            None,
            None,
        ));
        if let Err(error) = registered.await {
            tracing::warn!("The new data are registered once they have joined: {error}");
        }
        Ok(None)
    }

    /// Completes what an earlier agent began, once etcd has responded. Never while a server runs on the data.
    ///
    /// # Errors
    /// If a file cannot be moved.
    pub(in crate::run) async fn finish_keeping(&mut self) -> Result<(), RunError> {
        if self.directory.is_keeping() {
            self.read_cluster().await;
            let cluster = self.settings.cluster.as_str();
            if let Some(fresh) = self.directory.finish_keeping(cluster)? {
                self.adopt_fresh_identity(fresh);
            }
        }
        Ok(())
    }

    /// From now on this directory is empty and has the identity `fresh`.
    fn adopt_fresh_identity(&mut self, fresh: DataIdentity) {
        self.data = DataState::Empty;
        self.recovered_position = None;
        self.keep_obstacle = None;
        self.data_id.send_replace(fresh.id.clone());
        self.fork_epoch.send_replace(fresh.fork_epoch);
        self.identity = fresh;
    }

    /// Records durably that the history continues from this node's data, before it does: members that have more must
    /// find the record whenever they return. Returns whether that succeeded.
    async fn record_fork(
        &mut self,
        listing: &ClusterListing,
        action: &str,
    ) -> Result<bool, RunError> {
        let Some((epoch, mut record)) = listing.snapshot.next_fork(&self.node_facts(), action)
        else {
            return Ok(false);
        };
        record.at = Some(now());
        match Box::pin(self.cluster.create_fork(epoch, &record)).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("Fork {epoch} was recorded by another node; evaluating again");
                return Ok(false);
            }
            Err(error) => {
                self.report_registry_outage(&error).await;
                return Ok(false);
            }
        }
        tracing::info!(
            "Recorded fork {epoch}: the history {} continues from {}",
            record.state_uuid,
            record.seqno
        );
        self.identity.record_fork(epoch, Some(record));
        self.identity.write(self.directory.path())?;
        self.fork_epoch.send_replace(epoch);
        Ok(true)
    }
}
