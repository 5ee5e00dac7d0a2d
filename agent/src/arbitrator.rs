//! `galera-agent arbitrator`: starts `garbd` once there are members to join, and reports its state to the registry.
//!
//! Invariants: it joins members that are registered as Primary under a live lease, of one history, and never starts a cluster;
//! an etcd failure stops nothing; the report is withdrawn once the process has ended.

mod group_log;
mod report;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use galera::observe::registration::{ArbitratorPhase, ArbitratorRecord, RawKeyValue};
use galera::startup::{ArbitratorDecision, RegistrySnapshot, decide_arbitrator};
use galera::{NodeId, Timestamp};
use registry::{Registry, RegistryEntry, role_layout};
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::clock::now;
use crate::run::RunError;
use crate::run::children::{ChildProcess, Children};
use crate::run::command::lock;
use crate::run::join::cluster_address;
use crate::run::signals::{SignalRequest, SignalStreams};
use crate::settings::arbitrator::ArbitratorSettings;
use crate::sidecar::{check_permissions, registry_setting_error};
use group_log::GroupLog;
use report::ArbitratorReporter;

/// Longest time between two reads of the registry.
const READ_INTERVAL: Duration = Duration::from_secs(2);
/// Time for `garbd` to leave its component after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Lines of its output that wait to be read.
const LINES_MAX: usize = 256;

/// Runs the arbitrator until it exits. Returns the exit code.
///
/// # Errors
/// [`RunError`] if it must not be started.
pub async fn run(settings: ArbitratorSettings, words: &[OsString]) -> Result<u8, RunError> {
    let system = |error: std::io::Error| RunError::Internal(error.to_string());
    let mut signals = SignalStreams::listen().map_err(system)?;
    // Held by garbd as well: one that outlives its agent is not started a second time.
    let _lock = lock_directory(&settings.directory)?;
    let registry = Registry::connect(settings.registry.clone())
        .map_err(|error| RunError::Setting(registry_setting_error(&error)))?;
    let role = role_layout::arbitrator(&settings.keys, &settings.cluster, &settings.name);
    let checked = check_permissions(&registry, &role.permissions).await;
    checked.map_err(RunError::Setting)?;
    let children = Children::default();
    let agent = ArbitratorAgent {
        record: watch::Sender::new(initial_record(&settings)),
        settings,
        registry,
        children: children.clone(),
    };
    tokio::select! {
        ended = Box::pin(agent.run(words, &mut signals)) => ended,
        reaped = children.reap() => {
            Err(RunError::Internal(format!("cannot wait for child processes: {reaped:?}")))
        }
    }
}

fn lock_directory(directory: &Path) -> Result<File, RunError> {
    lock(directory).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => RunError::Unavailable(format!(
            "{} is in use by another arbitrator, or by one whose agent was killed: stop its garbd first",
            directory.display()
        )),
        _ => RunError::from_io("cannot lock", directory, &error),
    })
}

fn initial_record(settings: &ArbitratorSettings) -> ArbitratorRecord {
    ArbitratorRecord {
        phase: ArbitratorPhase::Waiting,
        address: settings.address.clone(),
        since: now(),
        waiting_for: None,
        state_uuid: None,
        members: Vec::new(),
    }
}

struct ArbitratorAgent {
    settings: ArbitratorSettings,
    registry: Registry,
    children: Children,
    /// What is reported.
    record: watch::Sender<ArbitratorRecord>,
}

impl ArbitratorAgent {
    async fn run(&self, words: &[OsString], signals: &mut SignalStreams) -> Result<u8, RunError> {
        let ArbitratorSettings {
            cluster,
            name,
            keys,
            ttl,
            ..
        } = &self.settings;
        let key = keys.arbitrator_key(cluster, name);
        let mut reporter = ArbitratorReporter::new(self.registry.clone(), key, *ttl);
        let first = self.record.borrow().clone();
        tokio::select! {
            claimed = reporter.claim(&first) => claimed?,
            signal = signals.wait_for_stop() => {
                tracing::info!("Stopping on {signal}; the arbitrator was not started");
                return Ok(0);
            }
        }
        let ended = tokio::select! {
            () = reporter.run(self.record.subscribe()) => Ok(0),
            ended = self.join_and_supervise(words, signals) => ended,
        };
        reporter.withdraw().await;
        ended
    }

    async fn join_and_supervise(
        &self,
        words: &[OsString],
        signals: &mut SignalStreams,
    ) -> Result<u8, RunError> {
        let members = tokio::select! {
            members = self.wait_for_members() => members,
            signal = signals.wait_for_stop() => {
                tracing::info!("Stopping on {signal}; the arbitrator was not started");
                return Ok(0);
            }
        };
        self.supervise(words, &members, signals).await
    }

    /// Waits until there are members to join.
    async fn wait_for_members(&self) -> Vec<NodeId> {
        let prefix = self.settings.keys.cluster_prefix(&self.settings.cluster);
        let mut changes = self.registry.watch(prefix.clone());
        loop {
            let reason = match Box::pin(self.registry.list(prefix.clone())).await {
                Ok(listing) => match self.decide(&listing.entries) {
                    ArbitratorDecision::Join(members) => return members,
                    ArbitratorDecision::Wait(reason) => reason,
                },
                Err(error) => format!("etcd cannot be read: {error}"),
            };
            self.wait_for(&reason);
            tokio::select! {
                _ = changes.next() => {}
                () = sleep(READ_INTERVAL) => {}
            }
        }
    }

    fn decide(&self, entries: &[RegistryEntry]) -> ArbitratorDecision {
        let raw: Vec<RawKeyValue> = entries.iter().map(raw_key).collect();
        let ArbitratorSettings { keys, cluster, .. } = &self.settings;
        let snapshot = RegistrySnapshot::from_keys(keys, cluster, &raw);
        decide_arbitrator(cluster, &snapshot)
    }

    fn wait_for(&self, reason: &str) {
        let changed = self.record.send_if_modified(|record| {
            let reason = Some(galera::observe::registration::bounded_reason(reason));
            let differs = record.waiting_for != reason;
            record.waiting_for = reason;
            differs
        });
        if changed {
            tracing::info!("Waiting: {reason}");
        }
    }

    async fn supervise(
        &self,
        words: &[OsString],
        members: &[NodeId],
        signals: &mut SignalStreams,
    ) -> Result<u8, RunError> {
        let (mut process, mut lines) = self.start(words, members)?;
        let mut log = GroupLog::default();
        self.report(&log, now());
        loop {
            tokio::select! {
                exit = process.wait() => {
                    tracing::warn!("garbd ended with {exit}");
                    return Ok(exit.exit_code());
                }
                Some(line) = lines.recv() => {
                    if log.read(&line) {
                        self.report(&log, now());
                    }
                }
                request = signals.next() => if let SignalRequest::Stop(signal) = request {
                    tracing::info!("Stopping on {signal}");
                    process.signal(Signal::TERM);
                    return Ok(match timeout(STOP_TIMEOUT, process.wait()).await {
                        Ok(_) => 0,
                        Err(_) => {
                            tracing::warn!("garbd did not stop in {} s and is killed", STOP_TIMEOUT.as_secs());
                            process.signal(Signal::KILL);
                            process.wait().await.exit_code()
                        }
                    });
                }
            }
        }
    }

    fn start(
        &self,
        words: &[OsString],
        members: &[NodeId],
    ) -> Result<(ChildProcess, mpsc::Receiver<String>), RunError> {
        let failed = |what: &str, error: std::io::Error| {
            RunError::Unavailable(format!("cannot start {what}: {error}"))
        };
        let default = OsString::from("garbd");
        let (program, arguments) = words.split_first().unwrap_or((&default, &[]));
        let shown = program.to_string_lossy();
        let settings = &self.settings;
        let mut options = format!("gmcast.listen_addr=tcp://{}", settings.listen);
        if let Some(further) = &settings.options {
            options = format!("{options};{further}");
        }
        let (output, written) = std::io::pipe().map_err(|error| failed(&shown, error))?;
        let also = written.try_clone().map_err(|error| failed(&shown, error))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["--group", settings.cluster.as_str()])
            .args(["--name", settings.name.as_str()])
            .args(["--address", &cluster_address(members, settings.galera_port)])
            .args(["--options", &options])
            .current_dir(&settings.directory)
            .env_remove("ETCD_PASSWORD")
            .stdin(std::process::Stdio::null())
            .stdout(written)
            .stderr(also);
        let process = self.children.spawn(&mut command);
        let process = process.map_err(|error| failed(&shown, error))?;
        // The writing end is in `command`: the pipe ends with the process.
        drop(command);
        tracing::info!(
            "Started {shown} as process {}, joining {}",
            process.id(),
            cluster_address(members, settings.galera_port)
        );
        Ok((process, read_lines(output)))
    }

    /// Publishes what the log shows.
    fn report(&self, log: &GroupLog, at: Timestamp) {
        self.record.send_if_modified(|record| {
            let next = ArbitratorRecord {
                phase: log.phase(),
                since: match record.phase == log.phase() {
                    true => record.since,
                    false => at,
                },
                waiting_for: None,
                state_uuid: log.state_uuid(),
                members: log.members().to_vec(),
                address: record.address.clone(),
            };
            if next.phase != record.phase {
                tracing::info!("The arbitrator is {}", log.phase_text());
            }
            let differs = *record != next;
            *record = next;
            differs
        });
    }
}

/// Passes the process's lines on, to standard error as well. A pipe is read on a thread of its own, so that the process never
/// waits for a full one.
fn read_lines(output: PipeReader) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let shown = galera::log_line::single_line(&text);
            let _ = writeln!(std::io::stderr(), "garbd: {}", shown.trim_end());
            // Fails once the agent has ended.
            let _ = sender.blocking_send(text);
            line.clear();
        }
    });
    lines
}

fn raw_key(entry: &RegistryEntry) -> RawKeyValue {
    RawKeyValue {
        key: entry.key.clone(),
        value: entry.value.clone(),
        mod_revision: entry.mod_revision,
        lease: entry.lease,
        ttl: None,
    }
}
