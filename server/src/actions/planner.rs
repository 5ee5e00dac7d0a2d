//! Plans as of now, from what is known and the console's own state.

use console_core::clock::now;
use galera::ClusterName;
use galera::observe::registration::{ClusterField, Keys as RegistryKeys, Order};
use galera::recover::attestation::Attestation;
use galera::recover::bootstrap::{self, Case, Circumstances};
use galera::recover::cleanup::{self, Patience, Reading};
use galera::recover::plan::{Kind, Plan};

use super::desk::Inner;
use super::switches::Switches;
use super::world::Look;
use super::{ActionError, ActionSettings};

/// What was known when a plan was made.
pub(super) struct Scene {
    pub(super) look: Look,
    pub(super) circumstances: Circumstances,
    pub(super) switches: Switches,
}

impl Scene {
    /// The plan of `kind` with what people vouch for.
    pub(super) fn plan(
        &self,
        settings: &ActionSettings,
        kind: Kind,
        attestations: &[Attestation],
    ) -> Plan {
        let case = self.case(settings, attestations);
        match kind {
            Kind::Bootstrap => bootstrap::plan(&case),
            Kind::Cleanup => cleanup::plan(&case, &self.look.readings, &Patience::default()),
            Kind::Decommission => {
                let nothing = Reading {
                    at: case.now,
                    revision: 0,
                    keys: Vec::new(),
                };
                cleanup::decommission(&case, self.look.readings.last().unwrap_or(&nothing))
            }
        }
    }

    pub(super) fn case<'a>(
        &'a self,
        settings: &'a ActionSettings,
        attestations: &'a [Attestation],
    ) -> Case<'a> {
        Case {
            evidence: &self.look.evidence,
            history: &self.look.history,
            attestations,
            circumstances: &self.circumstances,
            settings: &settings.plan,
            now: now(),
        }
    }
}

impl Inner {
    /// Looks at `cluster`. `own` is the action that is being planned again, which does not stand in its own way.
    pub(super) async fn scene(
        &self,
        cluster: &ClusterName,
        fresh: bool,
        own: Option<&str>,
    ) -> Result<Scene, ActionError> {
        let (look, switches, open) = tokio::join!(
            self.world.look(cluster, fresh),
            Switches::read(&self.registry, &self.keys),
            self.registry.get(self.keys.open(cluster)),
        );
        let mut look = look.ok_or(ActionError::UnknownCluster)?;
        // A plan is never withheld: without etcd it says what it cannot know (I30).
        let (switches, open) = match (switches, open) {
            (Ok(switches), Ok(open)) => (switches, open),
            (Err(error), _) => return self.blind(look, &error.to_string()),
            (_, Err(error)) => return self.blind(look, &error.to_string()),
        };
        let open = open.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        let order = self.standing_order(cluster, &mut look, own);
        Ok(Scene {
            circumstances: Circumstances {
                off: switches.off(cluster).cloned(),
                open_action: open.filter(|id| Some(id.as_str()) != own),
                standing_order: order,
                sql_account: self.settings.sql_account,
                registry_prefix: self.settings.registry_prefix.clone(),
            },
            switches,
            look,
        })
    }

    fn blind(&self, mut look: Look, error: &str) -> Result<Scene, ActionError> {
        let health = &mut look.evidence.registry_health;
        if health.reachable {
            health.reachable = false;
            health.since = now();
            health.error = Some(error.to_owned());
        }
        Ok(Scene {
            look,
            circumstances: Circumstances {
                sql_account: self.settings.sql_account,
                registry_prefix: self.settings.registry_prefix.clone(),
                ..Circumstances::default()
            },
            switches: Switches::default(),
        })
    }

    /// The order in the registry that belongs to somebody else.
    fn standing_order(
        &self,
        cluster: &ClusterName,
        look: &mut Look,
        own: Option<&str>,
    ) -> Option<String> {
        let keys = RegistryKeys::new(&self.settings.registry_prefix);
        let key = keys.cluster_key(cluster, ClusterField::Bootstrap);
        let reading = look.readings.last()?;
        let raw = reading.keys.iter().find(|raw| raw.key == key.as_bytes())?;
        let order: Option<Order> = serde_json::from_slice(&raw.value).ok();
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
