//! Queries every node directly, several times a second: the ground truth that tests are judged by. It uses neither the
//! registry nor the console.

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
use primary_intervals::{PrimaryInterval, PrimaryView, RivalPair, members, rival_pairs};

pub mod primary_intervals;

/// Pause between two questions to a node.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for an answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// Cheap, and answered by a node without a Primary component.
const STATUS_QUERY: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_cluster_size', \
    'wsrep_cluster_conf_id', 'wsrep_cluster_state_uuid', 'wsrep_local_state_comment', 'wsrep_incoming_addresses', \
    'wsrep_last_committed', 'wsrep_cluster_weight')";

/// A node that is observed.
#[derive(Clone, Debug)]
pub struct ObservedNode {
    /// Unique, also among nodes that had the same name and address earlier.
    pub key: String,
    /// The display name.
    pub name: String,
    /// The IP address that the other nodes know it by.
    pub address: String,
    /// How to connect.
    pub options: Opts,
}

/// A node's last answer.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    pub observed_at: Instant,
    pub state: String,
    pub size: String,
    pub committed: Option<u64>,
    /// Its component, when that is Primary.
    pub primary: Option<PrimaryView>,
}

impl NodeStatus {
    /// Whether it serves clients.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.primary.is_some() && self.state == "Synced"
    }

    /// Its status without what changes with every transaction.
    fn summary(&self) -> String {
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

/// A node and its last status, if that is recent.
pub type NodeObservation = (ObservedNode, Option<NodeStatus>);

/// A change of a node's status.
#[derive(Clone, Debug)]
pub struct StatusChange {
    /// When it was first observed.
    pub at: Instant,
    pub node: String,
    /// The new status.
    pub status: String,
    /// `wsrep_last_committed` at that moment.
    pub committed: Option<u64>,
}

impl fmt::Display for StatusChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.status)?;
        match self.committed {
            Some(committed) => write!(f, ", at {committed}"),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct ObservationLog {
    nodes: BTreeMap<String, NodeObservation>,
    primary_intervals: Vec<PrimaryInterval>,
    status_changes: Vec<StatusChange>,
    answers: usize,
}

/// The running observer; it ends with this value.
pub struct ClusterObserver {
    record: Arc<Mutex<ObservationLog>>,
    pollers: Mutex<BTreeMap<String, DropGuard>>,
    tasks: TaskTracker,
}

/// What the observer saw from its start.
pub struct ObserverFindings {
    /// How many answers it got.
    pub answers: usize,
    /// The pairs of rival Primary components: none, if all is well.
    pub rivals: Vec<RivalPair>,
    /// The state UUIDs of all Primary components.
    pub state_uuids: Vec<String>,
}

impl ClusterObserver {
    /// Observes `nodes` from now on.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn start(nodes: impl IntoIterator<Item = ObservedNode>) -> Result<Self> {
        let observer = Self {
            record: Arc::default(),
            pollers: Mutex::default(),
            tasks: TaskTracker::new(),
        };
        for node in nodes {
            observer.observe(node)?;
        }
        Ok(observer)
    }

    /// Observes this node, too.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn observe(&self, node: ObservedNode) -> Result<()> {
        let stop = CancellationToken::new();
        lock(&self.record)
            .nodes
            .insert(node.key.clone(), (node.clone(), None));
        let asked = poll_node(node.clone(), Arc::clone(&self.record));
        let asked = stop.clone().run_until_cancelled_owned(asked);
        self.tasks.spawn_on(asked, runtime()?.handle());
        lock(&self.pollers).insert(node.key, stop.drop_guard());
        Ok(())
    }

    /// Stops querying the node with this key; its earlier statuses still count.
    pub fn stop_observing(&self, key: &str) {
        lock(&self.pollers).remove(key);
        lock(&self.record).nodes.remove(key);
    }

    /// The observed nodes and their last answers.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeObservation> {
        lock(&self.record).nodes.values().cloned().collect()
    }

    /// Fails unless exactly `count` nodes are observed and all of them are Synced in one Primary component of that
    /// size.
    ///
    /// # Errors
    /// Lists what each node reports.
    pub fn ensure_all_synced(&self, count: usize) -> Result<()> {
        let nodes = self.nodes();
        // Not by the member lists: one that joined by an incremental transfer shows an old one until the next change.
        let component = |answer: &NodeStatus| {
            let view = answer.primary.as_ref()?;
            Some((view.state_uuid.clone(), view.conf_id.clone()))
        };
        let first = nodes
            .first()
            .and_then(|(_, answer)| component(answer.as_ref()?));
        let fits = |answer: &NodeStatus| {
            answer.is_synced() && answer.size == count.to_string() && component(answer) == first
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
        let intervals = record.primary_intervals.iter();
        intervals
            .filter(|interval| interval.since <= from && interval.until >= to)
            .map(|interval| interval.node.clone())
            .collect()
    }

    /// What was seen so far.
    #[must_use]
    pub fn findings(&self) -> ObserverFindings {
        let record = lock(&self.record);
        let mut histories: Vec<_> = record
            .primary_intervals
            .iter()
            .map(|interval| interval.view.state_uuid.clone())
            .collect();
        histories.sort();
        histories.dedup();
        ObserverFindings {
            answers: record.answers,
            rivals: rival_pairs(&record.primary_intervals),
            state_uuids: histories,
        }
    }

    /// Fails if there ever were two Primary components at the same time or of two histories, or if there are too few
    /// observations. Returns their number.
    ///
    /// # Errors
    /// Describes the violation.
    pub fn verify(&self) -> Result<usize> {
        let ObserverFindings {
            answers,
            rivals,
            state_uuids: histories,
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

    /// All status changes in order of time.
    #[must_use]
    pub fn status_changes(&self) -> Vec<StatusChange> {
        lock(&self.record).status_changes.clone()
    }
}

/// The status of every node, on one line.
#[must_use]
pub fn describe(nodes: &[NodeObservation]) -> String {
    let each = nodes.iter().map(|(node, answer)| match answer {
        Some(answer) => format!("{} {}", node.name, answer.summary()),
        None => format!("{} does not answer", node.name),
    });
    let each: Vec<_> = each.collect();
    format!("{} node(s): {}", nodes.len(), each.join("; "))
}

async fn poll_node(node: ObservedNode, record: Arc<Mutex<ObservationLog>>) {
    let mut connection: Option<Conn> = None;
    // Index of the node's current interval.
    let mut interval: Option<usize> = None;
    let mut words: Option<String> = None;
    loop {
        let asked = Instant::now();
        let answer = timeout(QUERY_TIMEOUT, query_status(&mut connection, &node)).await;
        let answer = answer.ok().and_then(Result::ok);
        if answer.is_none() {
            connection = None;
        }
        record_status_change(&record, &node, answer.as_ref(), &mut words);
        interval = record_status(&record, &node, asked, answer, interval);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn query_status(connection: &mut Option<Conn>, node: &ObservedNode) -> Result<NodeStatus> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Conn::new(node.options.clone()).await?,
    };
    let rows: Vec<(String, String)> = open.query(STATUS_QUERY).await?;
    *connection = Some(open);
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    let read = |name: &str| rows.get(name).cloned().unwrap_or_default();
    // A lock keeps the status of a former component; the weight is always the present one's, 0 if that is not Primary.
    let primary = read("wsrep_cluster_status").eq_ignore_ascii_case("primary")
        && read("wsrep_cluster_weight") != "0";
    Ok(NodeStatus {
        observed_at: Instant::now(),
        state: read("wsrep_local_state_comment"),
        size: read("wsrep_cluster_size"),
        // The undefined seqno is not a position.
        committed: read("wsrep_last_committed")
            .parse()
            .ok()
            .filter(|seqno| *seqno != u64::MAX),
        primary: primary.then(|| PrimaryView {
            state_uuid: read("wsrep_cluster_state_uuid"),
            conf_id: read("wsrep_cluster_conf_id"),
            members: members(&read("wsrep_incoming_addresses"), &node.address),
        }),
    })
}

/// Records a node's status if it differs from the previous one.
fn record_status_change(
    record: &Mutex<ObservationLog>,
    node: &ObservedNode,
    answer: Option<&NodeStatus>,
    before: &mut Option<String>,
) {
    let words = answer.map_or_else(|| "no answer".to_owned(), NodeStatus::summary);
    if before.as_ref() == Some(&words) {
        return;
    }
    lock(record).status_changes.push(StatusChange {
        at: Instant::now(),
        node: node.name.clone(),
        status: words.clone(),
        committed: answer.and_then(|answer| answer.committed),
    });
    *before = Some(words);
}

/// Stores a status, and extends the node's current interval or starts a new one.
fn record_status(
    record: &Mutex<ObservationLog>,
    node: &ObservedNode,
    asked: Instant,
    answer: Option<NodeStatus>,
    interval: Option<usize>,
) -> Option<usize> {
    let mut record = lock(record);
    record.answers += usize::from(answer.is_some());
    let view = answer
        .as_ref()
        .and_then(|answer| Some((answer.primary.clone()?, answer.observed_at)));
    if let Some((_, last)) = record.nodes.get_mut(&node.key) {
        *last = answer;
    }
    let (view, at) = view?;
    if let Some(index) = interval
        && let Some(current) = record.primary_intervals.get_mut(index)
        && current.view == view
    {
        current.until = asked;
        return interval;
    }
    record.primary_intervals.push(PrimaryInterval {
        node: format!("{} ({})", node.name, node.address),
        view,
        since: at,
        until: at,
    });
    Some(record.primary_intervals.len() - 1)
}

fn lock<T>(record: &Mutex<T>) -> MutexGuard<'_, T> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
