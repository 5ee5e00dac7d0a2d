//! Transfers in words.

use crate::observe::registration::{TransferKind, TransferRole};
use crate::view::{TransferState, TransferView};

const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

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

/// In the largest unit of powers of 1000 that leaves at least 1, with a decimal below 10.
pub(crate) fn bytes(count: u64) -> String {
    let mut unit = 0;
    let mut scale: u64 = 1;
    while count / scale >= 1_000 && unit + 1 < UNITS.len() {
        unit += 1;
        scale *= 1_000;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    let tenths = u128::from(count) * 10 / u128::from(scale);
    match unit > 0 && tenths < 100 {
        true => format!("{}.{} {name}", tenths / 10, tenths % 10),
        false => format!("{} {name}", tenths / 10),
    }
}

/// About how long, from seconds.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h", (seconds + 1_800) / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_unit_in_which_people_read_them() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (3_249_000_000, "3.2 GB"),
            (40_000_000_000, "40 GB"),
            (u64::MAX, "18446 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(part_of(3_200_000_000, 40_000_000_000), "3.2 of about 40 GB");
        assert_eq!(
            part_of(900_000_000, 40_000_000_000),
            "900 MB of about 40 GB"
        );
        for (seconds, text) in [(99, "99 s"), (360, "6 min"), (7_200, "2 h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
