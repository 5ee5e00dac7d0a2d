//! Collects the parts of a plan ([`PlanDraft`]) and computes its digest.

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    ActionKind, AgentReason, CheckCode, CheckEvidence, CheckStatus, EvidenceSource, LossEstimate,
    ManualCommand, OpenConfirmation, Plan, PlanCheck, PlanDigest, PlanStep, PlanTarget,
    TransientCause,
};
use crate::id::{ClusterName, NodeId};
use crate::recover::attestation::Attestation;
use crate::timestamp::Timestamp;

/// What a digest covers, in this order. Messages are left out because they may contain times; their facts are in the
/// evidence.
#[derive(Serialize)]
struct DigestInput<'a> {
    kind: ActionKind,
    cluster: &'a ClusterName,
    executable: bool,
    checks: Vec<DigestCheck<'a>>,
    target: &'a Option<PlanTarget>,
    steps: &'a [PlanStep],
    undo: &'a [PlanStep],
    transactions: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    at_least: bool,
    attestations: &'a [Attestation],
}

#[derive(Serialize)]
struct DigestCheck<'a> {
    code: &'a CheckCode,
    status: CheckStatus,
    evidence: Vec<(Option<&'a NodeId>, EvidenceSource, &'a str)>,
}

impl Plan {
    /// The digest of this plan's content; equal to [`Plan::digest`] unless the plan was altered.
    #[must_use]
    pub fn computed_digest(&self) -> PlanDigest {
        let covered = DigestInput {
            kind: self.kind,
            cluster: &self.cluster,
            executable: self.executable,
            checks: self
                .checks
                .iter()
                .map(|check| DigestCheck {
                    code: &check.code,
                    status: check.status,
                    evidence: check
                        .evidence
                        .iter()
                        .map(|evidence| {
                            (
                                evidence.node.as_ref(),
                                evidence.source,
                                evidence.value.as_str(),
                            )
                        })
                        .collect(),
                })
                .collect(),
            target: &self.target,
            steps: &self.steps,
            undo: &self.undo,
            transactions: self.loss.transactions,
            at_least: self.loss.at_least,
            attestations: &self.attestations,
        };
        // Struct fields keep their order and there are no maps, so equal facts give equal bytes.
        match serde_json::to_vec(&covered) {
            Ok(bytes) => PlanDigest::new(hex(&Sha256::digest(bytes))),
            // Nothing in a plan can fail to serialize; a plan without a digest matches no approval.
            Err(_) => PlanDigest::new(""),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Collects the parts of a plan.
pub(crate) struct PlanDraft {
    pub(crate) checks: Vec<PlanCheck>,
    pub(crate) target: Option<PlanTarget>,
    pub(crate) steps: Vec<PlanStep>,
    pub(crate) undo: Vec<PlanStep>,
    pub(crate) agents: Vec<AgentReason>,
    pub(crate) to_confirm: Option<OpenConfirmation>,
    pub(crate) commands: Vec<ManualCommand>,
    pub(crate) loss: LossEstimate,
}

impl PlanDraft {
    pub(crate) fn new() -> Self {
        Self {
            checks: Vec::new(),
            target: None,
            steps: Vec::new(),
            undo: Vec::new(),
            agents: Vec::new(),
            to_confirm: None,
            commands: Vec::new(),
            loss: LossEstimate {
                transactions: Some(0),
                at_least: false,
                explanation: "No action is planned.".to_owned(),
            },
        }
    }

    /// Marks the last check: its result may change soon.
    pub(crate) fn mark_transient(&mut self, passing: TransientCause) {
        if let Some(last) = self.checks.last_mut() {
            last.transient = Some(passing);
        }
    }

    /// Records when the last check will pass if nothing changes.
    pub(crate) fn expect_at(&mut self, at: Timestamp) {
        if let Some(last) = self.checks.last_mut() {
            last.expected_at = Some(at);
        }
    }

    /// Adds a check. Its evidence is sorted, so that the order of arrival does not matter.
    pub(crate) fn add_check(
        &mut self,
        code: CheckCode,
        status: CheckStatus,
        message: String,
        mut evidence: Vec<CheckEvidence>,
    ) {
        evidence.sort();
        self.checks.push(PlanCheck {
            code,
            status,
            message,
            evidence,
            expected_at: None,
            transient: None,
        });
    }

    /// Whether every check so far permits execution.
    pub(crate) fn permits(&self) -> bool {
        self.checks.iter().all(|check| check.status.permits())
    }

    /// Completes the plan. It is executable if every check permits it and it has a step.
    pub(crate) fn finish(
        self,
        kind: ActionKind,
        cluster: &ClusterName,
        attestations: &[Attestation],
        summary: String,
        now: Timestamp,
    ) -> Plan {
        let mut attestations = attestations.to_vec();
        attestations.sort();
        attestations.dedup();
        let mut plan = Plan {
            kind,
            cluster: cluster.clone(),
            digest: PlanDigest::new(""),
            executable: self.permits() && !self.steps.is_empty(),
            computed_at: now,
            summary,
            checks: self.checks,
            target: self.target,
            steps: self.steps,
            undo: self.undo,
            agents: self.agents,
            to_confirm: self.to_confirm,
            commands: self.commands,
            loss: self.loss,
            attestations,
        };
        plan.digest = plan.computed_digest();
        plan
    }
}

/// A fact about a node.
pub(crate) fn fact(
    node: Option<&NodeId>,
    source: EvidenceSource,
    observed_at: Option<Timestamp>,
    value: impl Into<String>,
) -> CheckEvidence {
    CheckEvidence {
        node: node.cloned(),
        source,
        observed_at,
        value: value.into(),
    }
}
