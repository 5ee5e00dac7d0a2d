//! Plans as of now, from what is known and the console's own state.

use console_core::clock::now;
use galera::ClusterName;
use galera::observe::registration::{BootstrapOrder, ClusterField, RegistryKeys};
use galera::recover::attestation::Attestation;
use galera::recover::bootstrap::{self, RecoveryCase, RecoveryContext};
use galera::recover::cleanup::{self, RegistryReading, StalenessSettings};
use galera::recover::plan::{ActionKind, Plan};

use super::cluster_access::ClusterEvidence;
use super::service::ActionContext;
use super::switches::RecoverySwitches;
use super::{ActionError, ActionSettings};

/// What was known when a plan was made.
pub(super) struct PlanningInputs {
    pub(super) snapshot: ClusterEvidence,
    pub(super) circumstances: RecoveryContext,
    pub(super) switches: RecoverySwitches,
}

impl PlanningInputs {
    /// The plan of `kind` with what people vouch for.
    pub(super) fn plan(
        &self,
        settings: &ActionSettings,
        kind: ActionKind,
        attestations: &[Attestation],
    ) -> Plan {
        let case = self.case(settings, attestations);
        match kind {
            ActionKind::Bootstrap => bootstrap::plan(&case),
            ActionKind::Cleanup => cleanup::plan(
                &case,
                &self.snapshot.readings,
                &StalenessSettings::default(),
            ),
            ActionKind::Decommission => {
                let nothing = RegistryReading {
                    at: case.now,
                    revision: 0,
                    keys: Vec::new(),
                };
                cleanup::decommission(&case, self.snapshot.readings.last().unwrap_or(&nothing))
            }
        }
    }

    pub(super) fn case<'a>(
        &'a self,
        settings: &'a ActionSettings,
        attestations: &'a [Attestation],
    ) -> RecoveryCase<'a> {
        RecoveryCase {
            evidence: &self.snapshot.evidence,
            history: &self.snapshot.history,
            attestations,
            context: &self.circumstances,
            settings: &settings.plan,
            now: now(),
        }
    }
}

impl ActionContext {
    /// Looks at `cluster`. `own` is the action that is being planned again, which does not stand in its own way.
    pub(super) async fn planning_inputs(
        &self,
        cluster: &ClusterName,
        fresh: bool,
        own: Option<&str>,
    ) -> Result<PlanningInputs, ActionError> {
        let (look, switches, open) = tokio::join!(
            self.clusters.read_cluster(cluster, fresh),
            RecoverySwitches::read(&self.registry, &self.keys),
            self.registry.get(self.keys.open_action(cluster)),
        );
        let mut look = look.ok_or(ActionError::UnknownCluster)?;
        // A plan is never withheld: without etcd it says what it cannot know (I30).
        let (switches, open) = match (switches, open) {
            (Ok(switches), Ok(open)) => (switches, open),
            (Err(error), _) => return self.inputs_without_registry(look, &error.to_string()),
            (_, Err(error)) => return self.inputs_without_registry(look, &error.to_string()),
        };
        let open = open.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        let order = self.standing_order(cluster, &mut look, own);
        Ok(PlanningInputs {
            circumstances: RecoveryContext {
                recovery_pause: switches.off_for(cluster).cloned(),
                open_action: open.filter(|id| Some(id.as_str()) != own),
                standing_order: order,
                sql_account: self.settings.sql_account,
                registry_prefix: self.settings.registry_prefix.clone(),
            },
            switches,
            snapshot: look,
        })
    }

    fn inputs_without_registry(
        &self,
        mut look: ClusterEvidence,
        error: &str,
    ) -> Result<PlanningInputs, ActionError> {
        let health = &mut look.evidence.registry_health;
        if health.reachable {
            health.reachable = false;
            health.since = now();
            health.error = Some(error.to_owned());
        }
        Ok(PlanningInputs {
            snapshot: look,
            circumstances: RecoveryContext {
                sql_account: self.settings.sql_account,
                registry_prefix: self.settings.registry_prefix.clone(),
                ..RecoveryContext::default()
            },
            switches: RecoverySwitches::default(),
        })
    }

    /// The order in the registry that belongs to somebody else.
    fn standing_order(
        &self,
        cluster: &ClusterName,
        look: &mut ClusterEvidence,
        own: Option<&str>,
    ) -> Option<String> {
        let keys = RegistryKeys::new(&self.settings.registry_prefix);
        let key = keys.cluster_key(cluster, ClusterField::Bootstrap);
        let reading = look.readings.last()?;
        let raw = reading.keys.iter().find(|raw| raw.key == key.as_bytes())?;
        let order: Option<BootstrapOrder> = serde_json::from_slice(&raw.value).ok();
        let whose = order.and_then(|order| order.action_id);
        if own.is_some() && whose.as_deref() == own {
            return None;
        }
        Some(
            String::from_utf8_lossy(&raw.value)
                .chars()
                .take(300)
                .collect(),
        )
    }
}
