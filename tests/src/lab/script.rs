//! Scripts of the Galera specification, played on real servers.

mod observe;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use galera_specification::NodeIndex;
use galera_specification::script::{
    GaleraScript, NodeObservation, ScriptPlayer, ScriptStep, ServerObservation, StepOutcome,
};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::directory::LabDirectory;
use super::galera::{GaleraCluster, PATIENT_TIMEOUTS};
use super::network::LabNetwork;
use super::node::{GaleraNode, NodeStart};
use super::ports::ReservedPort;
use super::process::{LabProcess, Program};

/// Longest wait for servers to show what the specification states.
const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(150);
/// How long they must show it where no change marks that the group has settled: longer than a node needs to find others.
const STEADY_TIME: Duration = Duration::from_secs(8);
/// Pause between two observations.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Pause between two readings of the position of all nodes.
const ALIGNMENT_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for the acknowledgement of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The table that clients write to.
const TABLE: &str = "demo.written";
const CLUSTER: &str = "script";

/// Real servers, and perhaps an arbitrator, in a network that can be cut.
pub struct ScriptLab {
    // Dropped in this order.
    arbitrator: Mutex<Option<LabProcess>>,
    locks: Mutex<BTreeMap<NodeIndex, Conn>>,
    galera: GaleraCluster,
    network: LabNetwork,
    garbd_port: ReservedPort,
    /// How often the arbitrator was started: each start has a directory of its own, as in a container.
    garbd_starts: AtomicUsize,
    /// `wsrep_last_committed` of what the specification calls 0.
    first_seqno: u64,
    directory: LabDirectory,
}

impl ScriptLab {
    /// The cluster of `script`, formed.
    ///
    /// # Errors
    /// If a server does not start.
    async fn form(script: &GaleraScript, player: &ScriptPlayer) -> Result<Self> {
        // The kernel takes a moment to forget a network.
        static NETWORKS: AtomicU8 = AtomicU8::new(1);
        let subnet = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let directory = LabDirectory::create()?;
        let nodes = script.weights.len();
        let hosts = nodes + usize::from(script.arbitrator);
        let network = LabNetwork::create(directory.path(), subnet, hosts).await?;
        let galera = GaleraCluster::prepare_on(&network, &directory, CLUSTER, nodes).await?;
        for (node, weight) in galera.nodes().iter().zip(&script.weights) {
            node.set_weight(*weight);
        }
        let garbd_port = ReservedPort::reserve(network.router())?;
        let mut lab = Self {
            arbitrator: Mutex::default(),
            locks: Mutex::default(),
            galera,
            network,
            garbd_port,
            garbd_starts: AtomicUsize::new(0),
            first_seqno: 0,
            directory,
        };
        lab.galera.start().await?;
        let first = lab.node(0);
        first
            .execute(&format!("CREATE TABLE {TABLE} (number BIGINT PRIMARY KEY)"))
            .await?;
        if script.arbitrator {
            lab.start_arbitrator().await?;
        }
        lab.align_seqnos(player).await?;
        Ok(lab)
    }

    /// Finds what the specification calls 0, once all nodes have the same position and keep it: a view takes its sequence number after
    /// it has its members.
    async fn align_seqnos(&mut self, player: &ScriptPlayer) -> Result<()> {
        let expected = player.observe();
        let ServerObservation::Open(formed) = &expected[0].server else {
            anyhow::bail!("the specification forms no cluster");
        };
        let mut before = None;
        let end = Instant::now() + AGREEMENT_TIMEOUT;
        let seqno = loop {
            let now = self.common_seqno(formed.size).await;
            match (&now, before) {
                (Ok(seqno), Some(earlier)) if *seqno == earlier => break *seqno,
                (Err(_), _) if Instant::now() > end => return now.map(drop),
                _ => before = now.ok(),
            }
            tokio::time::sleep(ALIGNMENT_INTERVAL).await;
        };
        self.first_seqno = seqno.saturating_sub(formed.seqno);
        Ok(())
    }

    /// The position of all nodes, if each sees `size` members.
    async fn common_seqno(&self, size: usize) -> Result<u64> {
        let mut seqnos = Vec::new();
        for node in self.galera.nodes() {
            let status = node.wsrep().await?;
            ensure!(
                status["wsrep_cluster_size"] == size.to_string(),
                "{} sees {} member(s)",
                node.name(),
                status["wsrep_cluster_size"]
            );
            seqnos.push(status["wsrep_last_committed"].parse::<u64>()?);
        }
        ensure!(seqnos.iter().all(|one| *one == seqnos[0]), "{seqnos:?}");
        Ok(seqnos[0])
    }

    fn node(&self, node: NodeIndex) -> &GaleraNode {
        &self.galera.nodes()[node]
    }

    fn is_arbitrator(&self, node: NodeIndex) -> bool {
        node == self.galera.nodes().len()
    }

    fn address(&self, node: NodeIndex) -> Ipv4Addr {
        self.network.hosts()[node].address
    }

    async fn apply(&self, step: ScriptStep) -> Result<StepOutcome> {
        match step {
            ScriptStep::Start(node) if self.is_arbitrator(node) => self.start_arbitrator().await?,
            ScriptStep::Start(node) => self.node(node).launch(NodeStart::Join).await?,
            ScriptStep::StartNewCluster(node) => self.node(node).launch(NodeStart::Found).await?,
            ScriptStep::Kill(node) => self.kill(node).await,
            ScriptStep::Stop(node) if self.is_arbitrator(node) => {
                let process = self.arbitrator.lock().await.take();
                let process = process.context("no arbitrator runs")?;
                process.stop(AGREEMENT_TIMEOUT).await?;
            }
            ScriptStep::Stop(node) => {
                self.locks.lock().await.remove(&node);
                self.node(node).stop().await?;
            }
            ScriptStep::Pause(node) => self.signal(node, Signal::STOP).await?,
            ScriptStep::Resume(node) => self.signal(node, Signal::CONT).await?,
            ScriptStep::Lock(node) => {
                let mut connection = self.node(node).root().await?;
                connection.query_drop("FLUSH TABLES WITH READ LOCK").await?;
                self.locks.lock().await.insert(node, connection);
            }
            ScriptStep::Unlock(node) => {
                let connection = self.locks.lock().await.remove(&node);
                let mut connection = connection.context("no lock is held")?;
                connection.query_drop("UNLOCK TABLES").await?;
                connection.disconnect().await?;
            }
            ScriptStep::Cut(one, other) => {
                self.network
                    .cut(self.address(one), self.address(other))
                    .await?;
            }
            ScriptStep::Mend(one, other) => {
                self.network
                    .mend(self.address(one), self.address(other))
                    .await?;
            }
            ScriptStep::Heal => self.network.heal().await?,
            ScriptStep::Bootstrap(node) => self.node(node).bootstrap().await?,
            ScriptStep::Write(node, number) => {
                let insert = format!("INSERT INTO {TABLE} VALUES ({number})");
                let written = tokio::time::timeout(WRITE_TIMEOUT, self.write(node, &insert)).await;
                return Ok(StepOutcome::Acknowledged(matches!(written, Ok(Ok(())))));
            }
            ScriptStep::SetSafeToBootstrap(node) => {
                let path = self.node(node).data().join("grastate.dat");
                let text = fs::read_to_string(&path)?;
                let safe = text.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1");
                fs::write(&path, safe)?;
            }
            ScriptStep::RemoveSavedView(node) => {
                fs::remove_file(self.node(node).data().join("gvwstate.dat"))?;
            }
            ScriptStep::EmptyData(node) => self.node(node).wipe()?,
            // The servers end by themselves, as the next observation states.
            ScriptStep::WaitPrimTimeout => {}
        }
        Ok(StepOutcome::Done)
    }

    async fn write(&self, node: NodeIndex, insert: &str) -> Result<()> {
        let mut connection = self.node(node).root().await?;
        connection.query_drop(insert).await?;
        Ok(connection.disconnect().await?)
    }

    async fn kill(&self, node: NodeIndex) {
        if self.is_arbitrator(node) {
            self.arbitrator.lock().await.take();
        } else {
            self.locks.lock().await.remove(&node);
            self.node(node).kill();
        }
    }

    async fn signal(&self, node: NodeIndex, signal: Signal) -> Result<()> {
        if self.is_arbitrator(node) {
            let arbitrator = self.arbitrator.lock().await;
            return arbitrator
                .as_ref()
                .context("no arbitrator runs")?
                .signal(signal);
        }
        match signal {
            Signal::STOP => self.node(node).pause(),
            _ => self.node(node).resume(),
        }
    }

    async fn start_arbitrator(&self) -> Result<()> {
        let number = self.garbd_starts.fetch_add(1, Ordering::Relaxed);
        let work = self.directory.path().join(format!("garbd-{number}"));
        fs::create_dir(&work)?;
        let host = &self.network.hosts()[self.galera.nodes().len()];
        let listen = format!("tcp://{}:{}", host.address, self.garbd_port.number());
        let program = Program::new("garbd", "garbd", &work.join("garbd.log"))
            .in_namespace(host.namespace.as_deref())
            .args(["--group", CLUSTER, "--name", "arbitrator"])
            .args(["--workdir", &work.display().to_string()])
            .args(["--address", self.galera.peers()])
            .args([
                "--options",
                &format!("gmcast.listen_addr={listen};{PATIENT_TIMEOUTS}"),
            ]);
        *self.arbitrator.lock().await = Some(program.start()?);
        Ok(())
    }

    fn copy_logs(&self, target: &Path) -> Result<()> {
        fs::create_dir_all(target)?;
        for node in self.galera.nodes() {
            fs::copy(node.log(), target.join(format!("{}.log", node.name())))?;
        }
        Ok(())
    }

    /// Waits until the servers show `expected`, and where the step changes nothing that could be waited for, until they have
    /// shown it for [`STEADY_TIME`].
    async fn wait_for(&self, expected: &[NodeObservation], steady: bool) -> Result<()> {
        let end = Instant::now() + AGREEMENT_TIMEOUT;
        let mut since: Option<Instant> = None;
        loop {
            let observed = self.observe().await;
            if agree(expected, &observed) {
                let began = *since.get_or_insert_with(Instant::now);
                if !steady || began.elapsed() >= STEADY_TIME {
                    return Ok(());
                }
            } else {
                since = None;
            }
            ensure!(
                Instant::now() < end,
                "{}",
                describe_difference(expected, &observed)
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Plays `script` on the specification and on real servers, and compares them after each step; `report` gets each step
/// and how long it took. The servers' logs are kept below `logs` if they differ.
///
/// # Errors
/// If they differ, with the step and what each of them shows, or if a program is missing.
pub async fn play_script(script: &GaleraScript, logs: &Path, report: impl Fn(&str)) -> Result<()> {
    let player = ScriptPlayer::new(script);
    let lab = ScriptLab::form(script, &player).await?;
    let played = compare(script, &lab, player, report).await;
    if played.is_err() {
        let kept = logs.join(script.name.replace(':', "-"));
        lab.copy_logs(&kept)?;
        return played.context(format!("the logs are in {}", kept.display()));
    }
    played
}

async fn compare(
    script: &GaleraScript,
    lab: &ScriptLab,
    mut player: ScriptPlayer,
    report: impl Fn(&str),
) -> Result<()> {
    let mut before = player.observe();
    lab.wait_for(&before, false)
        .await
        .context("the formed cluster")?;
    for (index, step) in script.steps.iter().enumerate() {
        let began = Instant::now();
        let described = format!("step {}, {step}", index + 1);
        let expected_outcome = player.apply(*step);
        let expected = player.observe();
        let outcome = lab.apply(*step).await.with_context(|| described.clone())?;
        ensure!(
            outcome == expected_outcome,
            "{described}: {outcome:?}, by the specification {expected_outcome:?}"
        );
        let steady = expected == before || waits_unseen(*step, &expected);
        let agreement = lab.wait_for(&expected, steady).await;
        agreement.with_context(|| described.clone())?;
        report(&format!(
            "{described}: {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        before = expected;
    }
    lab.wait_for(&before, true)
        .await
        .context("after the last step")
}

/// Whether the step starts a server whose port stays closed: it shows so before it has found any other.
fn waits_unseen(step: ScriptStep, expected: &[NodeObservation]) -> bool {
    match step {
        ScriptStep::Start(node) => expected[node].server == ServerObservation::Closed,
        _ => false,
    }
}

fn agree(expected: &[NodeObservation], observed: &[NodeObservation]) -> bool {
    let mut pairs = expected.iter().zip(observed);
    expected.len() == observed.len() && pairs.all(|(stated, shown)| stated.agrees_with(shown))
}

fn describe_difference(expected: &[NodeObservation], observed: &[NodeObservation]) -> String {
    let mut text = String::from("specification and servers differ:");
    for (index, (stated, shown)) in expected.iter().zip(observed).enumerate() {
        let mark = if stated.agrees_with(shown) { ' ' } else { '!' };
        let number = index + 1;
        text.push_str(&format!(
            "\n{mark} n{number} specification: {stated}\n{mark} n{number} server:        {shown}"
        ));
    }
    text
}
