//! Keeps the data of a node aside, so that it can join empty: nothing is deleted, and a crash at any point is completed at
//! the next start.
//!
//! The directory stays on the same file system, because the data are renamed, not copied: beside the data directory where
//! the agent may write there, otherwise inside it. There `wsrep_sst_rsync` would delete it at the joiner, and
//! `wsrep_sst_mariabackup` spares what [`PRESERVED`] matches.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::command::ServerVariables;
use super::datadir::{DataDir, file_names, is_ignored};
use super::error::RunError;
use super::identity::DataIdentity;
use crate::clock::now;

/// Directory inside the data directory. The suffix is among those that `wsrep_sst_mariabackup` spares by default, also when
/// a server is started without the agent.
pub(super) const INSIDE: &str = ".galera-agent-kept.sst";
/// `[sst] cpat` of `wsrep_sst_mariabackup`: its own default, and [`INSIDE`].
pub(super) const PRESERVED: &str = r".*\.pem$\|.*galera\.cache$\|.*sst_in_progress$\|.*\.sst$\|.*gvwstate\.dat$\|.*grastate\.dat$\|.*\.err$\|.*\.log$\|.*RPM_UPGRADE_MARKER$\|.*RPM_UPGRADE_HISTORY$\|.*/\.galera-agent-kept\.sst$";
/// Exists while data are being kept aside. It names where, and the data.
const MARK_FILE: &str = ".galera-agent-keeping.json";
/// Kept directories that one node has at most.
const KEPT_MAX: usize = 3;
/// What the new data may need in addition to the size of the old ones: a twentieth.
const HEADROOM: u64 = 20;

/// Data that are being kept aside.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeepingMark {
    /// The directory that holds them afterwards.
    directory: PathBuf,
    /// The identity of the data.
    data_id: String,
}

impl KeepingMark {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
        Some(Self {
            directory: text("directory").filter(|path| !path.is_empty())?.into(),
            data_id: text("data_id")?,
        })
    }
}

impl DataDir {
    /// Why the data cannot be kept aside, with the remedy; `None` if they can.
    pub(super) fn keep_obstacle(&self, variables: &ServerVariables) -> Option<String> {
        self.usable_place(variables).err()
    }

    /// Moves the data, with their identity, into a new kept directory and gives this directory the identity `fresh`. Returns
    /// the kept directory.
    ///
    /// # Errors
    /// [`RunError::Unavailable`] with the obstacle if there is one now; nothing was changed then. Otherwise if a file cannot be
    /// moved; the next start continues.
    pub(super) fn keep_aside(
        &self,
        variables: &ServerVariables,
        data_id: &str,
        fresh: &DataIdentity,
    ) -> Result<PathBuf, RunError> {
        let place = self.usable_place(variables);
        let place = place.map_err(RunError::Unavailable)?;
        let name = now().to_string().replace(':', "");
        let directory = place.join(name);
        let mark = KeepingMark {
            directory: directory.clone(),
            data_id: data_id.to_owned(),
        };
        self.write_mark(&mark)?;
        self.complete(&mark, fresh)?;
        Ok(directory)
    }

    /// Whether an earlier agent began to keep the data aside and did not complete it.
    pub(super) fn is_keeping(&self) -> bool {
        self.path().join(MARK_FILE).exists()
    }

    /// Completes what an earlier agent began. Returns the identity of this directory if there was something.
    ///
    /// # Errors
    /// If a file cannot be moved, or the mark is unreadable.
    pub(super) fn finish_keeping(&self, cluster: &str) -> Result<Option<DataIdentity>, RunError> {
        let path = self.path().join(MARK_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RunError::from_io("cannot read", &path, &error)),
        };
        let mark = KeepingMark::parse(&bytes).ok_or_else(|| {
            RunError::Refused(format!(
                "{} is unreadable: the data were being kept aside; move the rest of the directory to where the other files \
                 are, then remove this file",
                path.display()
            ))
        })?;
        let current = self.identity(cluster)?;
        let fresh = match current.filter(|identity| identity.id != mark.data_id) {
            // Only the mark was left.
            Some(fresh) => fresh,
            None => DataIdentity::new(cluster)?,
        };
        self.complete(&mark, &fresh)?;
        tracing::info!(
            "Completed keeping the former data aside in {}",
            mark.directory.display()
        );
        Ok(Some(fresh))
    }

    /// Whether kept directories lie inside the data directory.
    pub(super) fn has_kept_inside(&self) -> bool {
        self.path().join(INSIDE).is_dir()
    }

    fn write_mark(&self, mark: &KeepingMark) -> Result<(), RunError> {
        let path = self.path().join(MARK_FILE);
        let new = path.with_extension("json.new");
        let directory = mark.directory.to_str().ok_or_else(|| {
            RunError::Refused(format!("{} is not UTF-8", mark.directory.display()))
        })?;
        let text = json!({ "directory": directory, "data_id": mark.data_id });
        File::create(&new)
            .and_then(|mut file| {
                file.write_all(format!("{text}\n").as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(self.path())?.sync_all())
            .map_err(|error| RunError::from_io("cannot write", &path, &error))
    }

    /// Every step may have been done already.
    fn complete(&self, mark: &KeepingMark, fresh: &DataIdentity) -> Result<(), RunError> {
        let kept = &mark.directory;
        fs::create_dir_all(kept)
            .map_err(|error| RunError::from_io("cannot create", kept, &error))?;
        for name in file_names(self.path())?
            .iter()
            .filter(|name| !is_ignored(name))
        {
            let (from, to) = (self.path().join(name), kept.join(name));
            if to.symlink_metadata().is_ok() {
                return Err(RunError::Refused(format!(
                    "{} and {} both exist; keep one of them elsewhere, then start again",
                    from.display(),
                    to.display()
                )));
            }
            fs::rename(&from, &to)
                .map_err(|error| RunError::from_io("cannot move", &from, &error))?;
        }
        if let Some(identity) = DataIdentity::read(self.path())?
            && identity.id == mark.data_id
        {
            // The kept data stay what they are, and are recognized wherever they are started.
            identity.write(kept)?;
        }
        let parents = [Some(kept.as_path()), kept.parent(), Some(self.path())];
        for directory in parents.into_iter().flatten() {
            File::open(directory)
                .and_then(|opened| opened.sync_all())
                .map_err(|error| RunError::from_io("cannot write", directory, &error))?;
        }
        fresh.write(self.path())?;
        let path = self.path().join(MARK_FILE);
        fs::remove_file(&path)
            .and_then(|()| File::open(self.path())?.sync_all())
            .map_err(|error| RunError::from_io("cannot remove", &path, &error))
    }

    /// The directory for kept directories, or why there is none.
    fn usable_place(&self, variables: &ServerVariables) -> Result<PathBuf, String> {
        let path = self.path().display();
        if let Some(outside) = variables.outside_datadir.first() {
            return Err(format!(
                "{outside} lies outside {path}, so that moving this directory does not keep all data; keep them aside by hand"
            ));
        }
        let size = data_size(self.path())?;
        let places = self.places(&variables.sst_method);
        let kept: Vec<PathBuf> = places
            .iter()
            .flat_map(|place| subdirectories(place))
            .collect();
        if kept.len() >= KEPT_MAX {
            return Err(format!(
                "{} earlier directories are kept already, the oldest in {}; remove those that are no longer needed",
                kept.len(),
                kept[0].display()
            ));
        }
        let free = rustix::fs::statvfs(self.path())
            .map(|volume| volume.f_bavail.saturating_mul(volume.f_frsize))
            .map_err(|error| format!("the free space of {path} cannot be read: {error}"))?;
        let needed = size.saturating_add(size / HEADROOM);
        if free < needed {
            return Err(format!(
                "{path} has {size} bytes of data and its volume {free} bytes free, which is too little for the cluster's \
                 data beside them; enlarge the volume, or keep the data aside on another one by hand"
            ));
        }
        let mut problems = Vec::new();
        for place in &places {
            match self.try_rename_to(place) {
                Ok(()) => return Ok(place.clone()),
                Err(error) => problems.push(format!("{}: {error}", place.display())),
            }
        }
        let method = &variables.sst_method;
        let inside = match places.len() {
            1 => format!("; inside the directory, wsrep_sst_method {method} would delete it"),
            _ => String::new(),
        };
        Err(format!(
            "no directory on the volume of {path} can hold the data ({}){inside}; create the first one there for the agent's \
             user, or keep the data aside by hand",
            problems.join("; ")
        ))
    }

    /// Where kept directories may lie, preferred first.
    fn places(&self, sst_method: &str) -> Vec<PathBuf> {
        let mut places = Vec::new();
        if let (Some(parent), Some(name)) = (self.path().parent(), self.path().file_name()) {
            let mut beside = name.to_owned();
            beside.push(".kept");
            places.push(parent.join(beside));
        }
        if sst_method.starts_with("mariabackup") {
            places.push(self.path().join(INSIDE));
        }
        places
    }

    /// Renames an empty file there and removes it: whether the place is on the same mount shows only by trying.
    fn try_rename_to(&self, place: &Path) -> std::io::Result<()> {
        const TRIAL: &str = ".galera-agent-trial";
        let created = match fs::create_dir(place) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        let (from, to) = (self.path().join(TRIAL), place.join(TRIAL));
        let tried = File::create(&from).and_then(|_| fs::rename(&from, &to));
        let _ = fs::remove_file(&from);
        let _ = fs::remove_file(&to);
        if created && tried.is_err() {
            let _ = fs::remove_dir(place);
        }
        tried
    }
}

fn subdirectories(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// The bytes of the data in `directory`, or why they are not all there.
fn data_size(directory: &Path) -> Result<u64, String> {
    let mut size: u64 = 0;
    let mut open = vec![directory.to_path_buf()];
    while let Some(current) = open.pop() {
        let unreadable =
            |error: std::io::Error| format!("{} cannot be read: {error}", current.display());
        for entry in fs::read_dir(&current).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            if current == directory && is_ignored(&name.to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            let found = entry.metadata().map_err(unreadable)?;
            if found.is_symlink() || path.extension() == Some(OsStr::new("isl")) {
                return Err(format!(
                    "{} names data outside {}, which a state transfer would replace; keep the data aside by hand",
                    path.display(),
                    directory.display()
                ));
            }
            if found.is_dir() {
                open.push(path);
            } else {
                size = size.saturating_add(found.len());
            }
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests;
