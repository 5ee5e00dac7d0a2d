//! What the data directory holds, read without changing anything in it but our own lock file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use galera::observe::saved_state::{GraState, GvwState};
use galera::startup::DataState;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::error::RunError;
use super::identity::DataIdentity;

const LOCK_FILE: &str = ".galera-agent.lock";
/// While it exists, the directory is being initialized, and everything in it was made by that.
const INITIALIZING_FILE: &str = ".galera-agent-initializing";
/// Largest state file that is read, in bytes: the real ones have a few hundred.
const STATE_MAX: u64 = 64 * 1024;

/// The data directory, held by this agent alone.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    // Held locked as long as this agent lives, however it ends.
    _lock: File,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataDirContents {
    /// What it means for starting.
    pub(super) data: DataState,
    /// The data's identity; `None` when they never had one.
    pub(super) identity: Option<DataIdentity>,
    /// Whether an initialization was interrupted; what it left must go.
    pub(super) interrupted_init: bool,
}

impl DataDir {
    /// Opens `path` and makes sure that no server and no other agent uses it; while it is `served` already, a server may.
    ///
    /// # Errors
    /// [`RunError::Refused`] for a directory that is missing or holds something else, [`RunError::PermissionDenied`] without
    /// permission, [`RunError::Unavailable`] when it is in use.
    pub(super) fn open(path: &Path, served: bool) -> Result<Self, RunError> {
        let names = file_names(path)?;
        let own = names.iter().any(|name| name.starts_with(".galera-agent"));
        let database = ["mysql", "ibdata1", "grastate.dat"];
        let known = names.iter().any(|name| database.contains(&name.as_str()));
        let foreign = names.iter().find(|name| !is_ignored(name));
        if let Some(name) = foreign.filter(|_| !own && !known) {
            return Err(RunError::Refused(format!(
                "{} is no database's data directory: it holds {name:?}; name another directory or empty it",
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
                RunError::from_io("the data directory cannot be written:", &file, &error)
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

    /// Where it is.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads whose the data are; `None` when they never had an identity.
    ///
    /// # Errors
    /// [`RunError::Refused`] for another cluster's data.
    pub(super) fn identity(&self, cluster: &str) -> Result<Option<DataIdentity>, RunError> {
        let identity = DataIdentity::read(&self.path)?;
        match identity.as_ref().filter(|known| known.cluster != cluster) {
            Some(identity) => Err(RunError::Refused(format!(
                "{} holds data of cluster {:?} while CLUSTER_NAME is {cluster}; correct one of them",
                self.path.display(),
                identity.cluster
            ))),
            None => Ok(identity),
        }
    }

    /// Looks what it holds while no server uses it.
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
        };
        if names.iter().any(|name| name == INITIALIZING_FILE) {
            return Ok(found(DataState::Empty, true));
        }
        if names.iter().all(|name| is_ignored(name)) {
            return Ok(found(DataState::Empty, false));
        }
        let prepared = identity.as_ref().is_some_and(|identity| identity.prepared);
        match self
            .read_state_file("grastate.dat")?
            .map(|bytes| data_from_grastate(&bytes))
        {
            // A first start that failed before there was a history.
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
                "{} holds a database that never was in a Galera cluster; this agent neither founds a cluster from it nor \
                 replaces it; name an empty directory and import the data",
                self.path.display()
            ))),
        }
    }

    /// grastate.dat, understood; the default when it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn saved_state(&self) -> Result<GraState, RunError> {
        let bytes = self.read_state_file("grastate.dat")?.unwrap_or_default();
        Ok(GraState::parse(&bytes))
    }

    /// Says in grastate.dat that the next start may found: what `--wsrep-new-cluster` asks for.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn allow_bootstrap(&self) -> Result<(), RunError> {
        let Some(bytes) = self.read_state_file("grastate.dat")? else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\0', '\n', ' ']);
        let mut lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("safe_to_bootstrap"))
            .collect();
        lines.push("safe_to_bootstrap: 1");
        let path = self.path.join("grastate.dat");
        // In place, as the server does it: the file keeps its owner and its lock.
        fs::write(&path, format!("{}\n", lines.join("\n")))
            .map_err(|error| RunError::from_io("cannot write", &path, &error))
    }

    /// Puts a saved view aside that is cut off, because no server starts with one. Returns its new name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(super) fn set_aside_broken_view(&self) -> Result<Option<PathBuf>, RunError> {
        let Some(bytes) = self.read_state_file("gvwstate.dat")? else {
            return Ok(None);
        };
        if GvwState::parse(&bytes).complete {
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
    /// When it is not, or cannot be written.
    pub(super) fn begin_initialization(&self) -> Result<(), RunError> {
        let path = self.path.join(INITIALIZING_FILE);
        if let Some(name) = file_names(&self.path)?
            .iter()
            .find(|name| !is_ignored(name))
        {
            return Err(RunError::Internal(format!(
                "{} is not empty any more: {name}",
                self.path.display()
            )));
        }
        File::create(&path)
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| RunError::from_io("cannot create", &path, &error))
    }

    /// Marks its end.
    ///
    /// # Errors
    /// When the mark cannot be removed.
    pub(super) fn finish_initialization(&self) -> Result<(), RunError> {
        let path = self.path.join(INITIALIZING_FILE);
        fs::remove_file(&path)
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| RunError::from_io("cannot remove", &path, &error))
    }

    /// Removes what this agent itself made in an empty directory: an initialization, finished or not, that no server
    /// ever ran on.
    ///
    /// # Errors
    /// When something cannot be removed.
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

/// What grastate.dat says of the data.
fn data_from_grastate(bytes: &[u8]) -> DataState {
    let state = GraState::parse(bytes);
    match (state.uuid, state.position()) {
        (_, Some(position)) => DataState::AtPosition(position),
        (Some(uuid), None) => DataState::Unrecovered { uuid: Some(uuid) },
        // A whole file with a nil UUID is how an interrupted transfer or a crash within DDL is marked.
        (None, None) if state.version.is_some() => DataState::Incomplete {
            why: "grastate.dat names no history".to_owned(),
        },
        (None, None) => DataState::Unrecovered { uuid: None },
    }
}

/// Names that say nothing about whose directory it is.
fn is_ignored(name: &str) -> bool {
    name == "lost+found" || name.starts_with(".galera-agent") || name.starts_with(".nfs")
}

fn file_names(path: &Path) -> Result<Vec<String>, RunError> {
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

/// The process that holds the database's own locks. The provider's comes first, before a state transfer brings the rest.
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
