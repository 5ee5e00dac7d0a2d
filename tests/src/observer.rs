//! Asks every node directly, several times a second: what they say is the truth that tests are judged by. It knows
//! neither the registry nor the console.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::background::runtime;
use views::{Rivals, Stay, View, members, rivals};

pub mod views;

/// Pause between two questions to a node.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What is asked: cheap, and answered by a node that serves nobody.
const QUESTION: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_cluster_size', \
    'wsrep_cluster_conf_id', 'wsrep_cluster_state_uuid', 'wsrep_local_state_comment', 'wsrep_incoming_addresses', \
    'wsrep_last_committed')";

/// A node that is observed.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Tells it from all others, also from one of the same name and address that came before it.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// The IP address that the other nodes know it by.
    pub address: String,
    /// How to ask it.
    pub options: Opts,
}

/// A node's last answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it came.
    pub at: Instant,
    /// `wsrep_local_state_comment`.
    pub state: String,
    /// `wsrep_cluster_size`.
    pub size: String,
    /// `wsrep_last_committed`.
    pub committed: Option<u64>,
    /// Its component, when that is Primary.
    pub primary: Option<View>,
}

impl Answer {
    /// Whether it serves clients.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.primary.is_some() && self.state == "Synced"
    }

    /// What it says of itself, without what changes with every transaction.
    fn words(&self) -> String {
        let Self { state, size, .. } = self;
        match &self.primary {
            Some(view) => {
                let members: Vec<&str> = view.members.iter().map(String::as_str).collect();
                let members = members.join(", ");
                format!(
                    "{state}, Primary of {size} in view {} with {members}",
                    view.conf_id
                )
            }
            None => format!("{state}, non-Primary of {size}"),
        }
    }
}

/// What is known of a node: its last answer, when it has given one lately.
pub type Known = (Watched, Option<Answer>);

/// A change in what a node says.
#[derive(Clone, Debug)]
pub struct Said {
    /// When it was first heard.
    pub at: Instant,
    /// The node's name.
    pub node: String,
    /// What it says from now on.
    pub words: String,
    /// Where it stood at that moment.
    pub committed: Option<u64>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.words)?;
        match self.committed {
            Some(committed) => write!(f, ", at {committed}"),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct Record {
    nodes: BTreeMap<String, Known>,
    stays: Vec<Stay>,
    said: Vec<Said>,
    answers: usize,
}

/// The running observer; it ends with this value.
pub struct Observer {
    record: Arc<Mutex<Record>>,
    asking: Mutex<BTreeMap<String, DropGuard>>,
    tasks: TaskTracker,
}

/// What the observer saw from its start.
pub struct Findings {
    /// How many answers it got.
    pub answers: usize,
    /// The pairs of rival Primary components: none, if all is well.
    pub rivals: Vec<Rivals>,
    /// The state UUIDs of all Primary components.
    pub histories: Vec<String>,
}

impl Observer {
    /// Observes `nodes` from now on.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(nodes: impl IntoIterator<Item = Watched>) -> Result<Self> {
        let observer = Self {
            record: Arc::default(),
            asking: Mutex::default(),
            tasks: TaskTracker::new(),
        };
        for node in nodes {
            observer.watch(node)?;
        }
        Ok(observer)
    }

    /// Observes this node, too.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn watch(&self, node: Watched) -> Result<()> {
        let stop = CancellationToken::new();
        lock(&self.record)
            .nodes
            .insert(node.key.clone(), (node.clone(), None));
        let asked = ask(node.clone(), Arc::clone(&self.record));
        let asked = stop.clone().run_until_cancelled_owned(asked);
        self.tasks.spawn_on(asked, runtime()?.handle());
        lock(&self.asking).insert(node.key, stop.drop_guard());
        Ok(())
    }

    /// Stops asking the node with this key. What it said counts still.
    pub fn forget(&self, key: &str) {
        lock(&self.asking).remove(key);
        lock(&self.record).nodes.remove(key);
    }

    /// The observed nodes and their last answers.
    #[must_use]
    pub fn nodes(&self) -> Vec<Known> {
        lock(&self.record).nodes.values().cloned().collect()
    }

    /// Fails unless exactly `count` nodes are observed and all of them are Synced in one Primary component of that size.
    ///
    /// # Errors
    /// As said; names what each node says.
    pub fn whole(&self, count: usize) -> Result<()> {
        let nodes = self.nodes();
        // Not by the member lists: one that joined by an incremental transfer shows an old one until the next change.
        let component = |answer: &Answer| {
            let view = answer.primary.as_ref()?;
            Some((view.state_uuid.clone(), view.conf_id.clone()))
        };
        let first = nodes
            .first()
            .and_then(|(_, answer)| component(answer.as_ref()?));
        let fits = |answer: &Answer| {
            answer.synced() && answer.size == count.to_string() && component(answer) == first
        };
        let all = nodes
            .iter()
            .all(|(_, answer)| answer.as_ref().is_some_and(fits));
        ensure!(nodes.len() == count && all, "{}", describe(&nodes));
        Ok(())
    }

    /// The nodes that are proven to have been Primary, in one view, from the one moment to the other.
    #[must_use]
    pub fn primary_throughout(&self, from: Instant, to: Instant) -> Vec<String> {
        let record = lock(&self.record);
        let stays = record.stays.iter();
        stays
            .filter(|stay| stay.since <= from && stay.until >= to)
            .map(|stay| stay.node.clone())
            .collect()
    }

    /// What was seen so far.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let record = lock(&self.record);
        let mut histories: Vec<_> = record
            .stays
            .iter()
            .map(|stay| stay.view.state_uuid.clone())
            .collect();
        histories.sort();
        histories.dedup();
        Findings {
            answers: record.answers,
            rivals: rivals(&record.stays),
            histories,
        }
    }

    /// Fails when there ever were two Primary components at one time, or of two histories, or when too little was seen
    /// to say so. Returns how many answers that rests on.
    ///
    /// # Errors
    /// As said.
    pub fn judge(&self) -> Result<usize> {
        let Findings {
            answers,
            rivals,
            histories,
        } = self.findings();
        ensure!(
            answers > 10,
            "the observer has seen too little: {answers} answers"
        );
        let rivals: Vec<String> = rivals.iter().map(ToString::to_string).collect();
        ensure!(
            rivals.is_empty(),
            "two Primary components at one time: {}",
            rivals.join("; ")
        );
        ensure!(
            histories.len() <= 1,
            "Primary components of {} histories: {histories:?}",
            histories.len()
        );
        Ok(answers)
    }

    /// Every change in what any node said, in order of time.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        lock(&self.record).said.clone()
    }
}

/// What every node says, in one line.
#[must_use]
pub fn describe(nodes: &[Known]) -> String {
    let each = nodes.iter().map(|(node, answer)| match answer {
        Some(answer) => format!("{} {}", node.name, answer.words()),
        None => format!("{} does not answer", node.name),
    });
    let each: Vec<_> = each.collect();
    format!("{} node(s): {}", nodes.len(), each.join("; "))
}

async fn ask(node: Watched, record: Arc<Mutex<Record>>) {
    let mut connection: Option<Conn> = None;
    // The index of the stay that this node is in.
    let mut stay: Option<usize> = None;
    let mut words: Option<String> = None;
    loop {
        let asked = Instant::now();
        let answer = timeout(ANSWER, question(&mut connection, &node)).await;
        let answer = answer.ok().and_then(Result::ok);
        if answer.is_none() {
            connection = None;
        }
        remark(&record, &node, answer.as_ref(), &mut words);
        stay = note(&record, &node, asked, answer, stay);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn question(connection: &mut Option<Conn>, node: &Watched) -> Result<Answer> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Conn::new(node.options.clone()).await?,
    };
    let rows: Vec<(String, String)> = open.query(QUESTION).await?;
    *connection = Some(open);
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    let read = |name: &str| rows.get(name).cloned().unwrap_or_default();
    let primary = read("wsrep_cluster_status").eq_ignore_ascii_case("primary");
    Ok(Answer {
        at: Instant::now(),
        state: read("wsrep_local_state_comment"),
        size: read("wsrep_cluster_size"),
        // The number that stands for none is no position.
        committed: read("wsrep_last_committed")
            .parse()
            .ok()
            .filter(|seqno| *seqno != u64::MAX),
        primary: primary.then(|| View {
            state_uuid: read("wsrep_cluster_state_uuid"),
            conf_id: read("wsrep_cluster_conf_id"),
            members: members(&read("wsrep_incoming_addresses"), &node.address),
        }),
    })
}

/// Remembers what a node says when that differs from what it said before.
fn remark(
    record: &Mutex<Record>,
    node: &Watched,
    answer: Option<&Answer>,
    before: &mut Option<String>,
) {
    let words = answer.map_or_else(|| "no answer".to_owned(), Answer::words);
    if before.as_ref() == Some(&words) {
        return;
    }
    lock(record).said.push(Said {
        at: Instant::now(),
        node: node.name.clone(),
        words: words.clone(),
        committed: answer.and_then(|answer| answer.committed),
    });
    *before = Some(words);
}

/// Keeps an answer, and prolongs the node's stay or begins a new one.
fn note(
    record: &Mutex<Record>,
    node: &Watched,
    asked: Instant,
    answer: Option<Answer>,
    stay: Option<usize>,
) -> Option<usize> {
    let mut record = lock(record);
    record.answers += usize::from(answer.is_some());
    let view = answer
        .as_ref()
        .and_then(|answer| Some((answer.primary.clone()?, answer.at)));
    if let Some((_, last)) = record.nodes.get_mut(&node.key) {
        *last = answer;
    }
    let (view, at) = view?;
    if let Some(index) = stay
        && let Some(current) = record.stays.get_mut(index)
        && current.view == view
    {
        current.until = asked;
        return stay;
    }
    record.stays.push(Stay {
        node: format!("{} ({})", node.name, node.address),
        view,
        since: at,
        until: at,
    });
    Some(record.stays.len() - 1)
}

fn lock<T>(record: &Mutex<T>) -> MutexGuard<'_, T> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
