//! etcd and the console's state: lost, or an earlier one.

use std::path::PathBuf;

use anyhow::Result;

use super::LabConditions;
use crate::faults::RoundFault;
use crate::rounds_lab::RoundsLab;

/// What the consoles lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostMemory {
    /// Everything.
    Everything,
    /// What happened since the backup.
    SinceBackup,
}

impl LabConditions {
    pub(super) async fn apply_memory_fault(
        &mut self,
        lab: &RoundsLab,
        fault: &RoundFault,
    ) -> Result<()> {
        let etcd = lab.nodes.etcd();
        match fault {
            RoundFault::SaveEtcd => {
                let file = backup(lab);
                // Of an earlier round.
                if file.exists() {
                    std::fs::remove_file(&file)?;
                }
                etcd.save_snapshot(&file).await?;
            }
            RoundFault::EmptyEtcd => {
                etcd.empty().await?;
                self.lost_memory = Some(LostMemory::Everything);
            }
            RoundFault::RestoreEtcd => {
                etcd.restore_snapshot(&backup(lab)).await?;
                self.lost_memory = Some(LostMemory::SinceBackup);
            }
            // Without a quorum nothing can be deleted either.
            RoundFault::DeleteState if lab.delete_state().await.is_ok() => {
                self.lost_memory = Some(LostMemory::Everything);
            }
            _ => {}
        }
        Ok(())
    }
}

fn backup(lab: &RoundsLab) -> PathBuf {
    lab.nodes.directory().join("etcd.backup")
}
