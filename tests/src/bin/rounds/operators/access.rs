//! Operators whose console lost its state, its sessions or its members.

use anyhow::Result;

use crate::conditions::LostMemory;
use crate::round::Round;

impl Round<'_> {
    /// Does what docs/etcd.md says after etcd was emptied or restored. Returns whether there was something to do.
    ///
    /// # Errors
    /// If a command of the console fails.
    pub(crate) async fn regain_memory(&mut self) -> Result<bool> {
        let Some(lost) = self.conditions.lost_memory.take() else {
            return Ok(false);
        };
        self.repair_etcd().await?;
        for console in &self.lab.consoles {
            // One that was killed is not running.
            let _ = console.stop().await;
        }
        match lost {
            LostMemory::Everything => {
                self.journal.note("the consoles start again without state");
                // With what running consoles wrote since.
                self.lab.delete_state().await?;
                self.lab.forget_seen_records()?;
                for user in &self.lab.consoles[0].settings().users {
                    // The state may have been lost before the accounts were.
                    let _ = self.lab.consoles[0].add_user(user).await;
                }
            }
            LostMemory::SinceBackup => {
                self.journal.note("the earlier state of etcd is accepted");
                let accepted = self.lab.accept_earlier_state().await?;
                self.journal.note(accepted);
            }
        }
        for console in &self.lab.consoles {
            console.launch()?;
        }
        for console in &self.lab.consoles {
            console.wait_until_ready().await?;
        }
        self.lab.sign_in(0).await?;
        // These actions are no longer recorded.
        self.ended.clear();
        Ok(true)
    }

    /// Starts the consoles again with every member pinned (`--cluster`).
    ///
    /// # Errors
    /// If a console is not ready in time.
    pub(super) async fn pin_members(&mut self) -> Result<()> {
        self.journal
            .note("the consoles start again, every member pinned");
        let pinned = self.lab.pinned_members()?;
        for console in &self.lab.consoles {
            console.kill();
            console.launch_with(&["--cluster", &pinned])?;
        }
        for console in &self.lab.consoles {
            console.wait_until_ready().await?;
        }
        self.members_pinned = true;
        Ok(())
    }

    /// Signs in at a console where the sessions have ended.
    pub(super) async fn sign_in_again(&mut self, console: usize) {
        if let Err(error) = self.lab.sign_in(console).await {
            self.journal.note_change(format!(
                "not signed in at console {}: {error:#}",
                console + 1
            ));
        }
    }
}
