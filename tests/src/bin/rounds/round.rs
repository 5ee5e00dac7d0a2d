//! One round: everything well, faults, recovery, repair, judgement.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use acceptance::eventually;
use acceptance::load::WriteLoad;
use acceptance::observer::ClusterObserver;
use anyhow::{Context, Result, ensure};
use galera::recover::action::ActionState;
use galera::recover::plan::Mechanism;
use rand::Rng;
use rand::rngs::StdRng;

use crate::conditions::LabConditions;
use crate::faults::{Disturbance, RoundFault};
use crate::journal::{FailureJournals, RoundJournal};
use crate::kind::{RoundKind, RoundName};
use crate::operators::EndedAction;
use crate::promise::PlanPromise;
use crate::restore::ContainerExits;
use crate::rounds_lab::{NODES, RoundsLab};
use crate::script::RoundScript;

/// Longest wait for the first rows of every writer.
const WRITING: Duration = Duration::from_secs(20);
/// Rows before anything fails.
const ROWS: usize = 30;
/// How long faults take to show: longer than the group's own timeouts.
const SHOWN: Duration = Duration::from_millis(4_500);

/// A round that is being played.
pub(crate) struct Round<'s> {
    pub(crate) lab: &'s RoundsLab,
    pub(crate) observer: ClusterObserver,
    pub(crate) load: WriteLoad,
    pub(crate) journal: RoundJournal,
    pub(crate) conditions: LabConditions,
    pub(crate) random: StdRng,
    pub(crate) disturbances: std::vec::IntoIter<(Disturbance, Disturbance)>,
    pub(crate) promises: Vec<PlanPromise>,
    pub(crate) recovered: Vec<Mechanism>,
    pub(crate) ended: Vec<EndedAction>,
    /// Since when each agent has reported that its data are ahead.
    pub(crate) ahead: [Option<Instant>; NODES],
    /// When which paused node is resumed.
    pub(crate) resumes: Vec<(Instant, usize)>,
    pub(crate) members_pinned: bool,
    /// Since when each node has been a donor.
    pub(crate) donor_since: [Option<Instant>; NODES],
    pub(crate) exits: [ContainerExits; NODES],
    /// How many requests overrode failed checks.
    pub(crate) overrides: usize,
    pub(crate) data_set_aside: usize,
    /// Whether operators give up what only killed members hold, instead of waiting for them.
    pub(crate) gives_up: bool,
}

/// The outcome of one or more rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoundReport {
    /// How many rounds of each kind.
    kinds: BTreeMap<RoundKind, usize>,
    faults: Vec<String>,
    rows: usize,
    given_up: usize,
    statements: usize,
    orders: usize,
    superseded: usize,
    other_outcomes: usize,
    overrides: usize,
    data_set_aside: usize,
    took: Duration,
}

impl<'s> Round<'s> {
    /// Plays one round.
    ///
    /// # Errors
    /// If a guarantee does not hold; the message has the journal and all status changes.
    pub(crate) async fn play(
        lab: &'s RoundsLab,
        name: RoundName,
        verbose: bool,
        journals: &FailureJournals,
    ) -> Result<RoundReport> {
        let script = RoundScript::draw(name, lab.nodes.network().is_some());
        let faults: Vec<String> = script.faults.iter().map(|(_, f)| f.to_string()).collect();
        let began = Instant::now();
        let mut round = Self::begin(lab, script.random, script.disturbances).await?;
        let outcome = round.run(&script.faults).await;
        if verbose || outcome.is_err() {
            let journal = round.journal.render(&round.observer.status_changes());
            println!("---- round {name}, {}\n{journal}----", faults.join(", "));
            if let Err(error) = &outcome {
                let file = journals.keep(name, &format!("{error:#}\n{journal}"), lab)?;
                println!("Kept in {}", file.display());
            }
        }
        let rows = outcome?;
        let count = |mechanism| round.recovered.iter().filter(|m| **m == mechanism).count();
        let ended = |state| {
            round
                .ended
                .iter()
                .filter(|ended| ended.state == state)
                .count()
        };
        Ok(RoundReport {
            kinds: BTreeMap::from([(name.kind, 1)]),
            faults,
            rows: rows.acknowledged,
            given_up: rows.given_up,
            statements: count(Mechanism::Statement),
            orders: count(Mechanism::Order),
            superseded: ended(ActionState::Superseded),
            other_outcomes: round.ended.len()
                - ended(ActionState::Superseded)
                - ended(ActionState::Succeeded),
            overrides: round.overrides,
            data_set_aside: round.data_set_aside,
            took: began.elapsed(),
        })
    }

    async fn begin(
        lab: &'s RoundsLab,
        mut random: StdRng,
        disturbances: Vec<(Disturbance, Disturbance)>,
    ) -> Result<Self> {
        Ok(Self {
            observer: ClusterObserver::start(lab.observed_nodes())?,
            load: WriteLoad::start(NODES as u64, &lab.target_selector())?,
            journal: RoundJournal::new(),
            conditions: LabConditions::default(),
            gives_up: random.random_bool(0.25),
            random,
            disturbances: disturbances.into_iter(),
            promises: Vec::new(),
            recovered: Vec::new(),
            ended: Vec::new(),
            ahead: [None; NODES],
            resumes: Vec::new(),
            members_pinned: false,
            donor_since: [None; NODES],
            exits: [ContainerExits::default(); NODES],
            overrides: 0,
            data_set_aside: 0,
            lab,
        })
    }

    async fn run(&mut self, faults: &[(Duration, RoundFault)]) -> Result<RowCounts> {
        eventually("everything to be well at first", WRITING, async || {
            self.observer.ensure_all_synced(NODES)?;
            let rows = self.load.acknowledged();
            ensure!(rows >= ROWS, "{rows} rows are written");
            Ok(())
        })
        .await?;
        for (pause, fault) in faults {
            tokio::time::sleep(*pause).await;
            self.inflict(fault).await?;
        }
        tokio::time::sleep(SHOWN).await;
        self.recover_cluster()
            .await
            .context("while people recover it")?;
        self.restore().await?;
        self.judge().await
    }
}

/// The outcome for the rows.
pub(crate) struct RowCounts {
    /// Rows whose commit was acknowledged to a client.
    pub(crate) acknowledged: usize,
    /// Acknowledged rows that are gone, as the approved plan announced.
    pub(crate) given_up: usize,
}

impl RoundReport {
    /// All reports in one.
    pub(crate) fn total(reports: &[Self]) -> Self {
        let mut total = Self::default();
        for report in reports {
            for (kind, rounds) in &report.kinds {
                *total.kinds.entry(*kind).or_default() += rounds;
            }
            total.rows += report.rows;
            total.given_up += report.given_up;
            total.statements += report.statements;
            total.orders += report.orders;
            total.superseded += report.superseded;
            total.other_outcomes += report.other_outcomes;
            total.overrides += report.overrides;
            total.data_set_aside += report.data_set_aside;
            total.took += report.took;
        }
        total
    }
}

impl fmt::Display for RoundReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.faults.is_empty() {
            let kinds = self.kinds.iter();
            let kinds: Vec<String> = kinds
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            write!(f, "{}; ", kinds.join(", "))?;
        } else {
            write!(f, "{} → ", self.faults.join(", "))?;
        }
        write!(
            f,
            "{} recovered by statement, {} by order, {} superseded, {} failed or unverified, {} overridden; {} rows acknowledged, \
             {} given up by plan; {} data directories set aside; {:.0} s",
            self.statements,
            self.orders,
            self.superseded,
            self.other_outcomes,
            self.overrides,
            self.rows,
            self.given_up,
            self.data_set_aside,
            self.took.as_secs_f64()
        )
    }
}
