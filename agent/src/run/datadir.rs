//! Inspects the data directory. Inspection changes nothing in it but the agent's lock file.

mod unfinished;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use galera::observe::registration::MembersSeen;
use galera::observe::saved_state::{GraState, GvwState};
use galera::startup::DataState;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::error::RunError;
use super::identity::DataIdentity;

const LOCK_FILE: &str = ".galera-agent.lock";
/// Exists while the directory is being initialized; everything in it then comes from the initialization.
const INITIALIZING_FILE: &str = ".galera-agent-initializing";
/// Largest state file that is read, in bytes; real ones have a few hundred.
const STATE_MAX: u64 = 64 * 1024;

/// The data directory, locked by this agent.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    // Locked until the process exits, however it exits.
    _lock: File,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataDirContents {
    /// What it means for the start decision.
    pub(super) data: DataState,
    /// The identity of the data; `None` if it never had one.
    pub(super) identity: Option<DataIdentity>,
    /// Whether an initialization was interrupted; its leftovers must be removed.
    pub(super) interrupted_init: bool,
    /// Whether a first join was interrupted; what it left behind must be set aside.
    pub(super) unfinished_join: bool,
}

impl DataDir {
    /// Opens and locks `path`, and checks that no server uses it, unless it is known to be `served`.
    ///
    /// # Errors
    /// [`RunError::Refused`] if the directory is missing or holds something else, [`RunError::PermissionDenied`]
    /// without permission, [`RunError::Unavailable`] if it is in use.
    pub(super) fn open(path: &Path, served: bool) -> Result<Self, RunError> {
        let names = file_names(path)?;
        let own = names.iter().any(|name| name.starts_with(".galera-agent"));
        let database = ["mysql", "ibdata1", "grastate.dat"];
        let known = names.iter().any(|name| database.contains(&name.as_str()));
        let foreign = names.iter().find(|name| !is_ignored(name));
        if let Some(name) = foreign.filter(|_| !own && !known) {
            return Err(RunError::Refused(format!(
                "{} is not a database's data directory: it contains {name:?}; empty it or use another directory",
                path.display()
            )));
        }
        if let Some(pid) = lock_holder(path).filter(|_| !served) {
            return Err(RunError::Unavailable(format!(
                "{} is in use by process {pid}; stop that server first",
                path.display()
            )));
        }
        let file = path.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&file)
            .map_err(|error| {
                RunError::from_io("cannot write to the data directory:", &file, &error)
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_path_buf(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(RunError::Unavailable(format!(
                "{} is in use by another galera-agent",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(RunError::from_io("cannot lock", &file, &error)),
        }
    }

    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the identity of the data; `None` if it never had one.
    ///
    /// # Errors
    /// [`RunError::Refused`] for another cluster's data.
    pub(super) fn identity(&self, cluster: &str) -> Result<Option<DataIdentity>, RunError> {
        let identity = DataIdentity::read(&self.path)?;
        if let Some(identity) = &identity {
            self.check_cluster(identity, cluster)?;
        }
        Ok(identity)
    }

    fn check_cluster(&self, identity: &DataIdentity, cluster: &str) -> Result<(), RunError> {
        match identity.cluster == cluster {
            true => Ok(()),
            false => Err(RunError::Refused(format!(
                "{} holds data of cluster {:?} while CLUSTER_NAME is {cluster}; correct one of them",
                self.path.display(),
                identity.cluster
            ))),
        }
    }

    /// Inspects the contents while no server uses them.
    ///
    /// # Errors
    /// [`RunError::Refused`] for a stand-alone database or another cluster's data.
    pub(super) fn examine(&self, cluster: &str) -> Result<DataDirContents, RunError> {
        let names = file_names(&self.path)?;
        let identity = self.identity(cluster)?;
        let found = |data, remains| DataDirContents {
            data,
            identity: identity.clone(),
            interrupted_init: remains,
            unfinished_join: false,
        };
        if self.is_keeping() {
            // What is left of the former data is moved before anything else.
            return Ok(found(DataState::Empty, false));
        }
        if names.iter().any(|name| name == INITIALIZING_FILE) {
            return Ok(found(DataState::Empty, true));
        }
        if names.iter().all(|name| is_ignored(name)) {
            return Ok(found(DataState::Empty, false));
        }
        // A completed state transfer leaves a history in grastate.dat.
        if let Some(joining) = self.unfinished_join()?
            && self.saved_state()?.uuid.is_none()
        {
            let identity = identity.unwrap_or(joining);
            self.check_cluster(&identity, cluster)?;
            return Ok(DataDirContents {
                data: DataState::Empty,
                identity: Some(identity),
                interrupted_init: false,
                unfinished_join: true,
            });
        }
        let prepared = identity.as_ref().is_some_and(|identity| identity.prepared);
        match self
            .read_state_file("grastate.dat")?
            .map(|bytes| data_from_grastate(&bytes))
        {
            // The first start failed before there was a history.
            Some(DataState::Incomplete { .. } | DataState::Unrecovered { uuid: None })
                if prepared =>
            {
                Ok(found(DataState::Empty, false))
            }
            Some(data) => Ok(found(data, false)),
            None if prepared => Ok(found(DataState::Empty, false)),
            None if identity.is_some() => {
                let why = "grastate.dat is missing".to_owned();
                Ok(found(DataState::Incomplete { why }, false))
            }
            None => Err(RunError::Refused(format!(
                "{} holds a database that was never part of a Galera cluster; the agent neither founds a cluster from it nor \
                 replaces it; use an empty directory and import the data",
                self.path.display()
            ))),
        }
    }

    /// The parsed grastate.dat; the default if it is missing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn saved_state(&self) -> Result<GraState, RunError> {
        let bytes = self.read_state_file("grastate.dat")?.unwrap_or_default();
        Ok(GraState::parse(&bytes))
    }

    /// Sets `safe_to_bootstrap` in grastate.dat, which `--wsrep-new-cluster` requires.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn allow_bootstrap(&self) -> Result<(), RunError> {
        self.replace_saved_line("safe_to_bootstrap", "safe_to_bootstrap: 1")
    }

    /// Removes the sequence number from grastate.dat, so that the server requests a full state transfer when it joins:
    /// from a wrong position it would receive only what it lacks after that, and miss the rest unnoticed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn forget_position(&self) -> Result<(), RunError> {
        self.replace_saved_line("seqno", "seqno:   -1")
    }

    fn replace_saved_line(&self, name: &str, replacement: &str) -> Result<(), RunError> {
        let Some(bytes) = self.read_state_file("grastate.dat")? else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\0', '\n', ' ']);
        let mut lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with(name))
            .collect();
        lines.push(replacement);
        let path = self.path.join("grastate.dat");
        // In place, as the server writes it: keeps the file's owner and its lock.
        fs::write(&path, format!("{}\n", lines.join("\n")))
            .map_err(|error| RunError::from_io("cannot write", &path, &error))
    }

    /// How many members the data last had around them, by gvwstate.dat and by the `configured` number; and a remark if that
    /// file is damaged, which then shows a lower bound at most.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn members_seen(
        &self,
        configured: usize,
    ) -> Result<(MembersSeen, Option<String>), RunError> {
        let view = self.read_state_file("gvwstate.dat")?;
        let view = view.map(|bytes| GvwState::parse(&bytes));
        let remark = view.as_ref().filter(|view| !view.complete).map(|view| {
            let path = self.path.join("gvwstate.dat");
            let damaged = format!("{} is empty, truncated or damaged", path.display());
            match view.members_at_least {
                0 => format!("{damaged}: how many members the last view had is unknown"),
                count => format!(
                    "{damaged}: whether the last view had more members than {count} is unknown"
                ),
            }
        });
        Ok((MembersSeen::new(view.as_ref(), configured), remark))
    }

    /// Renames a truncated gvwstate.dat, with which no server starts. Returns its new path.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub(super) fn set_aside_broken_view(&self) -> Result<Option<PathBuf>, RunError> {
        let Some(bytes) = self.read_state_file("gvwstate.dat")? else {
            return Ok(None);
        };
        if GvwState::parse(&bytes).startable {
            return Ok(None);
        }
        let (path, aside) = (
            self.path.join("gvwstate.dat"),
            self.path.join("gvwstate.dat.broken"),
        );
        fs::rename(&path, &aside)
            .map_err(|error| RunError::from_io("cannot rename", &path, &error))?;
        Ok(Some(aside))
    }

    /// Marks the beginning of an initialization. The directory must be empty.
    ///
    /// # Errors
    /// If it is not empty or cannot be written.
    pub(super) fn begin_initialization(&self) -> Result<(), RunError> {
        let path = self.path.join(INITIALIZING_FILE);
        if let Some(name) = file_names(&self.path)?
            .iter()
            .find(|name| !is_ignored(name))
        {
            return Err(RunError::Internal(format!(
                "{} is no longer empty: it contains {name}",
                self.path.display()
            )));
        }
        File::create(&path)
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| RunError::from_io("cannot create", &path, &error))
    }

    /// Removes the mark of an initialization.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(super) fn finish_initialization(&self) -> Result<(), RunError> {
        let path = self.path.join(INITIALIZING_FILE);
        fs::remove_file(&path)
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| RunError::from_io("cannot remove", &path, &error))
    }

    /// Removes an initialization by this agent, complete or not, that no server has used.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub(super) fn discard_initialization(&self) -> Result<(), RunError> {
        for name in file_names(&self.path)?
            .iter()
            .filter(|name| !is_ignored(name))
        {
            let path = self.path.join(name);
            let removed = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
            removed.map_err(|error| RunError::from_io("cannot remove", &path, &error))?;
        }
        match self.path.join(INITIALIZING_FILE).exists() {
            true => self.finish_initialization(),
            false => Ok(()),
        }
    }

    fn read_state_file(&self, name: &str) -> Result<Option<Vec<u8>>, RunError> {
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(STATE_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RunError::from_io("cannot read", &path, &error)),
        }
    }
}

/// Derives the state of the data from grastate.dat.
fn data_from_grastate(bytes: &[u8]) -> DataState {
    let state = GraState::parse(bytes);
    match state.uuid {
        // Also where it names a sequence number: only the storage engine knows what the tables have (I39).
        Some(uuid) => DataState::Unrecovered { uuid: Some(uuid) },
        // A complete file with a nil UUID marks an interrupted state transfer or a crash during DDL.
        None if state.version.is_some() => DataState::Incomplete {
            why: "grastate.dat names no history".to_owned(),
        },
        None => DataState::Unrecovered { uuid: None },
    }
}

/// Names that any empty directory may contain.
pub(super) fn is_ignored(name: &str) -> bool {
    name == "lost+found" || name.starts_with(".galera-agent") || name.starts_with(".nfs")
}

pub(super) fn file_names(path: &Path) -> Result<Vec<String>, RunError> {
    let entries = fs::read_dir(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => RunError::Refused(format!(
            "the data directory {} does not exist; create it for the database's user",
            path.display()
        )),
        _ => RunError::from_io("cannot read the data directory", path, &error),
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| RunError::from_io("cannot read", path, &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The process that holds the database's file locks. The provider locks grastate.dat first, before a state transfer
/// brings the rest.
fn lock_holder(path: &Path) -> Option<i32> {
    ["grastate.dat", "ibdata1", "aria_log_control"]
        .into_iter()
        .find_map(|name| {
            let file = File::open(path.join(name)).ok()?;
            let lock = fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)).ok()??;
            lock.pid.map(|pid| pid.as_raw_nonzero().get())
        })
}

#[cfg(test)]
mod tests;
