//! Archives: files with the oldest entries of the trail, one JSON object a line, named by their first and last numbers.
//!
//! A file is written beside its final name, synchronized, renamed and read back. Its chain continues that of the file before,
//! and its end that of the live trail.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use galera::record::audit::{AuditAnchor, AuditEntry};

/// Entries of one file.
pub const ARCHIVE_FILE_ENTRIES: usize = 10_000;
/// The longest line that is read; an entry is limited by etcd's requests of 1.5 MB.
const LINE_MAX_BYTES: usize = 4 << 20;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{path} cannot be used as an archive of the audit trail: {error}")]
    Io { path: String, error: std::io::Error },
    #[error("{path} is not an archive of the audit trail: line {line}: {reason}")]
    Malformed {
        path: String,
        line: usize,
        reason: String,
    },
    /// The directory holds entries of another trail, or they were changed.
    #[error(
        "the archive {path} does not contain entry {sequence} as it is in the audit trail; give a dedicated directory, or find out who modified it"
    )]
    Differs { path: String, sequence: u64 },
}

fn io_error(path: &Path, error: std::io::Error) -> ArchiveError {
    ArchiveError::Io {
        path: path.display().to_string(),
        error,
    }
}

/// A directory of archive files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditArchive {
    directory: PathBuf,
}

/// An archive file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ArchiveFile {
    first: u64,
    last: u64,
    path: PathBuf,
}

impl AuditArchive {
    /// The archive in `directory`, which must exist.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn open(directory: &Path) -> Result<Self, ArchiveError> {
        let archive = Self {
            directory: directory.to_owned(),
        };
        archive.files()?;
        Ok(archive)
    }

    /// The files by the numbers of their first entries.
    fn files(&self) -> Result<Vec<ArchiveFile>, ArchiveError> {
        let failed = |error| io_error(&self.directory, error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if let Some((first, last)) = name.to_str().and_then(numbers_in_name) {
                let path = entry.path();
                files.push(ArchiveFile { first, last, path });
            }
        }
        files.sort_by_key(|file| file.first);
        Ok(files)
    }

    /// The last archived entry.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn end(&self) -> Result<Option<AuditAnchor>, ArchiveError> {
        let files = self.files()?;
        let Some(file) = files.iter().max_by_key(|file| file.last) else {
            return Ok(None);
        };
        let entries = read_archive_file(&file.path)?;
        match entries.last() {
            Some(entry) if entry.sequence == file.last => Ok(Some(entry.anchor())),
            _ => Err(ArchiveError::Malformed {
                path: file.path.display().to_string(),
                line: entries.len(),
                reason: format!(
                    "entry {}, expected from the file name, is missing",
                    file.last
                ),
            }),
        }
    }

    /// Whether the archive has the entry of `anchor`.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn contains(&self, anchor: &AuditAnchor) -> Result<bool, ArchiveError> {
        let holds = |file: &ArchiveFile| (file.first..=file.last).contains(&anchor.sequence);
        for file in self.files()?.into_iter().filter(holds) {
            let entries = read_archive_file(&file.path)?;
            if entries.iter().any(|entry| entry.anchor() == *anchor) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes those of `entries`, which are consecutive, that the archive does not have, and reads all of them back. Returns the
    /// files that hold them.
    ///
    /// # Errors
    /// [`ArchiveError`]; files that were complete stay.
    pub fn store(&self, entries: &[AuditEntry]) -> Result<Vec<PathBuf>, ArchiveError> {
        let archived = self.end()?.map_or(0, |end| end.sequence);
        let new = entries.partition_point(|entry| entry.sequence <= archived);
        for part in entries[new..].chunks(ARCHIVE_FILE_ENTRIES) {
            self.write(part)?;
        }
        self.read_back(entries)
    }

    fn write(&self, entries: &[AuditEntry]) -> Result<(), ArchiveError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let name = format!("audit-{:012}-{:012}.jsonl", first.sequence, last.sequence);
        let path = self.directory.join(&name);
        let partial = self
            .directory
            .join(format!("{name}.{}.partial", std::process::id()));
        let written = write_new(&partial, entries)
            .and_then(|()| std::fs::rename(&partial, &path))
            .and_then(|()| File::open(&self.directory)?.sync_all());
        written.map_err(|error| {
            let _ = std::fs::remove_file(&partial);
            io_error(&path, error)
        })
    }

    fn read_back(&self, entries: &[AuditEntry]) -> Result<Vec<PathBuf>, ArchiveError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(Vec::new());
        };
        let mut stored: BTreeMap<u64, AuditEntry> = BTreeMap::new();
        let mut paths = Vec::new();
        let files = self.files()?.into_iter();
        for file in files.filter(|file| file.last >= first.sequence && file.first <= last.sequence)
        {
            let read = read_archive_file(&file.path)?;
            stored.extend(read.into_iter().map(|entry| (entry.sequence, entry)));
            paths.push(file.path);
        }
        match entries
            .iter()
            .find(|entry| stored.get(&entry.sequence) != Some(entry))
        {
            None => Ok(paths),
            Some(entry) => Err(ArchiveError::Differs {
                path: self.directory.display().to_string(),
                sequence: entry.sequence,
            }),
        }
    }
}

/// The numbers in `audit-FIRST-LAST.jsonl`.
fn numbers_in_name(name: &str) -> Option<(u64, u64)> {
    let numbers = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let (first, last) = numbers.split_once('-')?;
    let numbers: (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (numbers.0 >= 1 && numbers.0 <= numbers.1).then_some(numbers)
}

/// Writes a file that only its owner can read.
fn write_new(path: &Path, entries: &[AuditEntry]) -> std::io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    let mut writer = BufWriter::new(file);
    for entry in entries {
        serde_json::to_writer(&mut writer, entry)?;
        writer.write_all(b"\n")?;
    }
    writer.into_inner()?.sync_all()
}

/// The entries in the archive file `path`.
///
/// # Errors
/// [`ArchiveError`].
pub fn read_archive_file(path: &Path) -> Result<Vec<AuditEntry>, ArchiveError> {
    let failed = |error| io_error(path, error);
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    let mut reader = BufReader::new(file);
    let mut entries = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_MAX_BYTES).unwrap_or(u64::MAX);
        let mut limited = std::io::Read::take(&mut reader, limit);
        if limited.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(entries);
        }
        let entry = serde_json::from_slice(&line).map_err(|error| ArchiveError::Malformed {
            path: path.display().to_string(),
            line: entries.len() + 1,
            reason: error.to_string(),
        })?;
        entries.push(entry);
    }
}
