//! A first join that has not completed: a mark beside the data shows that everything in the directory came from a state
//! transfer, so that what an interrupted one left behind can be set aside.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{DataDir, file_names, is_ignored};
use crate::run::error::RunError;
use crate::run::identity::DataIdentity;

/// The script of mariabackup's state transfer empties the directory, except for files whose name ends like this.
const MARK_FILE: &str = ".galera-agent-joining.sst";
/// What is set aside stays at the top of the data directory: the scripts of state transfers copy and delete directories
/// there, and the server shows them as databases. A number and the same ending follow.
const ASIDE_PREFIX: &str = ".galera-agent-unfinished-";
/// Transfers that are set aside before a person must remove them: they may fill the volume.
const ASIDE_MAX: usize = 3;

impl DataDir {
    /// Marks the empty directory as that of a first join, with the identity of the data to come.
    ///
    /// # Errors
    /// If the mark cannot be written.
    pub(in crate::run) fn begin_join(&self, identity: &DataIdentity) -> Result<(), RunError> {
        identity.write_to(&self.path, &self.path.join(MARK_FILE))
    }

    /// The identity under which a first join began that has not completed.
    ///
    /// # Errors
    /// If the mark cannot be read; an unreadable one counts as none.
    pub(in crate::run) fn unfinished_join(&self) -> Result<Option<DataIdentity>, RunError> {
        let path = self.path.join(MARK_FILE);
        match fs::read(&path) {
            Ok(bytes) => Ok(DataIdentity::parse(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RunError::from_io("cannot read", &path, &error)),
        }
    }

    /// Removes the mark: the join has completed.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(in crate::run) fn finish_join(&self) -> Result<(), RunError> {
        let path = self.path.join(MARK_FILE);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| RunError::from_io("cannot remove", &path, &error))
    }

    /// Renames what an unfinished first join left behind to numbered files. Returns the path of the list of their former
    /// names; `None` if there was nothing.
    ///
    /// # Errors
    /// [`RunError::Refused`] if too many were set aside already, otherwise if a file cannot be renamed.
    pub(in crate::run) fn set_unfinished_aside(&self) -> Result<Option<PathBuf>, RunError> {
        let mut names = file_names(&self.path)?;
        names.retain(|name| !is_ignored(name));
        if names.is_empty() {
            return Ok(None);
        }
        let list = |number: &usize| self.path.join(format!("{ASIDE_PREFIX}{number}.sst"));
        let Some(number) = (1..=ASIDE_MAX).find(|number| !list(number).exists()) else {
            return Err(RunError::Refused(format!(
                "{} holds {ASIDE_MAX} unfinished state transfers that were set aside; no server of a cluster has used them: find \
                 out why the transfers fail, then remove the files {ASIDE_PREFIX}*",
                self.path.display()
            )));
        };
        let list = list(&number);
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for name in names {
            collect_files(Path::new(&name), &self.path, &mut files, &mut directories).map_err(
                |error| RunError::from_io("cannot read", &self.path.join(&name), &error),
            )?;
        }
        let aside = |index: usize| format!("{ASIDE_PREFIX}{number}-{index}.sst");
        let lines = files.iter().enumerate().map(|(index, file)| {
            let name = file.to_string_lossy().replace(char::is_control, "?");
            format!("{} {name}\n", aside(index))
        });
        // First, so that every renamed file is listed even if the agent is interrupted.
        File::create(&list)
            .and_then(|mut file| {
                file.write_all(lines.collect::<String>().as_bytes())?;
                file.sync_all()
            })
            .map_err(|error| RunError::from_io("cannot write", &list, &error))?;
        for (index, file) in files.iter().enumerate() {
            let path = self.path.join(file);
            fs::rename(&path, self.path.join(aside(index)))
                .map_err(|error| RunError::from_io("cannot rename", &path, &error))?;
        }
        // Inner ones come last in the list.
        for directory in directories.iter().rev() {
            let path = self.path.join(directory);
            fs::remove_dir(&path)
                .map_err(|error| RunError::from_io("cannot remove", &path, &error))?;
        }
        File::open(&self.path)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| RunError::from_io("cannot write", &self.path, &error))?;
        Ok(Some(list))
    }

    /// A number that changes when a state transfer writes: over sizes and times of all files that one brings.
    #[must_use]
    pub(in crate::run) fn transfer_progress(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hash_files(&self.path, &mut hasher);
        hasher.finish()
    }
}

/// Collects the files and directories at `name` below `root`, relative to it.
fn collect_files(
    name: &Path,
    root: &Path,
    files: &mut Vec<PathBuf>,
    directories: &mut Vec<PathBuf>,
) -> std::io::Result<()> {
    if !fs::symlink_metadata(root.join(name))?.is_dir() {
        files.push(name.to_path_buf());
        return Ok(());
    }
    directories.push(name.to_path_buf());
    for entry in fs::read_dir(root.join(name))? {
        collect_files(&name.join(entry?.file_name()), root, files, directories)?;
    }
    Ok(())
}

fn hash_files(directory: &Path, hasher: &mut DefaultHasher) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        // Written by the waiting server itself.
        let own = [".log", ".err", ".pid", "galera.cache"];
        if text.starts_with(".galera-agent") || own.iter().any(|end| text.ends_with(end)) {
            continue;
        }
        let Ok(found) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if found.is_dir() {
            hash_files(&entry.path(), hasher);
        } else {
            (name, found.len(), found.mtime(), found.mtime_nsec()).hash(hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIL: &str = "version: 2.1\nuuid: 00000000-0000-0000-0000-000000000000\nseqno: -1\n";
    const DONE: &str = "version: 2.1\nuuid: 6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b\nseqno: -1\n";

    /// A directory in which a first join began, with these files, and the identity of its data.
    fn joining(files: &[(&str, &str)]) -> (tempfile::TempDir, DataDir, DataIdentity) {
        let dir = tempfile::tempdir().unwrap();
        let directory = DataDir::open(dir.path(), false).unwrap();
        let identity = DataIdentity::new("lab").unwrap();
        directory.begin_join(&identity).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        (dir, directory, identity)
    }

    #[test]
    fn what_a_first_join_left_is_set_aside_and_never_deleted() {
        for grastate in [Some(NIL), Some(""), Some("\u{0}garbage"), None] {
            let mut files = vec![("ibdata1", "half")];
            files.extend(grastate.map(|text| ("grastate.dat", text)));
            let (dir, directory, identity) = joining(&files);
            fs::create_dir_all(dir.path().join(".sst/shop")).unwrap();
            fs::write(dir.path().join(".sst/shop/t.ibd"), "rows").unwrap();
            let found = directory.examine("lab").unwrap();
            assert_eq!(
                found.data,
                galera::startup::DataState::Empty,
                "{grastate:?}"
            );
            assert!(found.unfinished_join);
            // A state transfer removes the identity; the mark keeps it.
            assert_eq!(found.identity.unwrap().id, identity.id);
            let list = directory.set_unfinished_aside().unwrap().unwrap();
            let list = fs::read_to_string(list).unwrap();
            for (name, text) in [("ibdata1", "half"), (".sst/shop/t.ibd", "rows")] {
                let line = list.lines().find(|line| line.ends_with(name)).unwrap();
                let (aside, former) = line.split_once(' ').unwrap();
                assert_eq!(former, name);
                assert_eq!(fs::read_to_string(dir.path().join(aside)).unwrap(), text);
            }
            // Only files of this agent are left, and no directory that a state transfer would copy or delete.
            for entry in fs::read_dir(dir.path()).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                assert!(is_ignored(&name) && entry.path().is_file(), "{name}");
            }
            assert!(directory.unfinished_join().unwrap().is_some());
            assert_eq!(directory.set_unfinished_aside().unwrap(), None);
        }
    }

    #[test]
    fn data_with_a_history_are_never_set_aside() {
        let (_dir, directory, _) = joining(&[("ibdata1", "x"), ("grastate.dat", DONE)]);
        let found = directory.examine("lab").unwrap();
        assert!(
            !found.unfinished_join && found.data.has_history(),
            "{found:?}"
        );
        // Nor are data without the mark.
        let (_dir, directory, _) = joining(&[("ibdata1", "x")]);
        directory.finish_join().unwrap();
        directory.finish_join().unwrap();
        let refused = directory.examine("lab").unwrap_err();
        assert_eq!(refused.exit_code(), 64, "{refused}");
        // Nor those of another cluster.
        let (_dir, directory, _) = joining(&[("ibdata1", "x")]);
        assert_eq!(directory.examine("other").unwrap_err().exit_code(), 64);
    }

    #[test]
    fn the_number_of_directories_is_bounded() {
        let (dir, directory, _) = joining(&[]);
        for _ in 0..ASIDE_MAX {
            fs::write(dir.path().join("ibdata1"), "x").unwrap();
            assert!(directory.set_unfinished_aside().unwrap().is_some());
        }
        fs::write(dir.path().join("ibdata1"), "x").unwrap();
        let refused = directory.set_unfinished_aside().unwrap_err();
        assert!(
            refused.exit_code() == 64
                && refused
                    .to_string()
                    .contains("remove the files .galera-agent-unfinished-*"),
            "{refused}"
        );
        assert!(dir.path().join("ibdata1").exists());
    }

    #[test]
    fn progress_is_what_a_transfer_writes() {
        let (dir, directory, _) = joining(&[("ibdata1", "x")]);
        let before = directory.transfer_progress();
        fs::write(dir.path().join("error.log"), "still waiting").unwrap();
        assert_eq!(directory.transfer_progress(), before);
        fs::create_dir(dir.path().join(".sst")).unwrap();
        fs::write(dir.path().join(".sst/t.ibd"), "y").unwrap();
        assert_ne!(directory.transfer_progress(), before);
    }
}
