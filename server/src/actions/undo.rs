//! Taking a clean-up back: keys that are still absent are created as they were; what somebody wrote meanwhile stays.

use std::collections::BTreeMap;

use console_core::clock::now;
use galera::publish::api::Undone;
use galera::recover::action::{Action, Actor, StepState};
use galera::recover::plan::Step;
use registry::{Guard, Outcome, Transaction, Write};

use super::ActionError;
use super::board::Shown;
use super::desk::{Actions, Inner, known_id};
use super::records::about;
use super::store::encode;

impl Actions {
    /// Puts back what a clean-up removed. Who may do that was checked before.
    ///
    /// # Errors
    /// [`ActionError`]; keys that were put back before an error stay, and doing it again puts back the rest.
    pub async fn undo(
        &self,
        by: &Actor,
        id: &str,
        reason: Option<&str>,
    ) -> Result<Shown, ActionError> {
        self.count(by)?;
        let id = known_id(id)?;
        let inner = &self.inner;
        let stored = inner.store.get(id).await?;
        let stored = stored.ok_or_else(|| ActionError::Unknown(id.to_owned()))?;
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
        for (key, value) in removed(action) {
            let transaction = Transaction::new()
                .when(Guard::Absent(key.clone().into_bytes()))
                .then([Write::put(key.clone(), value, None)]);
            match inner.registry.transact(&transaction).await? {
                Outcome::Committed { .. } => restored.push(key),
                Outcome::Refused { .. } => kept.push(key),
            }
        }
        let undone = Undone {
            by: by.name.clone(),
            at: now(),
            reason: reason
                .map(str::to_owned)
                .filter(|text| !text.trim().is_empty()),
            restored,
            kept,
        };
        let revision = inner.write_undone(action, by, &undone).await?;
        inner.board.note(&stored);
        inner.board.undone(id, undone, revision);
        self.get(id).await
    }
}

/// The keys that were removed, with what they held.
fn removed(action: &Action) -> Vec<(String, String)> {
    let done = action
        .plan
        .steps
        .iter()
        .zip(&action.steps)
        .filter(|(_, record)| record.state == StepState::Done)
        .filter_map(|(step, _)| match step {
            Step::Key { key, .. } => Some(key),
            Step::Statement { .. } => None,
        });
    let values: BTreeMap<&String, &String> = action
        .plan
        .undo
        .iter()
        .filter_map(|step| match step {
            Step::Key {
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

impl Inner {
    /// How an action was taken back, if it was.
    pub(super) async fn read_undone(&self, id: &str) -> Result<Option<Undone>, ActionError> {
        let entry = self.registry.get(self.keys.undone(id)).await?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    async fn write_undone(
        &self,
        action: &Action,
        by: &Actor,
        undone: &Undone,
    ) -> Result<i64, ActionError> {
        let key = self.keys.undone(&action.id);
        let transaction = Transaction::new()
            .when(Guard::Absent(key.clone().into_bytes()))
            .then([Write::put(key, encode(undone)?, None)]);
        let detail = BTreeMap::from([
            ("restored".to_owned(), undone.restored.join(" ")),
            ("kept".to_owned(), undone.kept.join(" ")),
            (
                "reason".to_owned(),
                undone.reason.clone().unwrap_or_default(),
            ),
        ]);
        let record = about(action, &by.name, "cleanup_undone", detail, undone.at);
        match self.trail.commit(&transaction, &[record]).await? {
            Outcome::Committed { revision } => Ok(revision),
            Outcome::Refused { .. } => Err(ActionError::NotUndoable(
                "this clean-up was taken back already",
            )),
        }
    }
}
