//! What must hold at the end of every round.

use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::homogeneous::CLUSTER;
use acceptance::load::{AcknowledgedRow, missing_rows};
use anyhow::{Context, Result, ensure};
use galera::ActionId;
use galera::publish::api::{ActionList, ActionView};
use galera::record::audit::AuditEvent;
use galera::recover::action::StepState;
use galera::view::VerdictState;

use crate::round::{Round, RowCounts};
use crate::rounds_lab::{CONSOLES, NODES};

mod tables;

/// Time for registry and consoles to converge.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(30);

impl Round<'_> {
    /// Judges the round.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) async fn judge(&mut self) -> Result<RowCounts> {
        self.journal.note("checking the result");
        let rows = self.load.stop().await;
        let given_up = self.check_rows(&rows).await?;
        tables::check_equal(&self.lab.nodes).await?;
        self.observer.verify()?;
        self.check_registry().await?;
        self.check_consoles().await?;
        self.check_actions().await?;
        let verified = self.lab.consoles[0].command(&["audit", "verify"]).await?;
        ensure!(
            verified.contains("the chain is intact"),
            "the audit trail: {verified}"
        );
        Ok(RowCounts {
            acknowledged: rows.len(),
            given_up,
        })
    }

    /// Every acknowledged row that no approved plan gave up is on every node. Returns how many were given up.
    async fn check_rows(&self, rows: &[AcknowledgedRow]) -> Result<usize> {
        let watched = self.lab.observed_nodes();
        let address = |row: &AcknowledgedRow| {
            let node = watched.iter().find(|node| node.name == row.node);
            node.map_or_else(String::new, |node| node.address.clone())
        };
        let mut given_up = 0;
        for node in &watched {
            // On a busy machine a view can still change, and a node without quorum shows no rows.
            let read = eventually("the rows", CONVERGENCE_TIMEOUT, async || {
                missing_rows(node.options.clone(), rows).await
            });
            let gone = read
                .await
                .with_context(|| format!("asking {}", node.name))?;
            let broken: Vec<&&AcknowledgedRow> = gone
                .iter()
                .filter(|row| {
                    let mut promises = self.promises.iter();
                    promises.all(|promise| promise.keeps(row, &address(row)))
                })
                .collect();
            ensure!(
                broken.is_empty(),
                "{} of {} acknowledged rows are missing on {}, against the word of every plan: {:?}…",
                broken.len(),
                rows.len(),
                node.name,
                &broken[..broken.len().min(5)]
            );
            given_up = given_up.max(gone.len());
        }
        Ok(given_up)
    }

    async fn check_registry(&self) -> Result<()> {
        eventually(
            "the registry to match the nodes",
            CONVERGENCE_TIMEOUT,
            async || {
                let keys = self.lab.nodes.keys().await?;
                ensure!(!keys.contains_key("bootstrap"), "an order is left");
                let founder = keys.get("founder").context("no founder")?;
                for number in 0..NODES {
                    let node = self.lab.node(number);
                    let status = node.wsrep().await?;
                    let id = node.id()?;
                    for name in [
                        "wsrep_local_state_comment",
                        "wsrep_cluster_status",
                        "wsrep_cluster_state_uuid",
                        "wsrep_cluster_size",
                        "wsrep_cluster_conf_id",
                    ] {
                        let registered = keys.get(&format!("{id}/{name}"));
                        ensure!(
                            registered == status.get(name),
                            "{id} reports {:?}, its registration {registered:?}",
                            status.get(name)
                        );
                    }
                    let history = status
                        .get("wsrep_cluster_state_uuid")
                        .context("no history")?;
                    ensure!(
                        founder.contains(history.as_str()),
                        "{founder} is of another history"
                    );
                }
                Ok(())
            },
        )
        .await
    }

    async fn check_consoles(&self) -> Result<()> {
        for (index, console) in self.lab.consoles.iter().enumerate() {
            console.wait_until_ready().await?;
            eventually(
                "the console to see a healthy cluster",
                CONVERGENCE_TIMEOUT,
                async || {
                    let operator = &self.lab.team(index).operator;
                    operator.acknowledge_alarms(CLUSTER).await?;
                    let view = operator.cluster(CLUSTER).await?;
                    ensure!(
                        view.verdict.state == VerdictState::Healthy,
                        "it reports {:?}",
                        view.verdict
                    );
                    Ok(())
                },
            )
            .await?;
        }
        Ok(())
    }

    /// All approved actions have ended, each step was sent at most once, and both replicas agree.
    async fn check_actions(&self) -> Result<()> {
        for console in 0..CONSOLES {
            let team = self.lab.team(console);
            let path = format!("/api/v1/actions?cluster={CLUSTER}&limit=50");
            let list: ActionList = team.operator.get(&path).await?;
            for ended in &self.ended {
                let shown = list.actions.iter().find(|one| one.action.id == ended.id);
                let shown = shown.with_context(|| format!("{} is not listed", ended.id))?;
                ensure!(
                    shown.action.state == ended.state,
                    "{} was {:?} and is {:?}: a final state changed",
                    ended.id,
                    ended.state,
                    shown.action.state
                );
            }
            for action in &list.actions {
                ensure!(
                    action.action.state.is_final(),
                    "{} is {:?} still",
                    action.action.id,
                    action.action.state
                );
                let open = |state| matches!(state, StepState::Intended | StepState::Unknown);
                let unclear = action.action.steps.iter().filter(|step| open(step.state));
                ensure!(
                    unclear.count() <= 1,
                    "several steps of {} are unclear",
                    action.action.id
                );
            }
        }
        for ended in &self.ended {
            self.check_sent_once(&ended.id).await?;
        }
        Ok(())
    }

    async fn check_sent_once(&self, id: &ActionId) -> Result<()> {
        let team = self.lab.team(0);
        let path = format!("/api/v1/actions/{id}");
        let action: ActionView = team.operator.get(&path).await?;
        let recorded = team.audit_events(&action).await?;
        let steps = recorded
            .iter()
            .filter(|event| **event == AuditEvent::ACTION_STEP)
            .count();
        ensure!(
            steps <= action.action.steps.len(),
            "{id} was sent {steps} times: {recorded:?}"
        );
        Ok(())
    }
}
