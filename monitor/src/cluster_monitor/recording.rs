//! What a monitor sends to be recorded in etcd: the members of the Primary component, confirmed nodes and positions.

use std::collections::BTreeSet;
use std::time::Duration;

use galera::NodeId;
use galera::judge::cluster::{changed_members, only_primary};
use galera::judge::confirmation;
use galera::judge::known_positions::KnownPositions;
use galera::view::ClusterView;
use tokio::time::Instant;

use super::ClusterMonitor;
use crate::converge::TamperedRecords;
use crate::expected_members::MembershipUpdate;
use crate::known_positions::{self, KnownPositionsUpdate};

/// Time after which unconfirmed expected members are sent again.
pub(super) const MEMBERS_RETRY: Duration = Duration::from_secs(5);

/// What this replica sent to be recorded.
pub(super) struct PendingMembership {
    /// `None` if only confirmed nodes were added.
    pub(super) members: Option<BTreeSet<NodeId>>,
    pub(super) sent_at: Instant,
}

impl ClusterMonitor {
    /// Records the members of the Primary component, to be expected when there is none, and confirmed nodes. `confirmed`:
    /// whether there are new ones.
    pub(super) fn update_membership(&mut self, view: &ClusterView, confirmed: bool) {
        let first_view = self.confirm_first_view(view);
        let before = self.view.as_ref().map(|published| &published.value);
        let members = changed_members(view, before, &self.evidence.last_primary_members);
        if members.is_some() || confirmed || first_view {
            if let Some(members) = &members {
                self.evidence.last_primary_members.clone_from(members);
            }
            let before = self.pending_membership.take();
            self.pending_membership = Some(PendingMembership {
                members: members.or_else(|| before?.members),
                sent_at: Instant::now(),
            });
            self.send_membership();
        } else if self
            .pending_membership
            .as_ref()
            .is_some_and(|pending| pending.sent_at.elapsed() >= MEMBERS_RETRY)
        {
            self.send_membership();
        }
    }

    /// Confirms the members of the first Primary component, and what is durably registered by then. Returns whether it
    /// did.
    fn confirm_first_view(&mut self, view: &ClusterView) -> bool {
        if !self.evidence.first_view || !self.registry_read {
            return false;
        }
        let Some(primary) = only_primary(view) else {
            return false;
        };
        let confirmed = confirmation::first_view(view, &primary.members);
        self.evidence.first_view = false;
        self.confirm(&confirmed);
        true
    }

    /// Writes the positions periodically, immediately when the verdict changes, since recovery may need them soon, and soon after
    /// other data used the address of a member: nothing shows that again once they are gone.
    pub(super) fn persist_positions(&mut self, view: &ClusterView) {
        let before = self.published_state();
        let changed = before.is_some_and(|before| before != view.verdict.state);
        let due = match &self.written_positions {
            Some((written, at)) => {
                let uses_changed = written.address_uses != self.known_positions.address_uses
                    && at.elapsed() >= known_positions::USE_WRITE_INTERVAL;
                (changed || uses_changed || at.elapsed() >= known_positions::WRITE_INTERVAL)
                    && *written != self.known_positions
            }
            None => self.known_positions != KnownPositions::default(),
        };
        if due {
            let update = KnownPositionsUpdate {
                cluster: self.evidence.name.clone(),
                positions: self.known_positions.clone(),
                tampered: replaceable(self.positions_read),
            };
            // If the queue is full, retried after the next change.
            if self.context.known_positions.try_send(update).is_ok() {
                self.written_positions = Some((self.known_positions.clone(), Instant::now()));
            }
        }
    }

    pub(super) fn send_membership(&mut self) {
        if let Some(pending) = &mut self.pending_membership {
            pending.sent_at = Instant::now();
            let update = MembershipUpdate {
                cluster: self.evidence.name.clone(),
                members: pending.members.clone(),
                confirmed: self.evidence.confirmed.clone(),
                tampered: replaceable(self.membership_read),
            };
            // If the queue is full, retried later.
            let _ = self.context.expected_members.try_send(update);
        }
    }
}

/// Whether a record that was changed outside the console may be replaced: not before the genuine one was `read`.
const fn replaceable(read: bool) -> TamperedRecords {
    if read {
        TamperedRecords::Replace
    } else {
        TamperedRecords::Keep
    }
}
