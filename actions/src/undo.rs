//! Undoing a clean-up: keys that are still absent are restored; keys written since then are kept.

use std::collections::BTreeMap;

use console_core::clock::now;
use galera::observe::registration::RegistryKeys;
use galera::publish::api::CleanupUndo;
use galera::record::audit::AuditEvent;
use galera::recover::action::{Action, Actor, StepState};
use galera::recover::allow_list::permitted_restore;
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};

use super::ActionError;
use super::audit_records::action_record;
use super::cache::PublishedAction;
use super::context::ActionContext;
use super::service::{ActionService, parse_id};
use super::store::encode;

impl ActionService {
    /// Restores the keys that a clean-up removed. The caller has checked the permission.
    ///
    /// # Errors
    /// [`ActionError`]; keys restored before an error stay, and a retry restores the rest.
    pub async fn undo(
        &self,
        by: &Actor,
        id: &str,
        reason: Option<&str>,
    ) -> Result<PublishedAction, ActionError> {
        self.check_rate(by)?;
        let id = parse_id(id)?;
        let context = &self.context;
        let stored = context.store.get(&id).await?;
        let stored = stored.ok_or_else(|| ActionError::UnknownAction(id.to_string()))?;
        let action = &stored.action;
        if action.plan.undo.is_empty() || !action.state.is_final() || !action.may_have_acted() {
            return Err(ActionError::NotUndoable(
                "only a finished clean-up that removed keys can be undone",
            ));
        }
        if context.read_undone(&id).await?.is_some() {
            return Err(ActionError::NotUndoable(
                "this clean-up has already been undone",
            ));
        }
        let (mut restored, mut kept) = (Vec::new(), Vec::new());
        for (key, value) in context.removed_keys(action)? {
            let transaction = Transaction::new()
                .when(Precondition::Absent(key.clone().into_bytes()))
                .then([WriteOp::put(key.clone(), value, None)]);
            match context.registry.transact(&transaction).await? {
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
        let revision = context.write_undone(action, by, &undone).await?;
        context.cache.insert_ahead_of_watch(&stored);
        context.cache.set_undone(&id, undone, revision);
        self.get_by_id(&id).await
    }
}

impl ActionContext {
    /// The removed keys and their former values.
    fn removed_keys(&self, action: &Action) -> Result<Vec<(String, String)>, ActionError> {
        if action.plan.digest != action.plan.computed_digest() {
            return Err(ActionError::NotUndoable(
                "the record was altered outside the console",
            ));
        }
        let keys = RegistryKeys::new(&self.settings.registry_prefix);
        let port = self.settings.plan.fold.default_port;
        let mut removed = Vec::new();
        for (index, record) in action.steps.iter().enumerate() {
            if record.state != StepState::Done {
                continue;
            }
            match permitted_restore(&action.plan, index, &action.id, &keys, port) {
                Ok((key, value)) => removed.push((key, value.to_owned())),
                Err(error) => {
                    tracing::warn!(action.id = action.id.as_str(), %error, "Step {index} of {} is not undone: {error}", action.id);
                    return Err(ActionError::NotUndoable(
                        "the record contains a removal that no clean-up makes",
                    ));
                }
            }
        }
        Ok(removed)
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
        let record = action_record(
            action,
            &by.name,
            AuditEvent::CLEANUP_UNDONE,
            detail,
            undone.at,
        );
        match self.trail.commit(&transaction, &[record]).await? {
            TransactionOutcome::Committed { revision } => Ok(revision),
            TransactionOutcome::Refused { .. } => Err(ActionError::NotUndoable(
                "this clean-up has already been undone",
            )),
        }
    }
}
