//! Which passwords these data were last known to have, so that a changed setting differs from a password that a person
//! changed in the database.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Beside the tables, which hold the same hashes.
const RECORD_FILE: &str = ".galera-agent-accounts.json";

/// The hashes of passwords that signed in, by account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PasswordRecord {
    path: PathBuf,
    hashes: BTreeMap<String, String>,
}

impl PasswordRecord {
    /// Reads the record of the data in `directory`; empty if there is none or it is unreadable, and then no password is
    /// changed.
    #[must_use]
    pub(super) fn read(directory: &Path) -> Self {
        let path = directory.join(RECORD_FILE);
        let hashes = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!("Cannot read {}: {error}", path.display());
                }
                BTreeMap::new()
            }
        };
        Self { path, hashes }
    }

    /// The hash of the password with which `account` last signed in.
    #[must_use]
    pub(super) fn hash(&self, account: &str) -> Option<&str> {
        self.hashes.get(account).map(String::as_str)
    }

    /// Records that `account` has the password of `hash`.
    pub(super) fn set(&mut self, account: String, hash: String) {
        if self.hashes.get(&account) == Some(&hash) && self.path.exists() {
            return;
        }
        self.hashes.insert(account, hash);
        if let Err(error) = self.write() {
            tracing::warn!("Cannot write {}: {error}", self.path.display());
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(serde_json::json!(self.hashes).to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_record_outlives_the_agent_and_belongs_to_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = PasswordRecord::read(dir.path());
        assert_eq!(record.hash("root@localhost"), None);
        record.set("root@localhost".to_owned(), "*A".to_owned());
        let again = PasswordRecord::read(dir.path());
        assert_eq!(again.hash("root@localhost"), Some("*A"));
        let path = dir.path().join(RECORD_FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // A state transfer removes it.
        fs::remove_file(&path).unwrap();
        record.set("root@localhost".to_owned(), "*A".to_owned());
        assert!(path.exists());
        fs::write(&path, "{").unwrap();
        assert_eq!(
            PasswordRecord::read(dir.path()).hash("root@localhost"),
            None
        );
    }
}
