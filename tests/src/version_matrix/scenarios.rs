//! The scenarios.

use std::path::PathBuf;
use std::time::Duration;

use ::galera::NodeId;
use ::galera::recover::action::ActionState;
use ::galera::recover::attestation::Attestation;
use ::galera::view::VerdictState;
use anyhow::{Result, ensure};

use super::{FORMATION_TIMEOUT, MEMBERS, MatrixLab, shown_id};
use crate::lab::release::ServerRelease;
use crate::recovery_team::attest_stopped;

/// Longest wait for a plan that every check permits.
const PLAN_TIMEOUT: Duration = Duration::from_secs(90);

impl MatrixLab {
    pub(super) async fn transfer_incrementally(&self) -> Result<()> {
        let node = self.lab.node(3);
        node.kill().await?;
        self.lab
            .wait_until_synced(&[1, 2], FORMATION_TIMEOUT)
            .await?;
        self.wait_for_rows().await?;
        let log = LogEnd::of(node.error_log());
        node.start()?;
        self.wait_until_whole().await?;
        let added = log.added()?;
        ensure!(
            added.contains("IST received"),
            "it did not get what it missed by IST:\n{}",
            transfer_lines(&added)
        );
        Ok(())
    }

    pub(super) async fn transfer_everything(&self) -> Result<()> {
        let node = self.lab.node(3);
        let code = node.stop().await?;
        ensure!(code == Some(0), "the agent's exit code: {code:?}");
        node.set_data_aside()?;
        let log = LogEnd::of(node.error_log());
        node.start()?;
        self.wait_until_whole().await?;
        let added = log.added()?;
        ensure!(
            added.contains("SST received"),
            "it did not get everything by SST:\n{}",
            transfer_lines(&added)
        );
        Ok(())
    }

    pub(super) async fn recover_by_statement(&self) -> Result<()> {
        let lost = [self.lab.node(2), self.lab.node(3)];
        for node in lost {
            node.kill().await?;
        }
        self.wait_for_view("no Primary component", |view| {
            let state = view.verdict.state;
            ensure!(state == VerdictState::NoPrimary, "{:#?}", view.verdict);
            Ok(())
        })
        .await?;
        let ids = lost.iter().map(|node| shown_id(node));
        let declared = attest_stopped(&ids.collect::<Result<Vec<NodeId>>>()?);
        self.approve_bootstrap(&declared).await?;
        self.lab.wait_until_synced(&[1], FORMATION_TIMEOUT).await?;
        self.wait_for_rows().await?;
        for node in lost {
            node.start()?;
        }
        self.wait_until_whole().await
    }

    pub(super) async fn restart_by_agents(&self) -> Result<()> {
        self.kill_all().await?;
        for node in self.lab.nodes() {
            node.start()?;
        }
        self.wait_until_whole().await
    }

    pub(super) async fn recover_by_order(&self) -> Result<()> {
        self.kill_all().await?;
        for node in self.lab.nodes() {
            node.start_with(&[("AUTO_BOOTSTRAP", "never")])?;
        }
        for node in self.lab.nodes() {
            node.wait_for_log("for an approved bootstrap order", FORMATION_TIMEOUT)
                .await?;
        }
        self.approve_bootstrap(&[]).await?;
        self.wait_until_whole().await
    }

    /// As an operator does: a node leaves in order and returns with its data under the new release.
    pub(super) async fn upgrade(&self, release: ServerRelease) -> Result<()> {
        for node in self.lab.nodes() {
            let code = node.stop().await?;
            ensure!(code == Some(0), "the agent's exit code: {code:?}");
            self.wait_for_rows().await?;
            node.switch_release(release);
            node.start()?;
            self.wait_until_whole().await?;
        }
        Ok(())
    }

    /// Requests and approves a bootstrap, and waits until it has succeeded.
    async fn approve_bootstrap(&self, declared: &[Attestation]) -> Result<()> {
        let plan = self
            .team
            .executable_plan_within(PLAN_TIMEOUT, "bootstrap", declared)
            .await?;
        let action = self.team.request("bootstrap", &plan, declared).await?;
        self.team
            .act(&self.team.approver, &action, "approve")
            .await?;
        let ended = self.team.wait_for_end(&action).await?.action;
        ensure!(ended.state == ActionState::Succeeded, "{ended:#?}");
        Ok(())
    }

    async fn kill_all(&self) -> Result<()> {
        let [one, two, three] = MEMBERS.map(|number| self.lab.node(number));
        let (one, two, three) = tokio::join!(one.kill(), two.kill(), three.kill());
        one.and(two).and(three)
    }

    /// Waits until all are members of one Primary component, as they and the console report, and clients write.
    async fn wait_until_whole(&self) -> Result<()> {
        self.lab
            .wait_until_synced(&MEMBERS, FORMATION_TIMEOUT)
            .await?;
        self.wait_until_healthy().await?;
        self.wait_for_rows().await
    }
}

/// How long a log was.
struct LogEnd {
    log: PathBuf,
    length: usize,
}

impl LogEnd {
    fn of(log: PathBuf) -> Self {
        let length = std::fs::read(&log).map_or(0, |bytes| bytes.len());
        Self { log, length }
    }

    /// What was added since.
    fn added(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log)?;
        let added = bytes.get(self.length..).unwrap_or_default();
        Ok(String::from_utf8_lossy(added).into_owned())
    }
}

/// The lines about state transfers.
fn transfer_lines(log: &str) -> String {
    let lines = log
        .lines()
        .filter(|line| line.contains("IST") || line.contains("SST") || line.contains("transfer"));
    lines.collect::<Vec<_>>().join("\n")
}
