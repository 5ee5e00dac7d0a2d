//! Asks every node directly, several times a second, from its container's start to its end: what they say is the truth
//! that the scenarios are judged by. It knows neither the registry nor the console.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::docker::{self, Container};
use crate::views::{Rivals, Stay, View, members, rivals};

/// Pause between two questions to a node.
const PAUSE: Duration = Duration::from_millis(150);
/// Pause between two looks for new containers.
const LOOK: Duration = Duration::from_millis(700);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What is asked: cheap, and answered by a node that serves nobody.
const QUESTION: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_cluster_size', \
    'wsrep_cluster_conf_id', 'wsrep_cluster_state_uuid', 'wsrep_local_state_comment', 'wsrep_incoming_addresses')";

/// A node's last answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// When it came.
    pub(crate) at: Instant,
    /// `wsrep_local_state_comment`.
    pub(crate) state: String,
    /// `wsrep_cluster_size`.
    pub(crate) size: String,
    /// Its component, when that is Primary.
    pub(crate) primary: Option<View>,
}

impl Answer {
    /// Whether it serves clients.
    pub(crate) fn synced(&self) -> bool {
        self.primary.is_some() && self.state == "Synced"
    }
}

/// What is known of a running node: its last answer, when it has given one lately.
pub(crate) type Known = (Container, Option<Answer>);

#[derive(Default)]
struct Record {
    nodes: BTreeMap<String, Known>,
    stays: Vec<Stay>,
    answers: usize,
}

/// The running observer.
pub(crate) struct Observer {
    record: Arc<Mutex<Record>>,
    _stop: DropGuard,
}

/// What the observer saw from its start.
pub(crate) struct Findings {
    /// How many answers it got.
    pub(crate) answers: usize,
    /// The pairs of rival Primary components: none, if all is well.
    pub(crate) rivals: Vec<Rivals>,
    /// The state UUIDs of all Primary components.
    pub(crate) histories: Vec<String>,
}

impl Observer {
    /// Observes the containers of `service` on `network` from now on, as the account `user`.
    pub(crate) fn start(tasks: &TaskTracker, service: &str, network: &str, login: Login) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let stop = CancellationToken::new();
        let looking = look_for_nodes(Watch {
            service: service.to_owned(),
            network: network.to_owned(),
            login,
            record: Arc::clone(&record),
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        tasks.spawn(stop.clone().run_until_cancelled_owned(looking));
        Self {
            record,
            _stop: stop.drop_guard(),
        }
    }

    /// The running nodes and their last answers.
    pub(crate) fn nodes(&self) -> Vec<Known> {
        lock(&self.record).nodes.values().cloned().collect()
    }

    /// Fails unless exactly `count` nodes run and all of them are Synced in one Primary component of that size.
    ///
    /// # Errors
    /// As said; names what each node says.
    pub(crate) fn whole(&self, count: usize) -> Result<()> {
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

    /// What was seen so far.
    pub(crate) fn findings(&self) -> Findings {
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
}

/// What every node says, in one line.
pub(crate) fn describe(nodes: &[Known]) -> String {
    let each = nodes.iter().map(|(container, answer)| match answer {
        Some(answer) => {
            let status = if answer.primary.is_some() {
                "Primary"
            } else {
                "non-Primary"
            };
            format!(
                "{} {} {status} of {}",
                container.task, answer.state, answer.size
            )
        }
        None => format!("{} does not answer", container.task),
    });
    let each: Vec<_> = each.collect();
    format!("{} node(s): {}", nodes.len(), each.join("; "))
}

/// An account of the databases.
#[derive(Clone)]
pub(crate) struct Login {
    /// Its name.
    pub(crate) user: String,
    /// Its password.
    pub(crate) password: String,
}

impl Login {
    /// How to connect to `host`.
    pub(crate) fn options(&self, host: std::net::Ipv4Addr) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(host.to_string())
            .tcp_port(3306)
            .prefer_socket(false)
            .user(Some(&self.user))
            .pass(Some(&self.password))
            // Known, so that connecting asks the server nothing: one without a Primary component would refuse.
            .max_allowed_packet(Some(1 << 20))
            .wait_timeout(Some(600))
            .into()
    }
}

struct Watch {
    service: String,
    network: String,
    login: Login,
    record: Arc<Mutex<Record>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn look_for_nodes(watch: Watch) {
    let mut asking: BTreeMap<String, CancellationToken> = BTreeMap::new();
    loop {
        // Docker that does not answer for once has not said that the containers are gone.
        if let Ok(ids) = docker::running(&watch.service).await {
            asking.retain(|id, asked| {
                let runs = ids.contains(id);
                if !runs {
                    asked.cancel();
                    lock(&watch.record).nodes.remove(id);
                }
                runs
            });
            let new: Vec<_> = ids
                .into_iter()
                .filter(|id| !asking.contains_key(id))
                .collect();
            for container in docker::describe(&new, &watch.network)
                .await
                .unwrap_or_default()
            {
                let stop = watch.stop.child_token();
                asking.insert(container.id.clone(), stop.clone());
                lock(&watch.record)
                    .nodes
                    .insert(container.id.clone(), (container.clone(), None));
                let asked = ask(container, watch.login.clone(), Arc::clone(&watch.record));
                watch.tasks.spawn(stop.run_until_cancelled_owned(asked));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(container: Container, login: Login, record: Arc<Mutex<Record>>) {
    let mut connection: Option<Conn> = None;
    // The index of the stay that this node is in.
    let mut stay: Option<usize> = None;
    loop {
        let asked = Instant::now();
        let answer = timeout(ANSWER, question(&mut connection, &container, &login)).await;
        let answer = answer.ok().and_then(Result::ok);
        if answer.is_none() {
            connection = None;
        }
        stay = note(&record, &container, asked, answer, stay);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn question(
    connection: &mut Option<Conn>,
    container: &Container,
    login: &Login,
) -> Result<Answer> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Conn::new(login.options(container.door)).await?,
    };
    let rows: Vec<(String, String)> = open.query(QUESTION).await?;
    *connection = Some(open);
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    let read = |name: &str| rows.get(name).cloned().unwrap_or_default();
    let primary = read("wsrep_cluster_status").eq_ignore_ascii_case("primary");
    let own = container.address.to_string();
    Ok(Answer {
        at: Instant::now(),
        state: read("wsrep_local_state_comment"),
        size: read("wsrep_cluster_size"),
        primary: primary.then(|| View {
            state_uuid: read("wsrep_cluster_state_uuid"),
            conf_id: read("wsrep_cluster_conf_id"),
            members: members(&read("wsrep_incoming_addresses"), &own),
        }),
    })
}

/// Keeps an answer, and prolongs the node's stay or begins a new one.
fn note(
    record: &Mutex<Record>,
    container: &Container,
    asked: Instant,
    answer: Option<Answer>,
    stay: Option<usize>,
) -> Option<usize> {
    let mut record = lock(record);
    record.answers += usize::from(answer.is_some());
    let view = answer
        .as_ref()
        .and_then(|answer| Some((answer.primary.clone()?, answer.at)));
    if let Some((_, last)) = record.nodes.get_mut(&container.id) {
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
        node: format!("{} ({})", container.task, container.address),
        view,
        since: at,
        until: at,
    });
    Some(record.stays.len() - 1)
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
