//! What an approved action waits for, in words: on its page, in the API and in the log.

use std::time::Duration;

use console_core::audit::AuditError;
use console_core::clock::now;
use galera::ActionId;
use galera::publish::api::ActionWait;
use galera::recover::plan::Plan;

use super::ActionError;
use super::context::ActionContext;

/// What a transient `error` means for the action; `None` for a refusal, which is no wait. The error itself is only
/// logged.
fn wait_for(error: &ActionError, lock_ttl: Duration) -> Option<ActionWait> {
    let (code, message) = match error {
        ActionError::Busy(replica) => (
            "locked",
            format!(
                "Replica {replica} of the console holds the lock of the cluster. The action starts when the lock is \
                 released; if that replica died, within {} s.",
                lock_ttl.as_secs()
            ),
        ),
        ActionError::Audit(AuditError::Registry(error)) if error.alarm().is_some() => (
            "etcd_unavailable",
            "etcd has an alarm and refuses writes, so nothing can be locked or recorded. The action starts when the alarm is \
             disarmed (docs/etcd.md#space)."
                .to_owned(),
        ),
        ActionError::Audit(_) | ActionError::RegistryUnreadable(_) => (
            "etcd_unavailable",
            "etcd cannot be read or written, so nothing can be locked or recorded. The action starts when etcd is available \
             again."
                .to_owned(),
        ),
        ActionError::NotWatchedLongEnough => (
            "short_observation",
            "This replica of the console has just started, and observes the nodes first until it can confirm that they are \
             unchanged since the approval."
                .to_owned(),
        ),
        ActionError::OtherSettings(missing) => (
            "other_settings",
            format!(
                "This replica of the console cannot carry it out with its settings; another one begins, if its settings permit it. \
                 Give all replicas the same settings. {missing}"
            ),
        ),
        ActionError::UnknownCluster => (
            "unknown_cluster",
            "This replica of the console has just started and has not found the cluster yet. If that lasts, check that it \
             uses the same --cluster settings and etcd as the others."
                .to_owned(),
        ),
        ActionError::Contended => (
            "contended",
            "The action is being changed by another replica or user.".to_owned(),
        ),
        ActionError::Refused(_)
        | ActionError::UnknownAction(_)
        | ActionError::AlreadyOpen(_)
        | ActionError::RateLimited(_)
        | ActionError::NotUndoable(_) => return None,
    };
    Some(ActionWait {
        code: code.to_owned(),
        message,
        since: now(),
    })
}

impl ActionContext {
    /// Shows why `id` was refused: the console does not retry it.
    pub(super) fn show_refusal(&self, id: &ActionId, refusal: &impl std::fmt::Display) {
        let wait = ActionWait {
            code: "refused".to_owned(),
            message: format!(
                "The action was not started: {refusal}. Execute it once the cause is gone; otherwise it expires."
            ),
            since: now(),
        };
        self.cache.set_waiting(id, wait);
    }

    /// Shows that the execution of `id` in this replica panicked.
    pub(super) fn show_panic(&self, id: &ActionId) {
        let wait = ActionWait {
            code: "internal_error".to_owned(),
            message: format!(
                "The execution failed with an internal error, which is in the log of replica {}. It is retried from what is \
                 recorded; nothing is executed twice.",
                self.settings.replica
            ),
            since: now(),
        };
        self.cache.set_waiting(id, wait);
    }

    /// Shows that `id` waits because of `error`, and logs it unless it already waited for the same.
    pub(super) fn show_wait(&self, id: &ActionId, error: &ActionError) {
        let Some(wait) = wait_for(error, self.settings.lock_ttl) else {
            return;
        };
        let code = wait.code.clone();
        if self.cache.set_waiting(id, wait) {
            tracing::warn!(action.id = id.as_str(), wait = code, %error, "Action {id} waits and is retried: {error}");
        }
    }

    /// Shows that `id` waits for a node that is in a short-lived state, as `plan` found.
    pub(super) fn show_node_wait(&self, id: &ActionId, plan: &Plan) {
        let check = plan.failing().find(|check| check.transient.is_some());
        let Some(message) = check.map(|check| check.message.clone()) else {
            return;
        };
        let wait = ActionWait {
            code: "node_not_ready".to_owned(),
            message: message.clone(),
            since: now(),
        };
        if self.cache.set_waiting(id, wait) {
            tracing::info!(
                action.id = id.as_str(),
                "Action {id} waits for a node: {message}"
            );
        }
    }
}
