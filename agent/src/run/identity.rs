//! The identity of the data: a small file in the data directory that is independent of addresses.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use galera::observe::fork::ForkRecord;
use serde_json::json;

use super::command::random_token;
use super::error::RunError;

/// A dot file: the server takes only directories for databases, and state transfers do not copy it.
const IDENTITY_FILE: &str = ".galera-agent.json";
/// Orders that are remembered.
const OBEYED_ORDERS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataIdentity {
    /// Random; never changes.
    pub(super) id: String,
    pub(super) cluster: String,
    /// Whether this agent initialized the directory for founding and no server has used it yet.
    pub(super) prepared: bool,
    /// Whether this agent created the founder key for these data and their history is not recorded in it yet.
    pub(super) founding: bool,
    /// The newest fork that the data continued; 0 for none.
    pub(super) fork_epoch: u64,
    /// Its record, to restore it in an emptied registry.
    pub(super) fork: Option<ForkRecord>,
    /// Ids of the actions whose orders were followed, newest last.
    pub(super) obeyed_orders: Vec<String>,
}

impl DataIdentity {
    /// A new identity.
    ///
    /// # Errors
    /// If no random token can be read.
    pub(super) fn new(cluster: &str) -> Result<Self, RunError> {
        Ok(Self {
            id: random_token()?,
            cluster: cluster.to_owned(),
            prepared: false,
            founding: false,
            fork_epoch: 0,
            fork: None,
            obeyed_orders: Vec::new(),
        })
    }

    /// Reads the identity in `directory`; `None` if there is no file.
    ///
    /// # Errors
    /// If it cannot be read or parsed: a guess could give one node two identities.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, RunError> {
        let path = identity_path(directory);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RunError::from_io("cannot read", &path, &error)),
        };
        Self::parse(&bytes).map(Some).ok_or_else(|| {
            RunError::Refused(format!(
                "{} is unreadable; if the data belongs to this cluster, remove the file to give the data a new identity",
                path.display()
            ))
        })
    }

    /// Parses what [`Self::write`] writes; `None` for anything else.
    #[must_use]
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let obeyed = value.get("obeyed")?.as_array()?.iter();
        let prepared = value.get("prepared")?.as_bool()?;
        // Version 0.1 did not write it.
        let founding = value
            .get("founding")
            .map_or(Some(prepared), |founding| founding.as_bool())?;
        // Nor these.
        let fork_epoch = value
            .get("fork_epoch")
            .map_or(Some(0), serde_json::Value::as_u64)?;
        let fork = value.get("fork").filter(|fork| !fork.is_null());
        Some(Self {
            id: value
                .get("id")?
                .as_str()
                .filter(|id| !id.is_empty())?
                .to_owned(),
            cluster: value.get("cluster")?.as_str()?.to_owned(),
            prepared,
            founding,
            fork_epoch,
            fork: fork.and_then(|fork| ForkRecord::parse(fork.to_string().as_bytes())),
            obeyed_orders: obeyed
                .filter_map(|id| Some(id.as_str()?.to_owned()))
                .collect(),
        })
    }

    /// Writes it durably and atomically.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(&self, directory: &Path) -> Result<(), RunError> {
        self.write_to(directory, &identity_path(directory))
    }

    /// Writes it likewise to another file of `directory`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write_to(&self, directory: &Path, path: &Path) -> Result<(), RunError> {
        let text = json!({
            "id": self.id, "cluster": self.cluster, "prepared": self.prepared, "founding": self.founding,
            "obeyed": self.obeyed_orders, "fork_epoch": self.fork_epoch, "fork": self.fork,
        });
        // The dot at the front keeps this name ignored, too.
        let new = path.with_extension("new");
        let written = File::create(&new)
            .and_then(|mut file| {
                file.write_all(format!("{text}\n").as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, path))
            .and_then(|()| File::open(directory)?.sync_all());
        written.map_err(|error| RunError::from_io("cannot write", path, &error))
    }

    /// Writes it if the file is missing: a state transfer may have emptied the directory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn restore(&self, directory: &Path) -> Result<(), RunError> {
        match identity_path(directory).exists() {
            true => Ok(()),
            false => self.write(directory),
        }
    }

    /// Records that the data continued the fork `epoch`.
    pub(super) fn record_fork(&mut self, epoch: u64, record: Option<ForkRecord>) {
        self.fork_epoch = epoch;
        self.fork = record;
    }

    /// Records that the order of `action` was followed.
    pub(super) fn record_obeyed(&mut self, action: &str) {
        self.obeyed_orders.push(action.to_owned());
        let surplus = self.obeyed_orders.len().saturating_sub(OBEYED_ORDERS_MAX);
        self.obeyed_orders.drain(..surplus);
    }

    #[must_use]
    pub(super) fn obeyed_orders(&self) -> BTreeSet<String> {
        self.obeyed_orders.iter().cloned().collect()
    }
}

fn identity_path(directory: &Path) -> PathBuf {
    directory.join(IDENTITY_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlives_the_agent_and_refuses_garbage() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DataIdentity::read(dir.path()).unwrap(), None);
        let mut identity = DataIdentity::new("lab").unwrap();
        for number in 0..100 {
            identity.record_obeyed(&number.to_string());
        }
        let fork = format!(
            r#"{{"state_uuid":"{}","seqno":66,"members":["n1"]}}"#,
            "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b"
        );
        identity.record_fork(3, ForkRecord::parse(fork.as_bytes()));
        assert!(identity.fork.is_some());
        identity.write(dir.path()).unwrap();
        assert_eq!(
            DataIdentity::read(dir.path()).unwrap(),
            Some(identity.clone())
        );
        assert_eq!(identity.obeyed_orders.len(), OBEYED_ORDERS_MAX);
        assert!(identity.obeyed_orders().contains("99"));
        let older = r#"{"id":"d1","cluster":"lab","prepared":true,"obeyed":[]}"#;
        fs::write(dir.path().join(IDENTITY_FILE), older).unwrap();
        assert!(DataIdentity::read(dir.path()).unwrap().unwrap().founding);
        fs::write(dir.path().join(IDENTITY_FILE), "{\"id\":\"\"}").unwrap();
        let wrong = DataIdentity::read(dir.path()).unwrap_err();
        assert_eq!(wrong.exit_code(), 64, "{wrong}");
    }
}
