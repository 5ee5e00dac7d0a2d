//! What follows when etcd holds an earlier state than was seen: the older records are ignored, every session ends, and pages,
//! log and audit trail name it, until an operator accepts the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use console_core::audit::AuditTrail;
use console_core::authority::{AuthorityError, RecordAuthority};
use console_core::clock::now;
use console_core::keyspace::{AccountKeys, protected_prefixes};
use galera::record::audit::{AuditEvent, AuditRecord};
use monitor::Monitor;
use registry::{EtcdRestore, TamperCause, TamperedRecords};
use tokio::time::sleep;

use super::reporter::NAMED_MAX;
use super::{RETRY_INTERVAL, SealedState};

const NOTICE_SOURCE: &str = "earlier-state";

/// The signs that etcd holds an earlier state.
#[derive(Debug, Default, PartialEq)]
struct EarlierState {
    restored: Option<EtcdRestore>,
    /// Records that are older than seen, or missing.
    keys: BTreeSet<String>,
    /// The accounts among them.
    accounts: Vec<String>,
}

impl EarlierState {
    fn of(tampered: &TamperedRecords, state_prefix: &str) -> Self {
        let users = AccountKeys::new(state_prefix).users();
        let keys: BTreeSet<String> = tampered
            .records
            .iter()
            .filter(|record| matches!(record.cause, TamperCause::Older | TamperCause::Missing))
            .map(|record| record.key.clone())
            .collect();
        let accounts = keys.iter().filter_map(|key| key.strip_prefix(&users));
        Self {
            restored: tampered.restored,
            accounts: accounts.map(str::to_owned).collect(),
            keys,
        }
    }

    /// What is known about it, in sentences.
    fn describe(&self) -> String {
        let mut text = match &self.restored {
            Some(EtcdRestore { seen, found, at }) => format!(
                "An earlier state of etcd was restored: its revision fell from {seen} to {found}, found at {at}."
            ),
            None => "etcd holds an earlier state than this console has seen.".to_owned(),
        };
        let named = match self.accounts.len() {
            0 => String::new(),
            count => {
                let names: Vec<&str> = self.accounts.iter().map(String::as_str).collect();
                let shown = names[..count.min(NAMED_MAX)].join(", ");
                let more = match count.saturating_sub(NAMED_MAX) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!(", among them the accounts {shown}{more}")
            }
        };
        match self.keys.len() {
            0 => {}
            1 => text.push_str(&format!(
                " 1 record is older than seen or missing, and is ignored{named}."
            )),
            count => text.push_str(&format!(
                " {count} records are older than seen or missing, and are ignored{named}."
            )),
        }
        text
    }
}

impl SealedState {
    /// Compares every record with what was seen before this process was started.
    pub(super) async fn compare_with_seen(
        &self,
        authority: &RecordAuthority,
    ) -> Result<(), AuthorityError> {
        if self.seen.is_none() {
            return Ok(());
        }
        self.judge_every_record(authority).await?;
        self.respond_to_earlier_state(authority, true).await
    }

    async fn judge_every_record(&self, authority: &RecordAuthority) -> Result<(), AuthorityError> {
        for prefix in protected_prefixes(&self.state_prefix) {
            authority.registry.list(prefix).await?;
        }
        Ok(())
    }

    /// Ends every session and records what was found, once for each finding. Records count by themselves only `at_start`: of
    /// a running console they are single replays, which are ignored and reported.
    async fn respond_to_earlier_state(
        &self,
        authority: &RecordAuthority,
        at_start: bool,
    ) -> Result<(), AuthorityError> {
        let registry = &authority.registry;
        let found = EarlierState::of(&registry.tampered(), &self.state_prefix);
        let seen = self.seen.as_ref();
        let reported = seen.map(|seen| seen.reported()).unwrap_or_default();
        let restored = seen.and_then(|seen| seen.reported_restore());
        let is_new_restore = found.restored.is_some() && found.restored != restored;
        let has_new_records = at_start && !found.keys.is_subset(&reported);
        if !is_new_restore && !has_new_records {
            return Ok(());
        }
        let description = found.describe();
        tracing::error!(
            records = found.keys.len(),
            accounts = found.accounts.join(", "),
            "{description} Every session is ended"
        );
        let trail = AuditTrail::new(registry.clone(), &self.state_prefix).with_actor(&self.actor);
        if let Some(anchor) = seen.and_then(|seen| seen.anchor()) {
            trail.remember(anchor);
        }
        accounts::end_sessions_of_earlier_state(registry, &self.state_prefix, &self.actor, now())
            .await?;
        let mut detail = BTreeMap::from([
            ("records".to_owned(), found.keys.len().to_string()),
            ("accounts".to_owned(), found.accounts.join(", ")),
        ]);
        if let Some(restored) = &found.restored {
            detail.insert("revision".to_owned(), restored.found.to_string());
            detail.insert("seen".to_owned(), restored.seen.to_string());
        }
        trail
            .record(AuditRecord {
                at: now(),
                actor: self.actor.clone(),
                event: AuditEvent::EARLIER_STATE_FOUND,
                cluster: None,
                subject: None,
                detail,
            })
            .await?;
        if let Some(seen) = seen {
            seen.set_reported(found.keys, found.restored);
            self.save_seen(&trail).await;
        }
        Ok(())
    }

    /// Shows on every page that etcd holds an earlier state, and responds when its revision falls.
    pub(super) async fn follow_restores(&self, monitor: &Monitor) {
        let (Some(authority), Some(mut changes)) =
            (&self.authority, self.registry.watch_tampered())
        else {
            return;
        };
        let mut handled = self.seen.as_ref().and_then(|seen| seen.reported_restore());
        loop {
            let tampered = Arc::clone(&changes.borrow_and_update());
            let mut retry = false;
            if tampered.restored != handled {
                if tampered.restored.is_some() {
                    let done = async {
                        self.judge_every_record(authority).await?;
                        self.respond_to_earlier_state(authority, false).await
                    };
                    if let Err(error) = done.await {
                        tracing::warn!(%error, "Sessions could not be ended yet: {error}");
                        retry = true;
                    }
                }
                if !retry {
                    handled = tampered.restored;
                }
            }
            self.forget_accepted();
            let notice = self.earlier_state_notice();
            monitor.set_notices(NOTICE_SOURCE, notice.into_iter().collect());
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(RETRY_INTERVAL), if retry => {}
            }
        }
    }

    /// Forgets the reported records that are genuine again: found once more, they count once more.
    fn forget_accepted(&self) {
        let Some(seen) = &self.seen else {
            return;
        };
        let found = EarlierState::of(&self.registry.tampered(), &self.state_prefix);
        let mut reported = seen.reported();
        reported.retain(|key| found.keys.contains(key));
        let restored = seen.reported_restore().filter(|_| found.restored.is_some());
        seen.set_reported(reported, restored);
    }

    /// The notice, while there is a restoration that was not accepted, or a record that was reported at a start is still older.
    fn earlier_state_notice(&self) -> Option<String> {
        let mut found = EarlierState::of(&self.registry.tampered(), &self.state_prefix);
        if found.restored.is_none() {
            let reported = self.seen.as_ref()?.reported();
            found.keys.retain(|key| reported.contains(key));
            if found.keys.is_empty() {
                return None;
            }
        }
        Some(format!(
            "{} Every session was ended. If etcd was restored on purpose, run galera-console state accept; see docs/etcd.md.",
            found.describe()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::TamperedRecord;

    fn older(keys: &[&str]) -> TamperedRecords {
        let record = |key: &&str| TamperedRecord {
            key: (*key).to_owned(),
            cause: TamperCause::Older,
            reason: String::new(),
            since: now(),
        };
        TamperedRecords {
            records: keys.iter().map(record).collect(),
            ..TamperedRecords::default()
        }
    }

    #[test]
    fn the_notice_names_accounts_and_counts_records() {
        let found = EarlierState::of(&older(&["/s/switches/global", "/s/users/anna"]), "/s");
        assert_eq!(
            found.describe(),
            "etcd holds an earlier state than this console has seen. 2 records are older than seen or missing, and are ignored, among them the accounts anna."
        );
        let many: Vec<String> = (0..7).map(|number| format!("/s/users/u{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut tampered = older(&many);
        tampered.restored = Some(EtcdRestore {
            seen: 120,
            found: 40,
            at: galera::Timestamp::from_unix_millis(0),
        });
        let text = EarlierState::of(&tampered, "/s").describe();
        assert!(text.contains("fell from 120 to 40"), "{text}");
        assert!(
            text.ends_with("the accounts u0, u1, u2, u3, u4 and 2 more."),
            "{text}"
        );
    }

    #[test]
    fn a_forged_record_is_no_sign_of_an_earlier_state() {
        let mut tampered = older(&["/s/users/anna"]);
        tampered.records[0].cause = TamperCause::Forged;
        assert_eq!(EarlierState::of(&tampered, "/s"), EarlierState::default());
    }
}
