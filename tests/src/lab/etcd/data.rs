//! What is stored in etcd: lost as a whole, saved, and restored to an earlier state.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{EtcdMember, LabEtcd};

impl LabEtcd {
    /// Stops every member, deletes what they stored, and starts them empty.
    ///
    /// # Errors
    /// If a directory cannot be removed or a member does not start.
    pub async fn empty(&self) -> Result<()> {
        self.kill_all();
        for member in &self.members {
            member.remove_data()?;
        }
        self.start_all().await
    }

    /// Deletes every key below `prefix`. Needs a quorum of members without accounts.
    ///
    /// # Errors
    /// If `etcdctl` fails.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        let endpoints = self.endpoints().join(",");
        etcdctl(&["--endpoints", &endpoints, "del", "--prefix", prefix]).await
    }

    /// Writes what is stored to `file`. Needs a running member without accounts.
    ///
    /// # Errors
    /// If `etcdctl` fails.
    pub async fn save_snapshot(&self, file: &Path) -> Result<()> {
        let running = self.members.iter().find(|member| member.pid().is_some());
        let endpoint = running.context("no member of etcd runs")?.endpoint();
        etcdctl(&[
            "--endpoints",
            &endpoint,
            "snapshot",
            "save",
            &file.display().to_string(),
        ])
        .await
    }

    /// Stops every member, and starts them with what `file` holds, as after a restored backup.
    ///
    /// # Errors
    /// If `etcdctl` fails or a member does not start.
    pub async fn restore_snapshot(&self, file: &Path) -> Result<()> {
        self.kill_all();
        for member in &self.members {
            member.remove_data()?;
            etcdctl(&[
                "snapshot",
                "restore",
                &file.display().to_string(),
                "--name",
                &member.name,
                "--initial-cluster",
                &member.initial_cluster,
                "--initial-cluster-token",
                &member.token,
                "--initial-advertise-peer-urls",
                &member.peer_url(),
                "--data-dir",
                &member.data().display().to_string(),
            ])
            .await?;
        }
        self.start_all().await
    }
}

impl EtcdMember {
    fn remove_data(&self) -> Result<()> {
        let data = self.data();
        if data.exists() {
            std::fs::remove_dir_all(&data)
                .with_context(|| format!("removing {}", data.display()))?;
        }
        Ok(())
    }
}

async fn etcdctl(arguments: &[&str]) -> Result<()> {
    let mut command = tokio::process::Command::new("etcdctl");
    command.args(arguments).env("ETCDCTL_API", "3");
    let output = command
        .output()
        .await
        .context("is etcdctl installed? scripts/setup lab")?;
    ensure!(
        output.status.success(),
        "etcdctl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
