//! Kinds of rounds: what fails in addition to the faults of every round. A round is named by its kind and its seed.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Distinguishes the random numbers that settle the kind from those of the script.
const KIND_SEED: u64 = 0x6b69_6e64;

/// What a round is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RoundKind {
    /// Killed, paused and isolated nodes, network, etcd and consoles.
    Mixed,
    /// A node is started with empty data, or with an older copy, under the same address.
    Identity,
    /// A member has more than the bootstrap and returns once the cluster has passed it.
    Ahead,
    /// Servers and agents are paused alone, also around the statement.
    Pause,
    /// A session holds a global read lock on a survivor.
    Lock,
    /// All connections of a survivor are in use.
    Connections,
    /// Members have different weights in the quorum.
    Weights,
    /// An arbitrator votes.
    Arbitrator,
    /// etcd is emptied or restored, or the console's state is deleted.
    Memory,
    /// Clocks of nodes and consoles are set.
    Clock,
    /// Donor or joiner is killed in a full state transfer.
    Transfer,
    /// The disk of a joiner is full.
    Disk,
}

impl RoundKind {
    /// Every kind, with how often it is drawn.
    pub(crate) const ALL: [(Self, &'static str, u32); 12] = [
        (Self::Mixed, "mixed", 6),
        (Self::Identity, "identity", 4),
        (Self::Ahead, "ahead", 3),
        (Self::Pause, "pause", 4),
        (Self::Lock, "lock", 3),
        (Self::Connections, "connections", 3),
        (Self::Weights, "weights", 3),
        (Self::Arbitrator, "arbitrator", 3),
        (Self::Memory, "memory", 4),
        (Self::Clock, "clock", 3),
        (Self::Transfer, "transfer", 3),
        (Self::Disk, "disk", 2),
    ];

    fn as_str(self) -> &'static str {
        let named = Self::ALL.iter().find(|(kind, ..)| *kind == self);
        named.map_or("unknown", |(_, name, _)| name)
    }

    /// The kind of a round that is named by its seed alone.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ KIND_SEED);
        let drawn = Self::ALL.choose_weighted(&mut random, |(.., weight)| *weight);
        drawn.map_or(Self::Mixed, |(kind, ..)| *kind)
    }

    /// Whether nodes and consoles need clocks that can be set.
    pub(crate) fn sets_clocks(self) -> bool {
        self == Self::Clock
    }
}

impl fmt::Display for RoundKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RoundKind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.iter().find(|(_, name, _)| *name == text);
        let Some((kind, ..)) = named else {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name, _)| *name).collect();
            bail!("unknown kind {text:?}; the kinds are {}", names.join(", "));
        };
        Ok(*kind)
    }
}

/// A round, as `KIND:SEED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundName {
    pub(crate) kind: RoundKind,
    pub(crate) seed: u64,
}

impl RoundName {
    /// The round of this seed; its kind is one of `kinds`, or any if there are none.
    pub(crate) fn of_seed(seed: u64, kinds: &[RoundKind]) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ KIND_SEED);
        let chosen = kinds.choose(&mut random).copied();
        Self {
            kind: chosen.unwrap_or_else(|| RoundKind::of_seed(seed)),
            seed,
        }
    }
}

impl fmt::Display for RoundName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.seed)
    }
}

impl FromStr for RoundName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seed = |text: &str| {
            text.parse()
                .with_context(|| format!("{text:?} is not a valid seed"))
        };
        match text.split_once(':') {
            Some((kind, number)) => Ok(Self {
                kind: kind.parse()?,
                seed: seed(number)?,
            }),
            None => Ok(Self::of_seed(seed(text)?, &[])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_printed() {
        let name: RoundName = "clock:7".parse().unwrap();
        assert_eq!(
            name,
            RoundName {
                kind: RoundKind::Clock,
                seed: 7
            }
        );
        assert_eq!(name.to_string().parse::<RoundName>().unwrap(), name);
        let drawn: RoundName = "8".parse().unwrap();
        assert_eq!(drawn.to_string().parse::<RoundName>().unwrap(), drawn);
        for wrong in ["", "clock", "clock:", "clock:x", "hour:7", ":7", "-1"] {
            assert!(wrong.parse::<RoundName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_kind_is_drawn_and_can_be_selected() {
        for (kind, ..) in RoundKind::ALL {
            assert!(
                (0..500).any(|seed| RoundKind::of_seed(seed) == kind),
                "{kind}"
            );
            assert_eq!(RoundName::of_seed(3, &[kind]).kind, kind);
        }
    }
}
