//! The operators on call: they attest the true state of every member, request a plan, approve it, and do what the plan
//! asks for. Nothing else makes the cluster Primary.

use std::time::{Duration, Instant};

use acceptance::observer::NodeStatus;
use acceptance::recovery_team::attest_all;
use anyhow::{Result, ensure};
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{CheckCode, Plan};
use rand::Rng;

use crate::round::Round;
use crate::rounds_lab::NODES;

mod access;
mod execution;
mod remedies;

pub(crate) use execution::EndedAction;

/// Longest time until a node is Primary again, including all operator work.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(180);
/// The same if a clock was wrong: an order that no agent obeys is watched for five minutes, and requested again.
const CLOCK_RECOVERY_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a node must have been Primary for the cluster to count as such.
const PRIMARY_STEADY: Duration = Duration::from_secs(2);
/// A node that has been Primary for so long must be known to the console.
const DETECTION_LIMIT: Duration = Duration::from_secs(3);
/// How long operators wait for a blocked plan before they intervene.
const PATIENCE: Duration = Duration::from_secs(4);
/// The same if the plan is only waiting for the cluster to heal.
const HEALING_PATIENCE: Duration = Duration::from_secs(45);
/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

impl Round<'_> {
    /// Works until a node reports that it is Primary.
    ///
    /// # Errors
    /// If that takes too long, an action does not end, or the console offers an unsafe plan.
    pub(crate) async fn recover_cluster(&mut self) -> Result<()> {
        let limit = if self.conditions.clocks_differ {
            CLOCK_RECOVERY_TIMEOUT
        } else {
            RECOVERY_TIMEOUT
        };
        let end = Instant::now() + limit;
        let mut blocked = Instant::now();
        while !self.has_steady_primary() {
            ensure!(
                Instant::now() < end,
                "no node was Primary again within {limit:?}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
            self.resume_due();
            let Some((console, plan, attestations)) = self.plan().await? else {
                if blocked.elapsed() > PATIENCE {
                    self.assist(None).await?;
                    blocked = Instant::now();
                }
                continue;
            };
            let overrides = blocked.elapsed() > PATIENCE && self.may_override(&plan);
            if plan.executable || overrides {
                self.execute_plan(console, &plan, &attestations).await?;
                blocked = Instant::now();
            } else if blocked.elapsed() > plan_patience(&plan) {
                self.assist(Some(&plan)).await?;
                blocked = Instant::now();
            }
        }
        // From now on the cluster has the data that count.
        for node in &mut self.conditions.nodes {
            node.data_given_up |= node.former_data.take().is_some();
        }
        Ok(())
    }

    /// Whether only those checks fail that people know better: the data that are ahead were given up, or the member that
    /// the plan misses is the arbitrator.
    pub(super) fn may_override(&self, plan: &Plan) -> bool {
        let gave_up = self
            .conditions
            .nodes
            .iter()
            .any(|node| node.returns_after.is_some());
        let known_better = |code: &CheckCode| {
            let ahead = [
                CheckCode::MOST_ADVANCED,
                CheckCode::NO_REGRESSION,
                CheckCode::LAST_PRIMARY,
            ];
            (gave_up && ahead.contains(code))
                || (self.conditions.had_arbitrator && *code == CheckCode::MEMBERS_KNOWN)
        };
        plan.target.is_some() && plan.failing().all(|check| known_better(&check.code))
    }

    /// Whether a node has been Primary for a while and still is.
    pub(crate) fn has_steady_primary(&self) -> bool {
        let now = Instant::now();
        let recently = now.checked_sub(Duration::from_millis(600)).unwrap_or(now);
        let since = recently.checked_sub(PRIMARY_STEADY).unwrap_or(recently);
        !self.observer.primary_throughout(since, recently).is_empty()
    }

    /// The plan as one of the replicas makes it, with what can truthfully be attested; `None` when it gives none.
    async fn plan(&mut self) -> Result<Option<(usize, Plan, Vec<Attestation>)>> {
        let Some(console) = self.any_console() else {
            return Ok(None);
        };
        let attestations = self.attestations()?;
        let asked = Instant::now();
        let plan = self
            .lab
            .team(console)
            .plan("bootstrap", &attestations)
            .await;
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                let error = format!("{error:#}");
                self.journal
                    .note_change(format!("console {} gives no plan: {error}", console + 1));
                if error.contains("401 Unauthorized") {
                    self.sign_in_again(console).await;
                }
                return Ok(None);
            }
        };
        let failing: Vec<&str> = plan.failing().map(|check| check.code.as_str()).collect();
        self.journal
            .note_change(format!("plan: {} [{}]", plan.summary, failing.join(", ")));
        if plan.executable {
            self.ensure_no_known_primary(&plan, asked).await?;
        }
        Ok(Some((console, plan, attestations)))
    }

    /// No plan may be offered while a node has been Primary for longer than detection takes.
    async fn ensure_no_known_primary(&self, plan: &Plan, asked: Instant) -> Result<()> {
        // The next answers prove that it was Primary at the moment of the question.
        tokio::time::sleep(POLL_INTERVAL).await;
        let since = asked.checked_sub(DETECTION_LIMIT).unwrap_or(asked);
        let primary = self.observer.primary_throughout(since, asked);
        ensure!(
            primary.is_empty(),
            "the console offered to bootstrap while {} was Primary: {}",
            primary.join(", "),
            plan.summary
        );
        Ok(())
    }

    /// The true state of the members that do not respond: killed ones are stopped, or given up with everything that
    /// only they hold. An unplugged one is fenced if it serves no client, because its clients are on its side of the
    /// partition. Data that were replaced are given up, or put back ([`Round::assist`]).
    fn attestations(&self) -> Result<Vec<Attestation>> {
        let id = |node: &usize| self.lab.node(*node).id();
        let down = self.conditions.nodes_where(|node| node.down);
        let down = down.iter().map(id).collect::<Result<Vec<_>>>()?;
        let unplugged = self
            .conditions
            .nodes_where(|node| node.unplugged && !node.down);
        let fenced = unplugged
            .into_iter()
            .filter(|node| self.serves_nobody(*node));
        let fenced = fenced.map(|node| id(&node)).collect::<Result<Vec<_>>>()?;
        let statement = if self.gives_up {
            AttestedState::Fenced
        } else {
            AttestedState::Stopped
        };
        let mut all = attest_all(&down, statement);
        all.extend(attest_all(&fenced, AttestedState::Fenced));
        let gone: Vec<usize> = self.conditions.nodes_where(|node| {
            node.data_given_up || (self.gives_up && node.former_data.is_some())
        });
        let gone = gone.into_iter().filter(|node| self.answer(*node).is_none());
        let gone = gone.map(|node| id(&node)).collect::<Result<Vec<_>>>()?;
        all.retain(|attestation| !gone.contains(&attestation.node));
        all.extend(attest_all(&gone, AttestedState::Decommissioned));
        Ok(all)
    }

    fn serves_nobody(&self, node: usize) -> bool {
        self.says_primary(node) == Some(false)
    }

    /// Whether a node reports that it is Primary; `None` if it does not respond.
    fn says_primary(&self, node: usize) -> Option<bool> {
        Some(self.answer(node)?.primary.is_some())
    }

    /// A node's last answer, if it responds.
    pub(crate) fn answer(&self, node: usize) -> Option<NodeStatus> {
        let mut known = self.observer.nodes();
        if node >= known.len().min(NODES) {
            return None;
        }
        known.swap_remove(node).1
    }

    fn any_console(&mut self) -> Option<usize> {
        let running = self.lab.running();
        let choice = self.random.random_range(0..running.len().max(1));
        running.get(choice).copied()
    }
}

fn plan_patience(plan: &Plan) -> Duration {
    let waits = plan.failing().all(|check| check.code == CheckCode::SETTLED);
    if waits { HEALING_PATIENCE } else { PATIENCE }
}
