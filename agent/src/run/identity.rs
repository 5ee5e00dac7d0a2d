//! Who the data are: a small file in the data directory that outlives addresses.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::command::token;
use super::failure::Failure;

/// A dot file: the server takes only directories for databases, and state transfers copy neither.
const FILE: &str = ".galera-agent.json";
/// Orders that are remembered.
const OBEYED_MAX: usize = 64;

/// The data's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Random, for ever the same.
    pub(super) id: String,
    /// The cluster that the data belong to.
    pub(super) cluster: String,
    /// Whether the directory was initialized for founding by this agent and no server ever ran on it.
    pub(super) prepared: bool,
    /// The orders that were obeyed, newest last.
    pub(super) obeyed: Vec<String>,
}

impl Identity {
    /// A new identity.
    ///
    /// # Errors
    /// When the kernel gives no random numbers.
    pub(super) fn new(cluster: &str) -> Result<Self, Failure> {
        Ok(Self {
            id: token()?,
            cluster: cluster.to_owned(),
            prepared: false,
            obeyed: Vec::new(),
        })
    }

    /// Reads the identity in `directory`; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or understood: a guess could make two nodes of one.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, Failure> {
        let path = path(directory);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::of("cannot read", &path, &error)),
        };
        Self::parse(&bytes).map(Some).ok_or_else(|| {
            Failure::Refused(format!(
                "{} is unreadable; if these data belong to this cluster, remove that file to give them a new identity",
                path.display()
            ))
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let obeyed = value.get("obeyed")?.as_array()?.iter();
        Some(Self {
            id: value
                .get("id")?
                .as_str()
                .filter(|id| !id.is_empty())?
                .to_owned(),
            cluster: value.get("cluster")?.as_str()?.to_owned(),
            prepared: value.get("prepared")?.as_bool()?,
            obeyed: obeyed
                .filter_map(|id| Some(id.as_str()?.to_owned()))
                .collect(),
        })
    }

    /// Writes it, durably and all at once.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Failure> {
        let text = json!({
            "id": self.id, "cluster": self.cluster, "prepared": self.prepared, "obeyed": self.obeyed,
        });
        let path = path(directory);
        let new = path.with_extension("json.new");
        let written = File::create(&new)
            .and_then(|mut file| {
                file.write_all(format!("{text}\n").as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(directory)?.sync_all());
        written.map_err(|error| Failure::of("cannot write", &path, &error))
    }

    /// Writes it when it is not there: a state transfer may have emptied the directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn restore(&self, directory: &Path) -> Result<(), Failure> {
        match path(directory).exists() {
            true => Ok(()),
            false => self.write(directory),
        }
    }

    /// Remembers that the order of `action` was obeyed.
    pub(super) fn obey(&mut self, action: &str) {
        self.obeyed.push(action.to_owned());
        let surplus = self.obeyed.len().saturating_sub(OBEYED_MAX);
        self.obeyed.drain(..surplus);
    }

    /// The orders that were obeyed.
    #[must_use]
    pub(super) fn obeyed(&self) -> BTreeSet<String> {
        self.obeyed.iter().cloned().collect()
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlives_the_agent_and_refuses_garbage() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), None);
        let mut identity = Identity::new("lab").unwrap();
        for number in 0..100 {
            identity.obey(&number.to_string());
        }
        identity.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(identity.clone()));
        assert_eq!(identity.obeyed.len(), OBEYED_MAX);
        assert!(identity.obeyed().contains("99"));
        fs::write(dir.path().join(FILE), "{\"id\":\"\"}").unwrap();
        let wrong = Identity::read(dir.path()).unwrap_err();
        assert_eq!(wrong.code(), 64, "{wrong}");
    }
}
