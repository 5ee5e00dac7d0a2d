//! The record of the fork that a statement makes (I35): written with the intention, so that members which were left out
//! find it whatever becomes of the executor, and removed with the result of a statement that certainly had no effect.

use galera::observe::fork::ForkRecord;
use galera::observe::registration::{ClusterField, ParsedKey, RegistryKeys};
use galera::recover::bootstrap::{
    NoEpochLeft, RecoveryCase, fork_of_proven_statement, fork_of_statement,
};
use galera::recover::plan::Plan;
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};

use super::ActionError;
use super::executor::{Executor, ExecutorError};

/// A write and what must hold for it.
pub(super) type GuardedWrite = (Precondition, WriteOp);

impl Executor {
    /// What records the fork that the statement of `plan` makes; `None` if it is recorded.
    pub(super) async fn fork_write(
        &self,
        plan: &Plan,
    ) -> Result<Result<Option<GuardedWrite>, NoEpochLeft>, ActionError> {
        let Some(target) = &plan.target else {
            return Ok(Ok(None));
        };
        let action = &self.stored.action;
        let own = Some(&action.id);
        let inputs = self
            .context
            .planning_inputs(&action.cluster, false, own)
            .await?;
        let health = &inputs.cluster.evidence.registry_health;
        if !health.reachable {
            let reason = health.error.as_deref().unwrap_or("etcd is unreachable");
            return Err(ActionError::RegistryUnreadable(reason.to_owned()));
        }
        let case = inputs.case(&self.context.settings, &action.attestations);
        let fork = fork_of_statement(target, &action.id, &case);
        Ok(fork.map(|fork| fork.map(|(epoch, record)| self.guarded_record(epoch, &record))))
    }

    /// What removes every fork that names this action.
    pub(super) async fn fork_removals(&self) -> Result<Vec<GuardedWrite>, ActionError> {
        let action = &self.stored.action;
        let keys = RegistryKeys::new(&self.context.settings.registry_prefix);
        let prefix = format!("{}forks/", keys.cluster_prefix(&action.cluster));
        let listed = self.context.registry.list(prefix).await;
        let own = |value: &[u8]| {
            let record = ForkRecord::parse(value);
            record.is_some_and(|record| record.action_id == action.id.as_str())
        };
        let entries = listed.map_err(ActionError::from)?.entries;
        let recorded = entries.into_iter().filter(|entry| {
            let field = match keys.parse(&entry.key) {
                ParsedKey::Cluster { field, .. } => Some(field),
                _ => None,
            };
            matches!(field, Some(ClusterField::Fork(_))) && own(&entry.value)
        });
        let removals = recorded.map(|entry| {
            let unchanged = Precondition::Unchanged(entry.key.clone(), entry.mod_revision);
            (unchanged, WriteOp::delete(entry.key))
        });
        Ok(removals.collect())
    }

    /// Records the fork of a statement whose intention a former version wrote, or whose record was removed since. Returns why
    /// it is not recorded yet: if another fork took its epoch, the next observation that proves the bootstrap reads the forks again and
    /// takes the epoch after that.
    pub(super) async fn record_missing_fork(
        &self,
        plan: &Plan,
        case: &RecoveryCase<'_>,
    ) -> Result<Option<String>, ExecutorError> {
        let Some(target) = &plan.target else {
            return Ok(None);
        };
        let (epoch, record) = match fork_of_proven_statement(target, &self.stored.action.id, case) {
            Ok(None) => return Ok(None),
            Ok(Some(fork)) => fork,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let (absent, write) = self.guarded_record(epoch, &record);
        let transaction = Transaction::new()
            .when(self.lock.guard())
            .when(absent)
            .then([write]);
        let outcome = self.context.registry.transact(&transaction).await;
        Ok(match outcome.map_err(ActionError::from)? {
            TransactionOutcome::Committed { .. } => {
                tracing::info!(epoch, "Recorded where the bootstrap continued the history");
                None
            }
            TransactionOutcome::Refused { .. } => Some(format!(
                "its fork is not recorded yet: fork {epoch} was written concurrently"
            )),
        })
    }

    fn guarded_record(&self, epoch: u64, record: &ForkRecord) -> GuardedWrite {
        let keys = RegistryKeys::new(&self.context.settings.registry_prefix);
        let key = keys.cluster_key(&self.stored.action.cluster, ClusterField::Fork(epoch));
        let absent = Precondition::Absent(key.clone().into_bytes());
        (absent, WriteOp::put(key, record.to_value(), None))
    }
}
