//! Bytes and durations in words.

const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

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
        for (seconds, text) in [(99, "99 s"), (360, "6 min"), (7_200, "2 h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
