//! The processes of a state transfer, as `/proc` shows them to the user that runs the server.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use galera::view::TransferRole;

use super::super::adopted_server::DATA_VARIABLE;

/// Begins the names of the server's scripts for state transfers.
const SCRIPT: &str = "wsrep_sst_";
/// Programs that read or write all data once, by the name of their process. Those in the same pipe that only pass them on
/// are not counted.
const COUNTED: [&str; 8] = [
    "rsync",
    "mbstream",
    "xbstream",
    "mariabackup",
    "mariadb-backup",
    "xtrabackup",
    "mysqldump",
    "mariadb-dump",
];

/// The script of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScriptProcess {
    pub(super) pid: i32,
    /// When it started, in the kernel's ticks: a process id is used again.
    pub(super) started: u64,
    pub(super) role: TransferRole,
    pub(super) method: String,
    /// Where the joiner receives: host, and port if it is known.
    pub(super) address: Option<String>,
}

/// A process that transfers data.
#[derive(Clone, Debug)]
pub(super) struct CountedProcess {
    pid: i32,
    started: u64,
    parent: i32,
    program: String,
    /// Bytes that it has written, to files, pipes and sockets, with those of its children that it waited for.
    written: u64,
}

/// The processes of the server on a data directory.
#[derive(Debug)]
pub(super) struct TransferProcesses {
    /// Whether the server itself runs.
    pub(super) server: bool,
    /// The script of a full transfer, if there is one.
    pub(super) script: Option<ScriptProcess>,
    pub(super) processes: Vec<CountedProcess>,
}

/// One process of the server on a data directory.
struct OwnProcess {
    pid: i32,
    parent: i32,
    started: u64,
    program: String,
    arguments: Vec<String>,
}

impl TransferProcesses {
    /// The processes of the server on `directory`, the path as in the server's environment.
    pub(super) fn read(directory: &Path) -> Self {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let own: Vec<OwnProcess> = pids
            .filter_map(|pid| OwnProcess::read(pid, directory))
            .collect();
        // A subshell has the arguments of its script.
        let script = own.iter().filter(|process| process.is_script());
        let script = script
            .filter_map(OwnProcess::script)
            .min_by_key(|script| script.started);
        Self {
            server: own.iter().any(OwnProcess::is_server),
            script,
            processes: own.iter().filter_map(OwnProcess::counted).collect(),
        }
    }
}

impl OwnProcess {
    /// Process `pid`, if it was started for `directory` and has not exited.
    fn read(pid: i32, directory: &Path) -> Option<Self> {
        let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        // Readable by the same user only; empty once it has exited.
        let environment = file("environ")?;
        let marked = environment.split(|byte| *byte == 0).any(|variable| {
            let value = std::str::from_utf8(variable).ok();
            let value = value.and_then(|text| text.strip_prefix(DATA_VARIABLE)?.strip_prefix('='));
            value.map(Path::new) == Some(directory)
        });
        if !marked {
            return None;
        }
        let stat = String::from_utf8_lossy(&file("stat")?).into_owned();
        let (head, rest) = stat.rsplit_once(") ")?;
        let program = head.split_once('(')?.1.to_owned();
        // State, parent, …; the 22nd field of all is the time of the start.
        let fields: Vec<&str> = rest.split(' ').collect();
        if matches!(fields.first()?, &"Z" | &"X") {
            return None;
        }
        let arguments = file("cmdline").unwrap_or_default();
        let arguments = arguments.split(|byte| *byte == 0);
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            program,
            arguments: arguments
                .map(|argument| String::from_utf8_lossy(argument).into_owned())
                .collect(),
        })
    }

    /// The method, if it runs one of the server's scripts.
    fn method(&self) -> Option<&str> {
        // The interpreter and its options may come first.
        let mut first = self.arguments.iter().take(4);
        first.find_map(|argument| {
            let name = argument.rsplit('/').next().unwrap_or_default();
            name.strip_prefix(SCRIPT)
        })
    }

    fn is_server(&self) -> bool {
        let mut arguments = self.arguments.iter();
        // A script gets the server's arguments after its own.
        !self.is_script() && arguments.any(|argument| argument.starts_with("--wsrep-notify-cmd="))
    }

    fn is_script(&self) -> bool {
        self.method().is_some()
    }

    fn value(&self, option: &str) -> Option<&str> {
        let mut arguments = self.arguments.iter();
        arguments.find(|argument| *argument == option)?;
        arguments.next().map(String::as_str)
    }

    /// The script of a full transfer: one that only announces an incremental one has `--bypass`.
    fn script(&self) -> Option<ScriptProcess> {
        let role = match self.value("--role")? {
            "joiner" => TransferRole::Receives,
            "donor" => TransferRole::Sends,
            _ => return None,
        };
        if self.arguments.iter().any(|argument| argument == "--bypass") {
            return None;
        }
        // A donor gets the joiner's address with a path.
        let address = self.value("--address");
        let address = address.and_then(|address| address.split('/').next());
        Some(ScriptProcess {
            pid: self.pid,
            started: self.started,
            role,
            method: self.method()?.to_owned(),
            address: address
                .filter(|address| !address.is_empty())
                .map(str::to_owned),
        })
    }

    fn counted(&self) -> Option<CountedProcess> {
        if !COUNTED.contains(&self.program.as_str()) {
            return None;
        }
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid)).ok()?;
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: "))?;
        Some(CountedProcess {
            pid: self.pid,
            started: self.started,
            parent: self.parent,
            program: self.program.clone(),
            written: written.trim().parse().ok()?,
        })
    }
}

/// Counts the bytes of a transfer over all its processes, those that have exited included.
#[derive(Debug, Default)]
pub(super) struct ByteCounter {
    live: HashMap<(i32, u64), CountedProcess>,
    /// Bytes of processes that have exited, by program.
    exited: HashMap<String, u64>,
    most: u64,
}

impl ByteCounter {
    /// Adds what `processes` have done since. Returns the bytes so far, which never fall.
    pub(super) fn update(&mut self, processes: &[CountedProcess]) -> u64 {
        let now: HashMap<(i32, u64), CountedProcess> = processes
            .iter()
            .map(|process| ((process.pid, process.started), process.clone()))
            .collect();
        for (key, process) in &self.live {
            if !now.contains_key(key) && !self.is_added_to_ancestor(process, &now) {
                *self.exited.entry(process.program.clone()).or_default() += process.written;
            }
        }
        self.live = now;
        let mut of_programs = self.exited.clone();
        for process in self.live.values() {
            let written = of_programs.entry(process.program.clone()).or_default();
            *written = written.saturating_add(process.written);
        }
        // Several programs of one transfer write the same data.
        self.most = of_programs.into_values().fold(self.most, u64::max);
        self.most
    }

    /// Whether a counted process of `now` has what `process` did: the kernel adds it to a parent that waited, and with
    /// that to the parent's own.
    fn is_added_to_ancestor(
        &self,
        process: &CountedProcess,
        now: &HashMap<(i32, u64), CountedProcess>,
    ) -> bool {
        let mut parent = process.parent;
        // Bounded, since parents that have exited can be read inconsistently.
        for _ in 0..=self.live.len() {
            let mut living = now.values();
            if living.any(|one| one.pid == parent && one.program == process.program) {
                return true;
            }
            let mut exited = self.live.values();
            match exited.find(|one| one.pid == parent) {
                Some(one) => parent = one.parent,
                None => return false,
            }
        }
        false
    }

    /// The bytes so far.
    pub(super) const fn most(&self) -> u64 {
        self.most
    }
}

#[cfg(test)]
pub(super) fn counted(pid: i32, parent: i32, written: u64) -> CountedProcess {
    CountedProcess {
        pid,
        started: 1,
        parent,
        program: "rsync".to_owned(),
        written,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::super::super::adopted_server::canonical;
    use super::*;

    #[test]
    fn bytes_of_processes_that_exited_are_kept_once() {
        let mut bytes = ByteCounter::default();
        assert_eq!(bytes.update(&[counted(1, 0, 10), counted(2, 1, 90)]), 100);
        // Its parent has waited for process 2.
        assert_eq!(bytes.update(&[counted(1, 0, 100)]), 100);
        assert_eq!(bytes.update(&[counted(1, 0, 100), counted(3, 9, 40)]), 140);
        // No counted process waits for process 3.
        assert_eq!(bytes.update(&[counted(1, 0, 110)]), 150);
        assert_eq!(bytes.update(&[]), 150);
        let again = CountedProcess {
            started: 2,
            ..counted(1, 0, 5)
        };
        assert_eq!(bytes.update(&[again]), 155, "a process id is used again");
    }

    #[test]
    fn bytes_of_grandchildren_are_kept_once() {
        let mut bytes = ByteCounter::default();
        let all = [counted(1, 0, 0), counted(2, 1, 5), counted(3, 2, 90)];
        assert_eq!(bytes.update(&all), 95);
        // Process 2 waited for 3, and 1 for 2.
        assert_eq!(bytes.update(&[counted(1, 0, 95)]), 95);
    }

    #[test]
    fn programs_that_pass_the_same_data_on_count_once() {
        let other = CountedProcess {
            program: "mbstream".to_owned(),
            ..counted(2, 0, 120)
        };
        assert_eq!(
            ByteCounter::default().update(&[counted(1, 0, 100), other]),
            120
        );
    }

    struct ScriptProcess(Child);

    impl ScriptProcess {
        fn new(directory: &Path, name: &str, arguments: &[&str]) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "read line; exit 0", name]);
            let child = command
                .args(arguments)
                .env(DATA_VARIABLE, canonical(directory))
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            // The process exists before the kernel shows its new arguments.
            let file = format!("/proc/{}/cmdline", child.id());
            let deadline = Instant::now() + Duration::from_secs(30);
            while !fs::read(&file).is_ok_and(|text| text.starts_with(b"sh\0")) {
                assert!(Instant::now() < deadline, "no {file}");
                std::thread::yield_now();
            }
            Self(child)
        }
    }

    impl Drop for ScriptProcess {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_script_shows_role_method_and_address() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directory = canonical(own.path());
        let donor = ["--role", "donor", "--address", "10.0.0.3:4444/rsync_sst"];
        let _elsewhere = ScriptProcess::new(other.path(), "/usr/bin/wsrep_sst_rsync", &donor);
        assert_eq!(TransferProcesses::read(&directory).script, None);
        let bypass = [&donor[..], &["--bypass"]].concat();
        let _announced = ScriptProcess::new(own.path(), "/usr/bin/wsrep_sst_rsync", &bypass);
        assert_eq!(TransferProcesses::read(&directory).script, None);
        let _script = ScriptProcess::new(own.path(), "/usr/bin/wsrep_sst_mariabackup", &donor);
        let script = TransferProcesses::read(&directory).script.unwrap();
        assert_eq!(script.role, TransferRole::Sends);
        assert_eq!(script.method, "mariabackup");
        assert_eq!(script.address.as_deref(), Some("10.0.0.3:4444"));
    }
}
