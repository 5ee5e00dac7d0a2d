//! Transfers in words.

use crate::amounts::{bytes, duration};
use crate::view::{TransferKind, TransferRole, TransferState, TransferView};

/// `transfer` in a sentence. `peer`: what the other node is called. `behind`: how far the node is behind the others.
pub(super) fn summary(
    transfer: &TransferView,
    peer: Option<&String>,
    behind: Option<u64>,
) -> String {
    let kind = match transfer.kind {
        TransferKind::Sst => "SST",
        TransferKind::Ist => "IST",
    };
    let direction = match transfer.role {
        Some(TransferRole::Sends) => " to ",
        _ => " from ",
    };
    let head = match peer {
        Some(peer) => format!("{kind}{direction}{peer}"),
        None => kind.to_owned(),
    };
    let done = transfer.done.unwrap_or_default();
    match transfer.state {
        TransferState::Applying => {
            return format!("{head}: {} received, not applied yet", bytes(done));
        }
        TransferState::Failed => {
            return format!(
                "{head} failed or is no longer reported, after {}: the joiner is not a member; see the error logs of both servers",
                bytes(done)
            );
        }
        TransferState::Running => {}
    }
    let amount = match (transfer.kind, transfer.total) {
        (TransferKind::Sst, Some(total)) => part_of(done, total),
        (TransferKind::Sst, None) => bytes(done),
        (TransferKind::Ist, Some(total)) => format!("{done} of {total} transactions"),
        (TransferKind::Ist, None) => {
            format!("{} transactions behind", behind.unwrap_or_default())
        }
    };
    let rate = transfer.rate.map(|rate| match (transfer.kind, rate) {
        (TransferKind::Sst, 0) => "no data at present".to_owned(),
        (TransferKind::Sst, rate) => format!("{}/s", bytes(rate)),
        (TransferKind::Ist, rate) => format!("{rate} per second"),
    });
    let left = transfer
        .seconds_left
        .map(|left| format!("about {} left", duration(left)));
    let parts: Vec<String> = [Some(amount), rate, left].into_iter().flatten().collect();
    format!("{head}: {}", parts.join(", "))
}

/// `3.2 of about 40 GB`, with one unit where both have the same.
fn part_of(done: u64, total: u64) -> String {
    let (done, total) = (bytes(done), bytes(total));
    match (done.rsplit_once(' '), total.rsplit_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => {
            format!("{number} of about {total}")
        }
        _ => format!("{done} of about {total}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_is_named_once() {
        assert_eq!(part_of(3_200_000_000, 40_000_000_000), "3.2 of about 40 GB");
        assert_eq!(
            part_of(900_000_000, 40_000_000_000),
            "900 MB of about 40 GB"
        );
    }
}
