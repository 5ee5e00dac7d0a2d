//! The lab's directory, removed with it; leftovers of killed labs are removed at the next start.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};

/// A directory that lives as long as this value.
pub struct LabDirectory {
    path: PathBuf,
    // Held locked while in use: the lock goes with the process, however that ends.
    _lock: File,
}

impl LabDirectory {
    /// A new directory below [`base`].
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create() -> Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let base = base()?;
        remove_stale(&base);
        let name = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = base.join(name);
        // Locked before the directory exists, so that no other process's clean-up removes it.
        let lock = File::create(path.with_extension("lock"))?;
        lock.try_lock().context("locking the lab's directory")?;
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LabDirectory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
        fs::remove_file(self.path.with_extension("lock")).ok();
    }
}

/// The directory of all labs of this user. Short, because the path of a socket is limited to 107 bytes.
///
/// # Errors
/// If it belongs to another user.
pub fn base() -> Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("galera-lab-{user}"));
    // The database's own user passes through it.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&path)?;
    let owner = fs::symlink_metadata(&path)?;
    ensure!(
        owner.is_dir() && owner.uid() == user,
        "{} belongs to another user; set TMPDIR to your own directory",
        path.display()
    );
    Ok(path)
}

/// Removes the directories whose owner has died.
fn remove_stale(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let lock = entry.path();
        if lock.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        if File::open(&lock).is_ok_and(|file| file.try_lock().is_ok()) {
            let directory = lock.with_extension("");
            if !directory.exists() || fs::remove_dir_all(&directory).is_ok() {
                fs::remove_file(&lock).ok();
            }
        }
    }
}
