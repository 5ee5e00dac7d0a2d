//! What an executed plan promised about acknowledged rows.

use acceptance::load::AcknowledgedRow;
use galera::NodeId;
use galera::recover::attestation::Attestation;
use galera::recover::plan::Plan;

/// The promise of a plan that may have taken effect.
pub(crate) struct PlanPromise {
    /// Where the cluster went on from.
    position: Option<u64>,
    /// Whether the plan announced a loss of transactions.
    accepts_loss: bool,
    /// Members whose data the plan did not know: "transactions that only they may have are unknown".
    unknown: Vec<NodeId>,
}

impl PlanPromise {
    /// The promise of `plan`, requested with these attestations.
    pub(crate) fn from_plan(plan: &Plan, attestations: &[Attestation]) -> Self {
        let named = |attested: &&Attestation| {
            // The explanation names the members whose data is unknown.
            let name = attested.node.host();
            plan.loss.explanation.contains("are unknown")
                && plan
                    .loss
                    .explanation
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
                    .any(|word| word.trim_end_matches('.') == name)
        };
        let unknown = attestations.iter().filter(named);
        let position = plan
            .target
            .as_ref()
            .and_then(|target| target.position.as_ref());
        Self {
            position: position.map(|position| position.seqno),
            accepts_loss: plan.loss.transactions.is_some_and(|lost| lost > 0),
            unknown: unknown.map(|attested| attested.node.clone()).collect(),
        }
    }

    /// Whether the plan promised to keep a row, which was acknowledged by the node at `address`.
    pub(crate) fn keeps(&self, row: &AcknowledgedRow, address: &str) -> bool {
        let below = row.position.is_some_and(|at| Some(at) <= self.position);
        let unknown = self.unknown.iter().any(|node| node.host() == address);
        below || !(self.accepts_loss || unknown)
    }
}

#[cfg(test)]
mod tests {
    use galera::recover::attestation::AttestedState;
    use galera::recover::plan::{ActionKind, LossEstimate, Mechanism, PlanDigest, PlanTarget};

    use super::*;

    fn promise(transactions: u64, explanation: &str) -> PlanPromise {
        let node: NodeId = "10.77.1.12".parse().unwrap();
        let plan = Plan {
            kind: ActionKind::Bootstrap,
            cluster: "same".parse().unwrap(),
            digest: PlanDigest::new(""),
            executable: true,
            computed_at: galera::Timestamp::from_unix_millis(0),
            summary: String::new(),
            checks: Vec::new(),
            target: Some(PlanTarget {
                mechanism: Mechanism::Statement,
                node: None,
                process: None,
                members: Vec::new(),
                position: Some("6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:40".parse().unwrap()),
                revives: Vec::new(),
                leaves_out: Vec::new(),
                removes: Vec::new(),
            }),
            steps: Vec::new(),
            undo: Vec::new(),
            agents: Vec::new(),
            to_confirm: None,
            commands: Vec::new(),
            loss: LossEstimate {
                transactions: Some(transactions),
                at_least: false,
                explanation: explanation.to_owned(),
            },
            attestations: Vec::new(),
        };
        let attested = Attestation {
            node,
            statement: AttestedState::Fenced,
            saved_state: None,
        };
        PlanPromise::from_plan(&plan, &[attested])
    }

    fn row(position: Option<u64>) -> AcknowledgedRow {
        AcknowledgedRow {
            id: 1,
            node: "n2".to_owned(),
            position,
        }
    }

    #[test]
    fn everything_is_promised_unless_the_plan_names_what_is_not() {
        let all = promise(
            0,
            "No known data loss; no transaction after 40 has been seen.",
        );
        assert!(all.keeps(&row(Some(41)), "10.77.1.12") && all.keeps(&row(None), "10.77.1.12"));
        let blind = promise(
            0,
            "No known data loss; no transaction after 40 has been seen. Transactions that only 10.77.1.12 may have are unknown.",
        );
        assert!(blind.keeps(&row(Some(40)), "10.77.1.12"));
        assert!(!blind.keeps(&row(Some(41)), "10.77.1.12"));
        assert!(!blind.keeps(&row(None), "10.77.1.12"));
        assert!(blind.keeps(&row(Some(41)), "10.77.1.11"));
        let lossy = promise(
            3,
            "n3 is known to have reached 43; transactions after 40 would be lost.",
        );
        assert!(!lossy.keeps(&row(Some(41)), "10.77.1.11"));
    }
}
