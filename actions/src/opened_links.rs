//! Approval links of notifications that approvers opened.

use std::collections::BTreeMap;

use console_core::clock::now;
use galera::ActionId;
use galera::record::audit::{AuditEvent, detail};
use galera::recover::action::{Action, ActionEvent, Actor, step};

use super::ActionError;
use super::audit_records::action_record;
use super::service::ActionService;

impl ActionService {
    /// Records that `by` opened an action by the link that was sent to the notification target `target`.
    ///
    /// # Errors
    /// [`ActionError`], also if the link was used before; the action is unchanged then.
    pub async fn open_link(
        &self,
        by: &Actor,
        id: &ActionId,
        target: &str,
        target_name: &str,
    ) -> Result<(), ActionError> {
        self.check_rate(by)?;
        let open = |action: &Action| {
            let at = now();
            let limits = self.context.limits_of(action.kind, &action.cluster);
            let event = ActionEvent::OpenLink {
                by,
                target,
                target_name,
            };
            let next = step(action, &event, &limits, at)?;
            let details = BTreeMap::from([
                ("digest".to_owned(), action.plan.digest.to_string()),
                ("target".to_owned(), target.to_owned()),
                (
                    detail::NOTIFICATION_TARGET.to_owned(),
                    target_name.to_owned(),
                ),
            ]);
            let opened = AuditEvent::ACTION_LINK_OPENED;
            let record = action_record(&next, &by.name, opened, details, at);
            Ok((next, vec![record]))
        };
        let stored = self.context.store.update(id, open).await?;
        self.context.cache.insert_ahead_of_watch(&stored);
        Ok(())
    }
}
