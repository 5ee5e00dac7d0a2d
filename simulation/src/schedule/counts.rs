//! How often something happened.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    Kill,
    Stop,
    Pause,
    Cut,
    NewVolume,
    HiddenNode,
    ConsoleRestart,
    EmptiedRegistry,
    RestoredRegistry,
    UnequalWeights,
    HiddenMajority,
    EmptyContainers,
    TwoHalves,
    PauseAtStatement,
    Arbitrator,
    ConsolePause,
    LeaderChange,
    ConsoleClock,
    NodeClock,
    SlowTransfer,
    BrokenTransfer,
    StatementLost,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::Cut,
        Self::NewVolume,
        Self::HiddenNode,
        Self::ConsoleRestart,
        Self::EmptiedRegistry,
        Self::RestoredRegistry,
        Self::UnequalWeights,
        Self::HiddenMajority,
        Self::EmptyContainers,
        Self::TwoHalves,
        Self::PauseAtStatement,
        Self::Arbitrator,
        Self::ConsolePause,
        Self::LeaderChange,
        Self::ConsoleClock,
        Self::NodeClock,
        Self::SlowTransfer,
        Self::BrokenTransfer,
        Self::StatementLost,
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "killed servers",
            Self::Stop => "stopped servers",
            Self::Pause => "paused servers",
            Self::Cut => "cut connections",
            Self::NewVolume => "new volumes",
            Self::HiddenNode => "nodes hidden from the console",
            Self::ConsoleRestart => "restarts of the console",
            Self::EmptiedRegistry => "emptied registries",
            Self::RestoredRegistry => "registries restored from a backup",
            Self::UnequalWeights => "clusters with unequal weights",
            Self::HiddenMajority => "majorities out of sight",
            Self::EmptyContainers => "empty containers under addresses in use",
            Self::TwoHalves => "splits into halves",
            Self::PauseAtStatement => "pauses at a statement",
            Self::Arbitrator => "clusters with an arbitrator",
            Self::ConsolePause => "paused consoles",
            Self::LeaderChange => "changes of the leader",
            Self::ConsoleClock => "steps of a console's clock",
            Self::NodeClock => "nodes with another clock",
            Self::SlowTransfer => "periods of slow state transfers",
            Self::BrokenTransfer => "broken state transfers",
            Self::StatementLost => "statements or answers lost",
        })
    }
}

/// How often something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleCounts {
    pub acknowledged: u64,
    pub bootstraps: u64,
    pub refused_plans: u64,
    /// How approved actions ended, by state.
    pub endings: BTreeMap<&'static str, u64>,
    /// What led out of states in which something was still to be done when the faults ended.
    pub remedies: BTreeMap<&'static str, u64>,
    /// How many refused plans each check forbade, by its code; several checks may forbid one plan.
    pub refusals: BTreeMap<String, u64>,
    /// Faults that had an effect.
    pub faults: BTreeMap<FaultKind, u64>,
}

impl ScheduleCounts {
    pub(super) fn add(&mut self, kind: FaultKind) {
        *self.faults.entry(kind).or_default() += 1;
    }
}

impl AddAssign for ScheduleCounts {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.bootstraps += other.bootstraps;
        self.refused_plans += other.refused_plans;
        for (state, count) in other.endings {
            *self.endings.entry(state).or_default() += count;
        }
        for (remedy, count) in other.remedies {
            *self.remedies.entry(remedy).or_default() += count;
        }
        for (check, count) in other.refusals {
            *self.refusals.entry(check).or_default() += count;
        }
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for ScheduleCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} acknowledged writes, {} bootstraps, {} refused plans, {} faults:",
            self.acknowledged,
            self.bootstraps,
            self.refused_plans,
            self.faults.values().sum::<u64>()
        )?;
        self.faults
            .iter()
            .try_for_each(|(kind, count)| writeln!(f, "{count:>8} {kind}"))?;
        writeln!(f, "approved actions ended as:")?;
        self.endings
            .iter()
            .try_for_each(|(state, count)| writeln!(f, "{count:>8} {state}"))?;
        writeln!(f, "remedies that were followed at the end:")?;
        self.remedies
            .iter()
            .try_for_each(|(remedy, count)| writeln!(f, "{count:>8} {remedy}"))?;
        writeln!(f, "checks that forbade plans:")?;
        self.refusals
            .iter()
            .try_for_each(|(check, count)| writeln!(f, "{count:>8} {check}"))
    }
}
