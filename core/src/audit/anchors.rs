//! Anchors of the trail outside etcd: in the log, in a file, and for what sends them elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use galera::record::audit::{AuditAnchor, find_anchors};
use tokio::sync::watch;

use crate::clock::now;

/// How much of the end of a file is read to find its last anchor.
const TAIL_BYTES: u64 = 64 * 1024;

/// When anchors are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorSettings {
    /// After this many entries.
    pub entries: u64,
    /// After this time, if there is a new entry.
    pub interval: Duration,
}

/// Why a file of anchors cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the file of anchors {path} cannot be used: {error}; fix --audit-anchor-file")]
pub struct AnchorFileError {
    path: String,
    error: std::io::Error,
}

/// A file to which anchors are appended, one a line.
#[derive(Debug)]
pub struct AnchorFile {
    path: PathBuf,
    file: File,
    last: Option<AuditAnchor>,
}

impl AnchorFile {
    /// Opens `path`, or creates it readable by its owner only.
    ///
    /// # Errors
    /// [`AnchorFileError`].
    pub fn open(path: &Path) -> Result<Self, AnchorFileError> {
        Self::try_open(path).map_err(|error| AnchorFileError {
            path: path.display().to_string(),
            error,
        })
    }

    fn try_open(path: &Path) -> std::io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        let length = metadata.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        (&file).take(TAIL_BYTES).read_to_end(&mut tail)?;
        let tail = String::from_utf8_lossy(&tail);
        let last = find_anchors(&tail).max_by_key(|anchor| anchor.sequence);
        Ok(Self {
            path: path.to_owned(),
            file,
            last,
        })
    }

    /// The latest anchor in the file.
    #[must_use]
    pub fn last(&self) -> Option<&AuditAnchor> {
        self.last.as_ref()
    }

    fn append(&mut self, anchor: &AuditAnchor) -> std::io::Result<()> {
        // One write, so that lines of two processes do not mix. A line that was cut short by a full disk is ended first.
        let line = format!("\n{} {anchor}\n", now());
        let line = if self.ends_with_newline()? {
            &line[1..]
        } else {
            &line
        };
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()
    }

    fn ends_with_newline(&mut self) -> std::io::Result<bool> {
        if self.file.metadata()?.len() == 0 {
            return Ok(true);
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }
}

/// Where anchors go besides the log.
#[derive(Debug, Default)]
pub struct AnchorOutputs {
    /// The file that they are appended to.
    pub file: Option<AnchorFile>,
    /// Publishes the newest one, which stands for all before it.
    pub newest: watch::Sender<Option<AuditAnchor>>,
}

/// Takes anchors.
#[derive(Debug)]
pub(super) struct AnchorWriter {
    settings: AnchorSettings,
    outputs: AnchorOutputs,
    last: Option<AuditAnchor>,
    last_at: Instant,
}

impl AnchorWriter {
    pub(super) fn new(settings: AnchorSettings, outputs: AnchorOutputs) -> Self {
        Self {
            settings,
            last: outputs.file.as_ref().and_then(|file| file.last.clone()),
            outputs,
            last_at: Instant::now(),
        }
    }

    /// The latest anchor in the file when it was opened.
    pub(super) fn initial(&self) -> Option<&AuditAnchor> {
        self.outputs.file.as_ref()?.last()
    }

    /// When the next anchor is due at the latest.
    pub(super) fn due(&self) -> Instant {
        self.last_at + self.settings.interval
    }

    /// Whether an anchor of `head` is due.
    pub(super) fn is_due(&self, head: &AuditAnchor) -> bool {
        let last = self.last.as_ref().map_or(0, |last| last.sequence);
        head.sequence >= last.saturating_add(self.settings.entries)
            || (head.sequence > last && Instant::now() >= self.due())
    }

    /// Takes an anchor of `head`, if one is due.
    pub(super) fn take(&mut self, head: &AuditAnchor) {
        if !self.is_due(head) {
            return;
        }
        self.last_at = Instant::now();
        tracing::info!(
            sequence = head.sequence,
            hash = head.hash,
            anchor = %head,
            "Audit trail anchor {head}"
        );
        self.last = Some(head.clone());
        self.outputs.newest.send_replace(Some(head.clone()));
        if let Some(file) = &mut self.outputs.file
            && let Err(error) = file.append(head)
        {
            let path = file.path.display().to_string();
            tracing::error!(%error, path, "The audit trail's anchor could not be written to {path}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn anchor(sequence: u64) -> AuditAnchor {
        AuditAnchor {
            sequence,
            hash: format!("{sequence:064x}"),
        }
    }

    fn writer(path: &Path, entries: u64, interval: Duration) -> AnchorWriter {
        let settings = AnchorSettings { entries, interval };
        let outputs = AnchorOutputs {
            file: Some(AnchorFile::open(path).unwrap()),
            ..AnchorOutputs::default()
        };
        AnchorWriter::new(settings, outputs)
    }

    fn taken(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap();
        find_anchors(&text).map(|anchor| anchor.sequence).collect()
    }

    #[test]
    fn anchors_are_taken_after_so_many_entries_or_so_much_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchors");
        let mut by_entries = writer(&path, 10, Duration::from_secs(3600));
        for sequence in [1, 9, 10, 11, 19, 25, 26] {
            by_entries.take(&anchor(sequence));
        }
        assert_eq!(taken(&path), [10, 25]);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        // The next start continues after the last one.
        let mut by_time = writer(&path, 1_000, Duration::ZERO);
        assert_eq!(by_time.initial(), Some(&anchor(25)));
        for sequence in [25, 26, 26, 27] {
            by_time.take(&anchor(sequence));
        }
        assert_eq!(taken(&path), [10, 25, 26, 27]);
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_hide_the_next_anchor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchors");
        std::fs::write(&path, "2026-11-28T09:00:00Z 7:ab").unwrap();
        writer(&path, 1, Duration::from_secs(1)).take(&anchor(8));
        assert_eq!(taken(&path), [8]);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = AnchorFile::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("--audit-anchor-file"), "{error}");
        let error = AnchorFile::open(&folder.path().join("none/anchors")).unwrap_err();
        assert!(error.to_string().contains("none/anchors"), "{error}");
    }
}
