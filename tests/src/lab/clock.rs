//! A clock that can be set while the programs that read it run, by libfaketime. Monotonic time is not affected.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where Debian installs the library, below a directory for each architecture.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of some processes.
#[derive(Clone, Debug)]
pub struct LabClock {
    file: PathBuf,
    library: PathBuf,
}

impl LabClock {
    /// A clock that shows the machine's time; its file, `name`, is created in `directory`.
    ///
    /// # Errors
    /// If libfaketime is not installed or the file cannot be written.
    pub fn create(directory: &Path, name: &str) -> Result<Self> {
        let clock = Self {
            file: directory.join(name),
            library: library().context("libfaketime is not installed; scripts/setup lab")?,
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// What a process needs in its environment to read this clock.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Sets the clock to so many seconds after (before, if negative) the machine's. Processes follow within a second.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // Renamed, so that no process reads half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n"))?;
        fs::rename(&new, &self.file)
            .with_context(|| format!("setting the clock {}", self.file.display()))
    }
}

fn library() -> Option<PathBuf> {
    let architectures = fs::read_dir(LIBRARIES).ok()?.flatten();
    let mut paths = architectures.map(|entry| entry.path().join(LIBRARY));
    paths.find(|path| path.is_file())
}
