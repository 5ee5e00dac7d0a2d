//! One round: everything well, faults, recovery, repair, judgement.

use std::fmt;
use std::time::{Duration, Instant};

use acceptance::eventually;
use acceptance::load::WriteLoad;
use acceptance::observer::ClusterObserver;
use anyhow::{Context, Result, ensure};
use galera::recover::action::ActionState;
use galera::recover::plan::Mechanism;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::faults::{Disturbance, Fault, LabConditions, RoundScript};
use crate::journal::RoundJournal;
use crate::operator::EndedAction;
use crate::promise::PlanPromise;
use crate::restore::{AHEAD_MESSAGE, AheadTracker};
use crate::rounds_lab::{NODES, RoundsLab};

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
    /// Tracks each agent's messages that its data is ahead.
    pub(crate) ahead: [AheadTracker; NODES],
    pub(crate) data_set_aside: usize,
    /// Whether operators give up what only killed members hold, instead of waiting for them.
    pub(crate) gives_up: bool,
}

/// The outcome of one or more rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoundReport {
    rounds: usize,
    faults: Vec<String>,
    rows: usize,
    given_up: usize,
    statements: usize,
    orders: usize,
    superseded: usize,
    other_outcomes: usize,
    data_set_aside: usize,
    took: Duration,
}

impl<'s> Round<'s> {
    /// Plays one round.
    ///
    /// # Errors
    /// If a guarantee does not hold; the message has the journal and all status changes.
    pub(crate) async fn play(lab: &'s RoundsLab, seed: u64, verbose: bool) -> Result<RoundReport> {
        let script = RoundScript::draw(StdRng::seed_from_u64(seed), lab.nodes.network().is_some());
        let faults: Vec<String> = script.faults.iter().map(|(_, f)| f.to_string()).collect();
        let began = Instant::now();
        let mut round = Self::begin(lab, script.random, script.disturbances).await?;
        let outcome = round.run(&script.faults).await;
        if verbose || outcome.is_err() {
            let journal_text = round.journal.render(&round.observer.status_changes());
            println!(
                "---- seed {seed}, {}\n{journal_text}----",
                faults.join(", ")
            );
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
            rounds: 1,
            faults,
            rows: rows.acknowledged,
            given_up: rows.given_up,
            statements: count(Mechanism::Statement),
            orders: count(Mechanism::Order),
            superseded: ended(ActionState::Superseded),
            other_outcomes: round.ended.len()
                - ended(ActionState::Superseded)
                - ended(ActionState::Succeeded),
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
            ahead: std::array::from_fn(|node| {
                AheadTracker::after(lab.node(node).count_log_lines(AHEAD_MESSAGE))
            }),
            data_set_aside: 0,
            lab,
        })
    }

    async fn run(&mut self, faults: &[(Duration, Fault)]) -> Result<RowCounts> {
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

    /// Makes something fail.
    ///
    /// # Errors
    /// If the machine refuses.
    pub(crate) async fn inflict(&mut self, fault: &Fault) -> Result<()> {
        self.journal.note(fault.to_string());
        self.conditions.apply(self.lab, fault).await
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
            total.rounds += report.rounds;
            total.rows += report.rows;
            total.given_up += report.given_up;
            total.statements += report.statements;
            total.orders += report.orders;
            total.superseded += report.superseded;
            total.other_outcomes += report.other_outcomes;
            total.data_set_aside += report.data_set_aside;
            total.took += report.took;
        }
        total
    }
}

impl fmt::Display for RoundReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.faults.is_empty() {
            write!(f, "{} → ", self.faults.join(", "))?;
        }
        write!(
            f,
            "{} recovered by statement, {} by order, {} superseded, {} failed or unverified; {} rows acknowledged, \
             {} given up by plan; {} data directories set aside; {:.0} s",
            self.statements,
            self.orders,
            self.superseded,
            self.other_outcomes,
            self.rows,
            self.given_up,
            self.data_set_aside,
            self.took.as_secs_f64()
        )
    }
}
