//! Names the token of a request in every entry that the request causes, whichever service writes it.

use std::sync::Arc;

use galera::record::audit::{AuditRecord, actor_via_token};

/// The account and the token that a request was sent with.
#[derive(Clone, Debug)]
pub struct TokenActor {
    pub account: Arc<str>,
    /// The name of the token.
    pub token: Arc<str>,
}

tokio::task_local! {
    static TOKEN_ACTOR: TokenActor;
}

/// Runs `work`, in whose audit entries the actions of the account name the token.
pub async fn acting_via<T>(actor: TokenActor, work: impl Future<Output = T>) -> T {
    TOKEN_ACTOR.scope(actor, work).await
}

/// The record, with the token of the request if its actor is the account of that token.
pub(super) fn name_token(mut record: AuditRecord) -> AuditRecord {
    let actor = TOKEN_ACTOR.try_with(|actor| {
        let is_account = record.actor == *actor.account;
        is_account.then(|| actor_via_token(&actor.account, &actor.token))
    });
    if let Ok(Some(actor)) = actor {
        record.actor = actor;
    }
    record
}

#[cfg(test)]
mod tests {
    use galera::Timestamp;
    use galera::record::audit::AuditEvent;

    use super::*;

    fn record(actor: &str) -> AuditRecord {
        AuditRecord {
            at: Timestamp::from_unix_millis(0),
            actor: actor.to_owned(),
            event: AuditEvent::ACTION_REQUESTED,
            cluster: None,
            subject: None,
            detail: std::collections::BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn only_entries_of_the_account_name_its_token() {
        let actor = TokenActor {
            account: "otto".into(),
            token: "deploy".into(),
        };
        let named = acting_via(actor, async {
            ["otto", "console", "otto2"].map(|name| name_token(record(name)))
        });
        let [own, console, other] = named.await;
        assert_eq!(own.actor, "otto via token deploy");
        assert_eq!(own.actor_account(), "otto");
        assert_eq!((&*console.actor, &*other.actor), ("console", "otto2"));
        assert_eq!(name_token(record("otto")).actor, "otto");
    }
}
