//! Taking a clean-up back: keys that are still absent are created as they were; what somebody wrote meanwhile stays.

use std::collections::BTreeMap;

use console_core::clock::now;
use galera::publish::api::CleanupUndo;
use galera::recover::action::{Action, Actor, StepState};
use galera::recover::plan::PlanStep;
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};

use super::ActionError;
use super::audit_records::action_record;
use super::cache::PublishedAction;
use super::service::{ActionContext, ActionService, validate_id};
use super::store::encode;

impl ActionService {
    /// Puts back what a clean-up removed. Who may do that was checked before.
    ///
    /// # Errors
    /// [`ActionError`]; keys that were put back before an error stay, and doing it again puts back the rest.
    pub async fn undo(
        &self,
        by: &Actor,
        id: &str,
        reason: Option<&str>,
    ) -> Result<PublishedAction, ActionError> {
        self.check_rate(by)?;
        let id = validate_id(id)?;
        let inner = &self.context;
        let stored = inner.store.get(id).await?;
        let stored = stored.ok_or_else(|| ActionError::UnknownAction(id.to_owned()))?;
        let action = &stored.action;
        if action.plan.undo.is_empty() || !action.state.is_final() || !action.may_have_acted() {
            return Err(ActionError::NotUndoable(
                "only a clean-up that has ended and removed something can be taken back",
            ));
        }
        if inner.read_undone(id).await?.is_some() {
            return Err(ActionError::NotUndoable(
                "this clean-up was taken back already",
            ));
        }
        let (mut restored, mut kept) = (Vec::new(), Vec::new());
        for (key, value) in removed_keys(action) {
            let transaction = Transaction::new()
                .when(Precondition::Absent(key.clone().into_bytes()))
                .then([WriteOp::put(key.clone(), value, None)]);
            match inner.registry.transact(&transaction).await? {
                TransactionOutcome::Committed { .. } => restored.push(key),
                TransactionOutcome::Refused { .. } => kept.push(key),
            }
        }
        let undone = CleanupUndo {
            by: by.name.clone(),
            at: now(),
            reason: reason
                .map(str::to_owned)
                .filter(|text| !text.trim().is_empty()),
            restored,
            kept,
        };
        let revision = inner.write_undone(action, by, &undone).await?;
        inner.cache.insert_ahead_of_watch(&stored);
        inner.cache.set_undone(id, undone, revision);
        self.get(id).await
    }
}

/// The keys that were removed, with what they held.
fn removed_keys(action: &Action) -> Vec<(String, String)> {
    let done = action
        .plan
        .steps
        .iter()
        .zip(&action.steps)
        .filter(|(_, record)| record.state == StepState::Done)
        .filter_map(|(step, _)| match step {
            PlanStep::Key { key, .. } => Some(key),
            PlanStep::Statement { .. } => None,
        });
    let values: BTreeMap<&String, &String> = action
        .plan
        .undo
        .iter()
        .filter_map(|step| match step {
            PlanStep::Key {
                key,
                value: Some(value),
                ..
            } => Some((key, value)),
            _ => None,
        })
        .collect();
    done.filter_map(|key| Some((key.clone(), (*values.get(key)?).clone())))
        .collect()
}

impl ActionContext {
    /// How an action was taken back, if it was.
    pub(super) async fn read_undone(&self, id: &str) -> Result<Option<CleanupUndo>, ActionError> {
        let entry = self.registry.get(self.keys.undone(id)).await?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    async fn write_undone(
        &self,
        action: &Action,
        by: &Actor,
        undone: &CleanupUndo,
    ) -> Result<i64, ActionError> {
        let key = self.keys.undone(&action.id);
        let transaction = Transaction::new()
            .when(Precondition::Absent(key.clone().into_bytes()))
            .then([WriteOp::put(key, encode(undone)?, None)]);
        let detail = BTreeMap::from([
            ("restored".to_owned(), undone.restored.join(" ")),
            ("kept".to_owned(), undone.kept.join(" ")),
            (
                "reason".to_owned(),
                undone.reason.clone().unwrap_or_default(),
            ),
        ]);
        let record = action_record(action, &by.name, "cleanup_undone", detail, undone.at);
        match self.trail.commit(&transaction, &[record]).await? {
            TransactionOutcome::Committed { revision } => Ok(revision),
            TransactionOutcome::Refused { .. } => Err(ActionError::NotUndoable(
                "this clean-up was taken back already",
            )),
        }
    }
}
