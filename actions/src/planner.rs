//! Computes current plans from the cluster's evidence and the console's own state.

use console_core::clock::now;
use console_core::keyspace;
use galera::observe::fork::ForkRecords;
use galera::observe::registration::{BootstrapOrder, ClusterField, ParsedKey, RegistryKeys};
use galera::recover::attestation::Attestation;
use galera::recover::bootstrap::{self, CorrectionsRecord, RecoveryCase, RecoveryContext};
use galera::recover::cleanup::{self, RegistryReading, StalenessSettings};
use galera::recover::plan::{ActionKind, Plan};
use galera::recover::{positions, rejoin};
use galera::{ActionId, ClusterName};
use registry::spans;
use tracing::{Instrument, Span};

use super::cluster_access::ClusterEvidence;
use super::context::ActionContext;
use super::switches::RecoverySwitches;
use super::{ActionError, ActionSettings};

/// The inputs of a plan.
pub(super) struct PlanningInputs {
    pub(super) cluster: ClusterEvidence,
    pub(super) recovery_context: RecoveryContext,
    pub(super) switches: RecoverySwitches,
}

impl PlanningInputs {
    /// The plan of `kind` under the given attestations.
    pub(super) fn plan(
        &self,
        settings: &ActionSettings,
        kind: ActionKind,
        attestations: &[Attestation],
    ) -> Plan {
        let case = self.case(settings, attestations);
        match kind {
            ActionKind::Bootstrap => bootstrap::plan(&case),
            ActionKind::Cleanup => {
                cleanup::plan(&case, &self.cluster.readings, &StalenessSettings::default())
            }
            ActionKind::Positions => positions::plan(&case, self.cluster.readings.last()),
            ActionKind::Rejoin => rejoin::plan(&case),
            ActionKind::Decommission => {
                let empty = RegistryReading {
                    at: case.now,
                    revision: 0,
                    keys: Vec::new(),
                };
                cleanup::decommission(&case, self.cluster.readings.last().unwrap_or(&empty))
            }
        }
    }

    pub(super) fn case<'a>(
        &'a self,
        settings: &'a ActionSettings,
        attestations: &'a [Attestation],
    ) -> RecoveryCase<'a> {
        RecoveryCase {
            evidence: &self.cluster.evidence,
            history: &self.cluster.history,
            attestations,
            context: &self.recovery_context,
            settings: &settings.plan,
            now: now(),
        }
    }
}

impl ActionContext {
    /// [`Self::read_inputs`], in a span if it is done for a request or an action.
    pub(super) async fn planning_inputs(
        &self,
        cluster: &ClusterName,
        fresh: bool,
        own: Option<&ActionId>,
    ) -> Result<PlanningInputs, ActionError> {
        let span = match spans::is_traced() {
            true => tracing::info_span!(
                target: spans::TARGET, "plan",
                otel.name = "plan", galera.cluster = cluster.as_str(), plan.fresh = fresh,
            ),
            false => Span::none(),
        };
        // On the heap: it is large, and part of the futures of many callers.
        let reading = Box::pin(self.read_inputs(cluster, fresh, own));
        reading.instrument(span).await
    }

    /// Reads the inputs for `cluster`. `own` is the action being replanned, which does not block itself.
    async fn read_inputs(
        &self,
        cluster: &ClusterName,
        fresh: bool,
        own: Option<&ActionId>,
    ) -> Result<PlanningInputs, ActionError> {
        let corrections_key = self.corrections_key(cluster);
        let (evidence, switches, open, corrections) = tokio::join!(
            self.clusters.read_cluster(cluster, fresh),
            RecoverySwitches::read(&self.registry, &self.keys),
            self.registry.get(self.keys.open_action(cluster)),
            self.registry.get(corrections_key.as_str()),
        );
        let evidence = evidence.ok_or(ActionError::UnknownCluster)?;
        // A plan is never withheld: without etcd, its checks state what is unknown (I30).
        let (switches, open) = match (switches, open) {
            (Ok(switches), Ok(open)) => (switches, open),
            (Err(error), _) => return self.inputs_without_registry(evidence, &error.to_string()),
            (_, Err(error)) => return self.inputs_without_registry(evidence, &error.to_string()),
        };
        let open = open.map(|entry| ActionId::from_stored(String::from_utf8_lossy(&entry.value)));
        let order = self.standing_order(cluster, &evidence, own);
        let founder_missing = self.is_founder_missing(cluster, &evidence);
        Ok(PlanningInputs {
            recovery_context: RecoveryContext {
                recovery_pause: switches.off_for(cluster).cloned(),
                open_action: open.filter(|id| Some(id) != own),
                standing_order: order,
                recovery_reach: self.settings.recovery_reach,
                order_key: self.order_key_id(),
                registry_prefix: self.settings.registry_prefix.clone(),
                founder_missing,
                forks: self.recorded_forks(cluster, &evidence),
                corrections: corrections.ok().map(|entry| CorrectionsRecord {
                    key: corrections_key,
                    mod_revision: entry.map_or(0, |entry| entry.mod_revision),
                }),
            },
            switches,
            cluster: evidence,
        })
    }

    /// The record of position corrections of `cluster`.
    pub(super) fn corrections_key(&self, cluster: &ClusterName) -> String {
        keyspace::position_corrections_of(&self.settings.state_prefix, cluster)
    }

    fn inputs_without_registry(
        &self,
        mut evidence: ClusterEvidence,
        error: &str,
    ) -> Result<PlanningInputs, ActionError> {
        let health = &mut evidence.evidence.registry_health;
        if health.reachable {
            health.reachable = false;
            health.since = now();
            health.error = Some(error.to_owned());
        }
        Ok(PlanningInputs {
            cluster: evidence,
            recovery_context: RecoveryContext {
                recovery_reach: self.settings.recovery_reach,
                order_key: self.order_key_id(),
                registry_prefix: self.settings.registry_prefix.clone(),
                ..RecoveryContext::default()
            },
            switches: RecoverySwitches::default(),
        })
    }

    fn order_key_id(&self) -> Option<String> {
        let key = self.settings.order_key.as_ref();
        key.map(|key| key.public().id().to_owned())
    }

    /// The forks of the cluster's history that the registry has.
    fn recorded_forks(&self, cluster: &ClusterName, evidence: &ClusterEvidence) -> ForkRecords {
        let keys = RegistryKeys::new(&self.settings.registry_prefix);
        let mut forks = ForkRecords::default();
        let read = evidence.readings.last();
        for raw in read.iter().flat_map(|read| &read.keys) {
            match keys.parse(&raw.key) {
                ParsedKey::Cluster {
                    cluster: of,
                    field: ClusterField::Fork(epoch),
                } if of == *cluster => forks.insert(epoch, &raw.value),
                _ => {}
            }
        }
        forks
    }

    /// Whether the registry was read and has no founder key.
    fn is_founder_missing(&self, cluster: &ClusterName, evidence: &ClusterEvidence) -> bool {
        let keys = RegistryKeys::new(&self.settings.registry_prefix);
        let key = keys.cluster_key(cluster, ClusterField::Founder);
        let reading = evidence.readings.last();
        reading.is_some_and(|read| read.keys.iter().all(|raw| raw.key != key.as_bytes()))
    }

    /// An order in the registry that does not belong to action `own`.
    fn standing_order(
        &self,
        cluster: &ClusterName,
        evidence: &ClusterEvidence,
        own: Option<&ActionId>,
    ) -> Option<String> {
        let keys = RegistryKeys::new(&self.settings.registry_prefix);
        let orders = [ClusterField::Bootstrap, ClusterField::Rejoin]
            .map(|field| keys.cluster_key(cluster, field));
        let is_order = |key: &[u8]| orders.iter().any(|order| order.as_bytes() == key);
        let is_own = |value: &[u8]| {
            // An order to rejoin has the fields of a bootstrap order.
            let order: Option<BootstrapOrder> = serde_json::from_slice(value).ok();
            let owner = order.and_then(|order| order.action_id);
            own.is_some() && owner.as_deref() == own.map(ActionId::as_str)
        };
        let reading = evidence.readings.last()?;
        let mut standing = reading.keys.iter().filter(|raw| is_order(&raw.key));
        let raw = standing.find(|raw| !is_own(&raw.value))?;
        Some(
            String::from_utf8_lossy(&raw.value)
                .chars()
                .take(300)
                .collect(),
        )
    }
}
