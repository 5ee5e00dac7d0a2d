//! Requests that wait for approval, for the links in their notifications.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use galera::ActionId;
use galera::recover::action::{Action, ActionState};
use notify::{ApprovalLinkSource, RequestToApprove};

use crate::actions::ActionService;
use crate::config::Config;

/// The actions of this console.
struct PendingActions {
    actions: ActionService,
    /// How long a link is accepted at most: as long as a session that is not used.
    lifetime_max: Duration,
}

/// Where links are made from; `None` if they are off.
pub(crate) fn source(
    config: &Config,
    actions: &ActionService,
) -> Option<Arc<dyn ApprovalLinkSource>> {
    let http = &config.http;
    let idle = http.session_idle_timeout.unwrap_or(http.session_lifetime);
    let pending = PendingActions {
        actions: actions.clone(),
        lifetime_max: idle.min(http.session_lifetime),
    };
    config.notify.approval_links.then(|| Arc::new(pending) as _)
}

impl ApprovalLinkSource for PendingActions {
    fn request_to_approve<'a>(
        &'a self,
        action: &'a ActionId,
    ) -> BoxFuture<'a, Option<RequestToApprove>> {
        Box::pin(async move {
            let action = self.actions.get(action.as_str()).await.ok()?;
            request_of(&action.value.action, self.lifetime_max)
        })
    }
}

fn request_of(action: &Action, lifetime_max: Duration) -> Option<RequestToApprove> {
    let expires_at = action
        .expires_at
        .filter(|_| action.state == ActionState::Pending)?;
    Some(RequestToApprove {
        digest: action.plan.digest.clone(),
        expires_at: expires_at.min(action.requested_at.plus(lifetime_max)),
    })
}
