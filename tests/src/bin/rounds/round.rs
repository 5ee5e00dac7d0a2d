//! One round: everything well, faults, recovery, repair, judgement.

use std::fmt;
use std::time::{Duration, Instant};

use acceptance::eventually;
use acceptance::load::Load;
use acceptance::observer::Observer;
use anyhow::{Context, Result, ensure};
use galera::recover::action::State;
use galera::recover::plan::Mechanism;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::faults::{Conditions, Fault, Script, Twist};
use crate::journal::Journal;
use crate::operator::Ended;
use crate::promise::Promise;
use crate::restore::{AHEAD, Ahead};
use crate::stage::{NODES, Stage};

/// Longest wait for the first rows of every writer.
const WRITING: Duration = Duration::from_secs(20);
/// Rows before anything fails.
const ROWS: usize = 30;
/// How long faults take to show: longer than the group's own timeouts.
const SHOWN: Duration = Duration::from_millis(4_500);

/// A round that is being played.
pub(crate) struct Round<'s> {
    pub(crate) stage: &'s Stage,
    pub(crate) observer: Observer,
    pub(crate) load: Load,
    pub(crate) journal: Journal,
    pub(crate) conditions: Conditions,
    pub(crate) random: StdRng,
    pub(crate) twists: std::vec::IntoIter<(Twist, Twist)>,
    pub(crate) promises: Vec<Promise>,
    pub(crate) recovered: Vec<Mechanism>,
    pub(crate) ended: Vec<Ended>,
    /// What each node's agent has said of its data being ahead.
    pub(crate) ahead: [Ahead; NODES],
    pub(crate) aside: usize,
    /// Whether people give up what only killed members hold, rather than waiting for them.
    pub(crate) gives_up: bool,
}

/// What came of a round, or of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    rounds: usize,
    faults: Vec<String>,
    rows: usize,
    given_up: usize,
    statements: usize,
    orders: usize,
    superseded: usize,
    otherwise: usize,
    aside: usize,
    took: Duration,
}

impl<'s> Round<'s> {
    /// Plays it.
    ///
    /// # Errors
    /// When anything does not hold that must; tells what every node said when.
    pub(crate) async fn play(stage: &'s Stage, seed: u64, tell: bool) -> Result<Report> {
        let script = Script::draw(StdRng::seed_from_u64(seed), stage.nodes.network().is_some());
        let faults: Vec<String> = script.faults.iter().map(|(_, f)| f.to_string()).collect();
        let began = Instant::now();
        let mut round = Self::begin(stage, script.random, script.twists).await?;
        let outcome = round.run(&script.faults).await;
        if tell || outcome.is_err() {
            let told = round.journal.told(&round.observer.said());
            println!("---- seed {seed}, {}\n{told}----", faults.join(", "));
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
        Ok(Report {
            rounds: 1,
            faults,
            rows: rows.acknowledged,
            given_up: rows.given_up,
            statements: count(Mechanism::Statement),
            orders: count(Mechanism::Order),
            superseded: ended(State::Superseded),
            otherwise: round.ended.len() - ended(State::Superseded) - ended(State::Succeeded),
            aside: round.aside,
            took: began.elapsed(),
        })
    }

    async fn begin(
        stage: &'s Stage,
        mut random: StdRng,
        twists: Vec<(Twist, Twist)>,
    ) -> Result<Self> {
        Ok(Self {
            observer: Observer::start(stage.watched())?,
            load: Load::start(NODES as u64, &stage.door())?,
            journal: Journal::new(),
            conditions: Conditions::default(),
            gives_up: random.random_bool(0.25),
            random,
            twists: twists.into_iter(),
            promises: Vec::new(),
            recovered: Vec::new(),
            ended: Vec::new(),
            ahead: std::array::from_fn(|node| Ahead::after(stage.node(node).said(AHEAD))),
            aside: 0,
            stage,
        })
    }

    async fn run(&mut self, faults: &[(Duration, Fault)]) -> Result<Rows> {
        eventually("everything to be well at first", WRITING, async || {
            self.observer.whole(NODES)?;
            let rows = self.load.acknowledged();
            ensure!(rows >= ROWS, "{rows} rows are written");
            Ok(())
        })
        .await?;
        for (pause, fault) in faults {
            tokio::time::sleep(*pause).await;
            self.fail(fault).await?;
        }
        tokio::time::sleep(SHOWN).await;
        self.operate().await.context("while people recover it")?;
        self.restore().await?;
        self.judge().await
    }

    /// Makes something fail.
    ///
    /// # Errors
    /// When the machine refuses.
    pub(crate) async fn fail(&mut self, fault: &Fault) -> Result<()> {
        self.journal.note(fault.to_string());
        self.conditions.inflict(self.stage, fault).await
    }
}

/// What became of the rows.
pub(crate) struct Rows {
    /// How many clients were told that they are there.
    pub(crate) acknowledged: usize,
    /// How many of those are gone, as the approved plan said that they may.
    pub(crate) given_up: usize,
}

impl Report {
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
            total.otherwise += report.otherwise;
            total.aside += report.aside;
            total.took += report.took;
        }
        total
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.faults.is_empty() {
            write!(f, "{} → ", self.faults.join(", "))?;
        }
        write!(
            f,
            "{} recovered by statement, {} by order, {} superseded, {} failed or unverified; {} rows acknowledged, \
             {} given up by plan; {} data directories put aside; {:.0} s",
            self.statements,
            self.orders,
            self.superseded,
            self.otherwise,
            self.rows,
            self.given_up,
            self.aside,
            self.took.as_secs_f64()
        )
    }
}
