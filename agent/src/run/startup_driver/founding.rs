//! Founds the cluster: claims the founder key, initializes the data, and checks the claim again before the server starts.

use galera::startup::{
    DataState, FounderClaim, FounderRecord, ReplaceRegistration, StartupAction, decide,
};
use registry::LeaseId;
use tokio::time::Instant;

use super::{RETRY_DELAY, StartupDriver, StartupStep};
use crate::clock::now;
use crate::run::cluster::{ClusterListing, known_founder};
use crate::run::error::RunError;
use crate::run::initialize;

impl StartupDriver<'_> {
    pub(super) async fn found_cluster(
        &mut self,
        listing: &ClusterListing,
        founding: FounderClaim,
    ) -> StartupStep {
        let Some(lease) = self.wait_for_lease().await else {
            return Ok(None);
        };
        let claim = |started| FounderRecord {
            node: self.cluster.node.clone(),
            founded_at: known_founder(&listing.snapshot)
                .and_then(|known| known.founded_at)
                .or_else(|| Some(now())),
            data_id: Some(self.identity.id.clone()),
            started,
            state_uuid: None,
        };
        let (unstarted, started) = (claim(false), claim(true));
        if !self.identity.founding {
            // Before the key is created: without this mark, the key found there later would count as forged.
            self.identity.founding = true;
            self.identity.write(self.directory.path())?;
        }
        let begun = match founding {
            FounderClaim::Continue { revision } => Ok(Some(revision)),
            FounderClaim::Create => self.claim_founding(&unstarted, 0, lease).await,
            FounderClaim::TakeOver { revision } => {
                self.claim_founding(&unstarted, revision, lease).await
            }
        };
        let Ok(Some(revision)) = begun else {
            return self.handle_lost_claim(begun).await;
        };
        let since = Instant::now();
        self.initialize_data().await?;
        // By then a running member would have noticed an emptied registry and published itself again: it checks every
        // third of its TTL.
        let late = since + self.settings.ttl / 3 + RETRY_DELAY;
        tokio::time::sleep_until(late).await;
        if !self.still_founding(revision).await {
            return Ok(None);
        }
        if !self
            .clear_stopped(listing, ReplaceRegistration::OwnOnly)
            .await
        {
            return Ok(None);
        }
        let marked = self.claim_founding(&started, revision, lease).await;
        let Ok(Some(_)) = marked else {
            return self.handle_lost_claim(marked).await;
        };
        self.directory.allow_bootstrap()?;
        Ok(Some(self.server_start(None)))
    }

    async fn claim_founding(
        &self,
        founder: &FounderRecord,
        expected_revision: i64,
        lease: LeaseId,
    ) -> Result<Option<i64>, registry::Error> {
        Box::pin(
            self.cluster
                .claim_founding(founder, expected_revision, lease),
        )
        .await
    }

    /// Another node founds the cluster, or etcd does not respond: evaluate again.
    async fn handle_lost_claim(
        &mut self,
        outcome: Result<Option<i64>, registry::Error>,
    ) -> StartupStep {
        match outcome {
            Ok(_) => {
                tracing::info!(
                    "Another node was first to found cluster {}",
                    self.cluster.name
                );
            }
            Err(error) => self.report_registry_outage(&error).await,
        }
        Ok(None)
    }

    /// Initializes the data of the new cluster, unless it exists.
    async fn initialize_data(&mut self) -> Result<(), RunError> {
        if self.interrupted_init {
            self.discard_initialization()?;
        }
        self.set_unfinished_aside()?;
        // What follows is an initialization.
        self.directory.finish_join()?;
        if self.data != DataState::Empty || self.identity.prepared {
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
        self.directory.finish_initialization()?;
        tracing::info!(
            duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "Initialized {}",
            self.directory.path().display()
        );
        Ok(())
    }

    /// Checks once more before the server starts: the claim must be unchanged and there must be no other member.
    async fn still_founding(&self, revision: i64) -> bool {
        let listing = match self.cluster.read().await {
            Ok(listing) => listing,
            Err(error) => {
                self.report_registry_outage(&error).await;
                return false;
            }
        };
        let decision = decide(
            &self.node_facts(),
            &listing.snapshot,
            &self.settings.startup,
        );
        let founds = StartupAction::FoundCluster(FounderClaim::Continue { revision });
        if decision.action == founds {
            return true;
        }
        tracing::warn!("Founding cancelled: {}", decision.explanation);
        if matches!(decision.action, StartupAction::Join { .. })
            && let Err(error) = Box::pin(self.cluster.release_founding(revision)).await
        {
            tracing::warn!("Could not remove the founder key: {error}");
        }
        false
    }
}
