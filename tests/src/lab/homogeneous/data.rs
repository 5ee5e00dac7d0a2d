//! The data of a node: moved aside, copied, put back, on a disk that is too small.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{HomogeneousNode, chown};
use crate::lab::template::server_user;

impl HomogeneousNode {
    /// Moves the data away, so that the node gets a full state transfer, and returns its new path. The node must not be
    /// running.
    ///
    /// # Errors
    /// If it is running or the directory cannot be moved.
    pub fn set_data_aside(&self) -> Result<PathBuf> {
        ensure!(!self.is_alive(), "node {} runs", self.number);
        let aside = self.free_path("data-aside");
        fs::rename(self.data(), &aside)?;
        self.create_data_directory()?;
        Ok(aside)
    }

    /// A copy of the data. The node must not be running.
    ///
    /// # Errors
    /// If it is running or the copy fails.
    pub fn copy_data(&self) -> Result<PathBuf> {
        ensure!(!self.is_alive(), "node {} runs", self.number);
        let copy = self.free_path("data-copy");
        run(Command::new("cp")
            .args(["--archive", "--reflink=auto", "--"])
            .arg(self.data())
            .arg(&copy))?;
        Ok(copy)
    }

    /// Moves the data away and puts other data in their place. Returns the new path of the former ones. The node must not
    /// be running.
    ///
    /// # Errors
    /// If it is running or a directory cannot be moved.
    pub fn replace_data(&self, data: &Path) -> Result<PathBuf> {
        let aside = self.set_data_aside()?;
        fs::remove_dir(self.data())?;
        fs::rename(data, self.data())?;
        Ok(aside)
    }

    /// Mounts an empty file system of so many bytes as the data directory. The node must not be running; requires root in a
    /// separate mount namespace.
    ///
    /// # Errors
    /// If it is running or the kernel refuses.
    pub fn mount_small_disk(&self, bytes: u64) -> Result<SmallDisk> {
        ensure!(!self.is_alive(), "node {} runs", self.number);
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(self.data()))?;
        let disk = SmallDisk { path: self.data() };
        self.chown_data()?;
        Ok(disk)
    }

    fn create_data_directory(&self) -> Result<()> {
        fs::create_dir(self.data())?;
        self.chown_data()
    }

    fn chown_data(&self) -> Result<()> {
        match server_user() {
            Some(user) => chown(&self.data(), user),
            None => Ok(()),
        }
    }

    /// A path beside the data that is not in use.
    fn free_path(&self, name: &str) -> PathBuf {
        let path = |count: usize| self.directory.join(format!("{name}-{count}"));
        let free = (1..).map(path).find(|path| !path.exists());
        free.unwrap_or_else(|| path(0))
    }
}

/// A file system that is mounted as a data directory until this value is dropped; what it held is lost then.
pub struct SmallDisk {
    path: PathBuf,
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may have files open.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.path)) {
            tracing::warn!("{error:#}");
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{:?}", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
