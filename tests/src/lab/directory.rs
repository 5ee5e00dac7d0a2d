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
        let lock = lock_new(&path.with_extension("lock"))?;
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

/// Creates and locks `path`. Another process's clean-up may lock and remove the new file before it is locked here.
fn lock_new(path: &Path) -> Result<File> {
    loop {
        let lock = File::create(path)?;
        lock.lock().context("locking the lab's directory")?;
        let same = |there: &fs::Metadata, here: &fs::Metadata| {
            (there.dev(), there.ino()) == (here.dev(), here.ino())
        };
        if fs::metadata(path)
            .is_ok_and(|there| lock.metadata().is_ok_and(|here| same(&there, &here)))
        {
            return Ok(lock);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_that_a_clean_up_removes_is_created_again() {
        let lab = LabDirectory::create().unwrap();
        for number in 0..200 {
            let path = lab.path().join(format!("{number}.lock"));
            let clean_up = File::create(&path).unwrap();
            clean_up.lock().unwrap();
            std::thread::scope(|scope| {
                let lock = scope.spawn(|| lock_new(&path));
                fs::remove_file(&path).unwrap();
                drop(clean_up);
                let _lock = lock.join().unwrap().unwrap();
                let other = File::open(&path).unwrap();
                assert!(other.try_lock().is_err(), "the file at the path is locked");
            });
        }
    }
}
