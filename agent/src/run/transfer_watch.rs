//! Watches the full state transfer (SST) that the node receives or sends, through the processes of the server's script,
//! and publishes how far it is.

mod processes;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use galera::Timestamp;
use galera::observe::registration::TransferRecord;
use galera::observe::wsrep::LocalState;
use galera::view::{TransferKind, TransferRole};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::adopted_server::canonical;
use crate::clock::now;
use crate::observation::ServerState;
use processes::{ByteCounter, CountedProcess, ScriptProcess, TransferProcesses};

/// Between two looks at the processes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two changes of what is published.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(2);
/// Over how long a rate is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// Bytes below which a joiner's script is not yet known to receive all data: it also runs before an incremental transfer,
/// and then receives a few lines.
const RECEIVED_MIN: u64 = 1 << 20;
/// Files that are counted of a data directory, at most.
const FILES_MAX: usize = 200_000;

/// Watches the transfers of the server on one data directory.
#[derive(Debug)]
pub(super) struct TransferWatch {
    pub(super) directory: PathBuf,
    pub(super) server: watch::Receiver<ServerState>,
    /// The value of `transfer`; `None` without one.
    pub(super) publish: watch::Sender<Option<String>>,
}

/// A transfer that is under way.
#[derive(Debug)]
struct ActiveTransfer {
    script: ScriptProcess,
    since: Timestamp,
    bytes: ByteCounter,
    /// Whether the script has ended after it received everything.
    applying: bool,
    /// The data of a donor.
    total: Option<u64>,
    readings: VecDeque<(Instant, u64)>,
}

impl TransferWatch {
    /// Publishes until dropped.
    pub(super) async fn run(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut active: Option<ActiveTransfer> = None;
        let mut published_at: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let possible = may_transfer(&self.server.borrow());
            active = match possible {
                true => self.look(active.take()).await,
                false => None,
            };
            let value = active.as_ref().and_then(ActiveTransfer::record);
            let value = value.map(|record| record.to_value());
            let recent = published_at.is_some_and(|at| at.elapsed() < PUBLISH_INTERVAL);
            // An end is published immediately.
            if value.is_some() && recent {
                continue;
            }
            let changed = self.publish.send_if_modified(|published| {
                let differs = *published != value;
                *published = value;
                differs
            });
            if changed {
                published_at = Some(Instant::now());
            }
        }
    }

    /// The transfer as it is now. `/proc` and the directory may be slow.
    async fn look(&self, active: Option<ActiveTransfer>) -> Option<ActiveTransfer> {
        let directory = self.directory.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let found = TransferProcesses::read(&canonical(&directory));
            let Some(script) = found.script else {
                let received = active.filter(|active| active.has_received() && found.server);
                return received.map(|active| ActiveTransfer {
                    applying: true,
                    ..active
                });
            };
            let same = active.filter(|active| active.script == script);
            let mut active = same.unwrap_or_else(|| ActiveTransfer::new(script, &directory));
            active.update(&found.processes);
            Some(active)
        });
        // It fails only if it panicked, or while the agent ends.
        looked.await.ok().flatten()
    }
}

/// Whether a server in this state may send, receive or apply what it received.
fn may_transfer(server: &ServerState) -> bool {
    match server {
        ServerState::Unknown => false,
        ServerState::Offline(_)
        | ServerState::Notified { .. }
        | ServerState::Unreachable { .. } => true,
        ServerState::Responding { reading, .. } => !matches!(
            reading.status.local_state,
            Some(LocalState::Synced | LocalState::Joined)
        ),
    }
}

impl ActiveTransfer {
    fn new(script: ScriptProcess, directory: &Path) -> Self {
        let sends = script.role == TransferRole::Sends;
        Self {
            since: now(),
            bytes: ByteCounter::default(),
            applying: false,
            total: sends.then(|| data_size(directory)).flatten(),
            readings: VecDeque::new(),
            script,
        }
    }

    /// Whether it received all data, so that its server has to apply them when the script has ended.
    fn has_received(&self) -> bool {
        self.script.role == TransferRole::Receives && self.bytes.most() >= RECEIVED_MIN
    }

    fn update(&mut self, processes: &[CountedProcess]) {
        let bytes = self.bytes.update(processes);
        let at = Instant::now();
        self.readings.push_back((at, bytes));
        while self.readings.len() > 2
            && self
                .readings
                .front()
                .is_some_and(|(first, _)| at.duration_since(*first) > RATE_WINDOW)
        {
            self.readings.pop_front();
        }
    }

    /// What is published; `None` as long as nothing shows that all data are transferred.
    fn record(&self) -> Option<TransferRecord> {
        let done = self.bytes.most();
        if self.script.role == TransferRole::Receives && !self.has_received() {
            return None;
        }
        let (first, last) = self.readings.front().zip(self.readings.back())?;
        let seconds = last.0.duration_since(first.0).as_secs();
        Some(TransferRecord {
            kind: TransferKind::Sst,
            role: self.script.role,
            method: self.script.method.clone(),
            address: self.script.address.clone(),
            done,
            total: self.total.filter(|total| *total >= done),
            rate: (last.1.saturating_sub(first.1))
                .checked_div(seconds)
                .filter(|_| !self.applying),
            applying: self.applying,
            since: self.since,
        })
    }
}

/// About how many bytes a full transfer of the data in `directory` has: of files that belong to no database, such as the
/// write-set cache and what the agent keeps aside, none. `None` if there are too many files to count.
fn data_size(directory: &Path) -> Option<u64> {
    let mut total: u64 = 0;
    let mut files = 0;
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).ok()?.flatten() {
            files += 1;
            if files > FILES_MAX {
                return None;
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let excluded = [
                "galera.cache",
                "gcache.page.",
                ".galera-agent",
                "ib_logfile",
                "ibtmp",
            ];
            if excluded.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            // Links are not followed, and files may be removed meanwhile.
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                Ok(metadata) if metadata.is_file() => total = total.saturating_add(metadata.len()),
                _ => {}
            }
        }
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(role: TransferRole, readings: &[(u64, u64)]) -> ActiveTransfer {
        let began = Instant::now();
        let mut bytes = ByteCounter::default();
        for (_, done) in readings {
            bytes.update(&[processes::counted(7, 1, *done)]);
        }
        let at = |second: u64| began + Duration::from_secs(second);
        ActiveTransfer {
            script: ScriptProcess {
                pid: 6,
                started: 1,
                role,
                method: "rsync".to_owned(),
                address: None,
            },
            since: Timestamp::from_unix_millis(0),
            bytes,
            applying: false,
            total: Some(5 << 20),
            readings: readings
                .iter()
                .map(|(second, done)| (at(*second), *done))
                .collect(),
        }
    }

    #[test]
    fn a_joiner_that_received_a_few_lines_receives_no_full_transfer() {
        let few = transfer(TransferRole::Receives, &[(0, 0), (4, RECEIVED_MIN - 1)]);
        assert_eq!(few.record(), None);
        let all = transfer(TransferRole::Receives, &[(0, 0), (4, 4 << 20)]);
        let record = all.record().unwrap();
        assert_eq!((record.done, record.rate), (4 << 20, Some(1 << 20)));
        let waits = transfer(TransferRole::Sends, &[(0, 0), (4, 0)])
            .record()
            .unwrap();
        assert_eq!((waits.done, waits.rate), (0, Some(0)));
    }

    #[test]
    fn a_total_that_was_passed_is_unknown() {
        let more = transfer(TransferRole::Sends, &[(0, 0), (1, 6 << 20)]);
        assert_eq!(more.record().unwrap().total, None);
    }

    #[test]
    fn the_size_of_data_leaves_out_what_is_not_transferred() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, length: usize| {
            std::fs::write(directory.path().join(name), vec![0_u8; length]).unwrap();
        };
        assert_eq!(data_size(directory.path()), None);
        std::fs::create_dir(directory.path().join("db")).unwrap();
        write("db/t.ibd", 100);
        write("ibdata1", 30);
        write("galera.cache", 1_000);
        write("ib_logfile0", 1_000);
        write(".galera-agent.json", 1_000);
        assert_eq!(data_size(directory.path()), Some(130));
        assert_eq!(data_size(&directory.path().join("gone")), None);
    }
}
