//! Bootstraps whose result was not seen (I43).
//!
//! The arithmetic of quorum rests on the last Primary view that was seen. A bootstrap makes another one. While no member of
//! it has been seen Primary since, its component may be serving out of sight, and other members may have joined it.

use crate::id::NodeId;
use crate::judge::known_positions::KnownPositions;
use crate::observe::started_bootstrap::StartedBootstrap;

/// Those of `started` that may have made a Primary component which was not seen. One that was seen ends all earlier ones.
#[must_use]
pub fn unseen_bootstraps(
    started: impl IntoIterator<Item = StartedBootstrap>,
    known: &KnownPositions,
) -> Vec<StartedBootstrap> {
    let (seen, unseen): (Vec<_>, Vec<_>) =
        started.into_iter().partition(|one| was_seen(one, known));
    let last_seen = seen.iter().filter_map(|one| one.at).max();
    let unseen = unseen.into_iter().filter(|one| {
        let superseded = one.at.zip(last_seen).is_some_and(|(at, last)| at < last);
        !superseded && !is_of_former_history(one, known)
    });
    unseen.collect()
}

/// Whether a member was seen Primary in the view that it made, or in a later one.
fn was_seen(started: &StartedBootstrap, known: &KnownPositions) -> bool {
    let seen = |id: &NodeId| {
        known.primary.get(id).is_some_and(|last| {
            last.position.uuid == started.history
                && last.position.seqno > started.seqno
                && started.at.is_none_or(|at| last.at >= at)
        })
    };
    started.members.iter().any(seen)
}

/// Whether another history was seen Primary later: the cluster was founded again.
fn is_of_former_history(started: &StartedBootstrap, known: &KnownPositions) -> bool {
    let newest = known.primary.values().max_by_key(|last| last.at);
    newest.is_some_and(|last| {
        last.position.uuid != started.history && started.at.is_some_and(|at| last.at > at)
    })
}
