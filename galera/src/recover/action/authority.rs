//! Whether an action may still be executed: for the people who asked for it (I41), and as the plan computed now.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, ActionLimits, BreakGlass};
use crate::access::{
    CredentialTag, GroupName, Operation, Role, check_permission, group_without_member,
};
use crate::recover::action::request::is_never_overridable;
use crate::recover::plan::{CheckCode, Plan, PlanStep};

/// An enabled account, as read just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAccount {
    pub roles: Vec<Role>,
    pub credential: CredentialTag,
    /// The groups that it is in.
    pub groups: Vec<GroupName>,
}

/// The accounts that an action names, as read just now. An account that is missing has been removed or disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentAccounts(BTreeMap<String, CurrentAccount>);

impl CurrentAccounts {
    /// Adds the enabled account `name`.
    pub fn insert(&mut self, name: &str, account: CurrentAccount) {
        self.0.insert(name.to_ascii_lowercase(), account);
    }

    fn get(&self, name: &str) -> Option<&CurrentAccount> {
        self.0.get(&name.to_ascii_lowercase())
    }

    /// Why `name`, described by `part`, can no longer stand for what was done under `credential`.
    fn objection(
        &self,
        name: &str,
        part: &str,
        credential: Option<&CredentialTag>,
        permitted: impl Fn(&[Role]) -> bool,
    ) -> Option<String> {
        let Some(account) = self.get(name) else {
            return Some(format!("{name}, who {part}, has been disabled or removed"));
        };
        if credential.is_some_and(|credential| *credential != account.credential) {
            return Some(format!(
                "{name}, who {part}, has been given another password since"
            ));
        }
        (!permitted(&account.roles))
            .then(|| format!("{name}, who {part}, no longer has the role for that"))
    }
}

impl Action {
    /// The accounts whose authority this action rests on: its requester and its approvers.
    pub fn people(&self) -> impl Iterator<Item = &str> {
        let approvers = self.approvals.iter().map(|approval| approval.by.as_str());
        std::iter::once(self.requested_by.as_str()).chain(approvers)
    }

    /// Why the people who requested and approved this action no longer suffice to execute it; `None` if they do.
    pub(super) fn lost_authority(
        &self,
        accounts: &CurrentAccounts,
        limits: &ActionLimits,
    ) -> Option<String> {
        let operation = match self.break_glass {
            Some(_) => Operation::BreakGlass,
            None => Operation::RequestAction,
        };
        let may =
            |operation: Operation| move |roles: &[Role]| check_permission(roles, operation).is_ok();
        let requester = accounts.objection(
            &self.requested_by,
            "requested this",
            self.requester_credential.as_ref(),
            may(operation),
        );
        let approvers = self.approvals.iter().find_map(|approval| {
            accounts.objection(
                &approval.by,
                "approved this",
                approval.credential.as_ref(),
                may(Operation::ApproveAction),
            )
        });
        requester
            .or(approvers)
            .or_else(|| self.missing_approvals(limits))
            .or_else(|| self.missing_approver_group(accounts, limits))
    }

    /// The groups that must approve: those of the request, and those of settings that became stricter since.
    pub(super) fn groups_needed(&self, limits: &ActionLimits) -> Vec<GroupName> {
        let groups = self.approver_groups.iter().chain(&limits.approver_groups);
        let groups: BTreeSet<&GroupName> = groups.collect();
        groups.into_iter().cloned().collect()
    }

    /// Compares with the groups that the approvers are in now.
    fn missing_approver_group(
        &self,
        accounts: &CurrentAccounts,
        limits: &ActionLimits,
    ) -> Option<String> {
        let needed = self.groups_needed(limits);
        let members: Vec<&[GroupName]> = self
            .approvers()
            .iter()
            .filter_map(|name| accounts.get(name))
            .map(|account| &account.groups[..])
            .collect();
        let missing = group_without_member(&needed, &members);
        missing.map(|group| format!("the approval of a member of group {group} is missing"))
    }

    /// The people who approved, without the requester.
    fn approvers(&self) -> BTreeSet<String> {
        let requester = self.requested_by.to_ascii_lowercase();
        let names = self.approvals.iter();
        let names = names.map(|approval| approval.by.to_ascii_lowercase());
        names.filter(|name| *name != requester).collect()
    }

    /// Counts people, not entries, and never the requester.
    fn missing_approvals(&self, limits: &ActionLimits) -> Option<String> {
        let least = u32::from(self.break_glass.is_some());
        let needed = self
            .approvals_needed
            .max(limits.approvals_needed)
            .max(least);
        let given = u32::try_from(self.approvers().len()).unwrap_or(u32::MAX);
        (given < needed).then(|| format!("{given} of {needed} approvals are given"))
    }

    /// Why step `index` does not follow from `computed`, the plan computed by this executor; `None` if it does.
    ///
    /// The first step needs the whole plan to be the approved one. A later one must still be a step of it: the earlier
    /// steps have changed what a plan is computed from.
    pub(super) fn differs_from(&self, computed: &Plan, index: Option<usize>) -> Option<String> {
        if computed.kind != self.kind || computed.cluster != self.cluster {
            return Some("the plan computed now is for another action".to_owned());
        }
        if let Some(index) = index.filter(|_| self.may_have_acted()) {
            let step = self.plan.steps.get(index);
            let computed = step.is_some_and(|step| computed.steps.contains(step));
            let what = match step {
                Some(PlanStep::Key { key, .. }) => key.as_str(),
                _ => "this step",
            };
            return (!computed).then(|| {
                format!(
                    "step {}, {what}, is not a step of the plan computed now",
                    index + 1
                )
            });
        }
        let altered = self.plan.computed_digest() != computed.digest
            || self.plan.kind != self.kind
            || self.plan.cluster != self.cluster
            || self.plan.attestations != self.attestations
            || self.steps.len() != computed.steps.len();
        if altered {
            return Some("its record was altered outside the console".to_owned());
        }
        let failing: Vec<&str> = computed
            .failing()
            .filter(|check| {
                !covers(self.break_glass.as_ref(), &check.code)
                    || is_never_overridable(&check.code, check.status)
            })
            .map(|check| check.message.as_str())
            .collect();
        if computed.steps.is_empty() {
            return Some("the plan computed now has no step".to_owned());
        }
        (!failing.is_empty()).then(|| failing.join(" "))
    }
}

fn covers(break_glass: Option<&BreakGlass>, code: &CheckCode) -> bool {
    break_glass.is_some_and(|break_glass| break_glass.overrides.contains(code))
}
