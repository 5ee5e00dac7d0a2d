//! How many approvals actions on some clusters need, and of which groups.

use std::fmt;
use std::str::FromStr;

use crate::access::{ClusterLabels, ClusterSelector, GroupName};
use crate::id::ClusterName;

/// Most approvals that may be required.
const APPROVALS_MAX: u32 = 16;

/// Actions on the clusters that a selector matches need at least so many approvals, and one of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterApprovals {
    pub clusters: ClusterSelector,
    /// From 1, and at least the number of groups.
    pub least: u32,
    /// Each of them must have approved, by a different person; sorted.
    pub groups: Vec<GroupName>,
}

/// The text is not a valid rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterApprovalsError {
    /// It does not have the form.
    #[error(
        "{0:?} is not a valid number of approvals of clusters; give a name, pattern or label and a number from 1 to {APPROVALS_MAX}, such as prod-*=2 or env=production=2:dba+sre"
    )]
    Form(String),
    /// A group counts once for each rule.
    #[error("{0:?} names the group {1} twice; name each group once")]
    Twice(String, GroupName),
    /// Each group is another person's.
    #[error(
        "{0:?} names {1} groups and requires fewer approvals; each group is another person's approval"
    )]
    TooManyGroups(String, usize),
}

impl FromStr for ClusterApprovals {
    type Err = ClusterApprovalsError;

    fn from_str(text: &str) -> Result<Self, ClusterApprovalsError> {
        let shown: String = text.chars().take(120).collect();
        let error = || ClusterApprovalsError::Form(shown.clone());
        let (clusters, required) = text.rsplit_once('=').ok_or_else(error)?;
        let (least, groups) = match required.split_once(':') {
            Some((least, groups)) => (least, groups.split('+').collect()),
            None => (required, Vec::new()),
        };
        let least: u32 = least.trim().parse().map_err(|_| error())?;
        if !(1..=APPROVALS_MAX).contains(&least) {
            return Err(error());
        }
        let groups = groups.into_iter().map(str::parse);
        let mut groups: Vec<GroupName> = groups.collect::<Result<_, _>>().map_err(|_| error())?;
        groups.sort_unstable();
        if let Some(pair) = groups.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ClusterApprovalsError::Twice(shown, pair[0].clone()));
        }
        if groups.len() > usize::try_from(least).unwrap_or(usize::MAX) {
            return Err(ClusterApprovalsError::TooManyGroups(shown, groups.len()));
        }
        let clusters = clusters.trim().parse().map_err(|_| error())?;
        Ok(Self {
            clusters,
            least,
            groups,
        })
    }
}

/// As it is given.
impl fmt::Display for ClusterApprovals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.clusters, self.least)?;
        let groups: Vec<&str> = self.groups.iter().map(GroupName::as_str).collect();
        match groups.is_empty() {
            true => Ok(()),
            false => write!(f, ":{}", groups.join("+")),
        }
    }
}

/// What actions on a cluster need at least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeastApprovals {
    /// 0 without a rule.
    pub count: u32,
    /// Each must have approved, by a different person; sorted.
    pub groups: Vec<GroupName>,
}

/// What actions on `cluster` need at least: the most that a rule requires, and every group of any rule, each another person's.
#[must_use]
pub fn least_approvals(
    rules: &[ClusterApprovals],
    cluster: &ClusterName,
    labels: &ClusterLabels,
) -> LeastApprovals {
    let mut least = LeastApprovals::default();
    let matching = rules
        .iter()
        .filter(|rule| rule.clusters.matches(cluster, labels));
    for rule in matching {
        least.count = least.count.max(rule.least);
        least.groups.extend_from_slice(&rule.groups);
    }
    least.groups.sort_unstable();
    least.groups.dedup();
    least.count = (least.count).max(u32::try_from(least.groups.len()).unwrap_or(u32::MAX));
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::LabelRule;

    fn labels() -> ClusterLabels {
        let rules = LabelRule::parse_all("prod-*:env=production,eu-*:env=production");
        ClusterLabels::new(rules.unwrap()).unwrap()
    }

    fn least(rules: &[&str], cluster: &str) -> (u32, String) {
        let mut rules: Vec<ClusterApprovals> =
            rules.iter().map(|text| text.parse().unwrap()).collect();
        let cluster = cluster.parse().unwrap();
        let least = least_approvals(&rules, &cluster, &labels());
        rules.reverse();
        assert_eq!(least_approvals(&rules, &cluster, &labels()), least);
        let groups: Vec<&str> = least.groups.iter().map(GroupName::as_str).collect();
        (least.count, groups.join(" "))
    }

    #[test]
    fn the_strictest_rule_counts() {
        let rules = ["prod-*=2", "*=1", "prod-eu = 3", "env=production=2"];
        for (cluster, expected) in [("prod-us", 2), ("prod-eu", 3), ("lab", 1), ("eu-1", 2)] {
            let found = least(&rules, cluster);
            assert_eq!(found, (expected, String::new()), "{cluster}");
        }
        assert_eq!(least(&rules[..1], "lab"), (0, String::new()));
        assert_eq!(least(&rules[3..], "lab"), (0, String::new()));
    }

    #[test]
    fn every_group_of_any_rule_is_needed() {
        let rules = ["env=production=2:sre+dba", "prod-*=3:dba+owners", "*=1"];
        assert_eq!(least(&rules, "eu-1"), (2, "dba sre".to_owned()));
        assert_eq!(least(&rules, "prod-1"), (3, "dba owners sre".to_owned()));
        assert_eq!(least(&rules, "lab"), (1, String::new()));
        // Each group is another person's approval, also where no rule states the sum.
        let rules = ["*=1:a", "*=1:b", "*=1:c"];
        assert_eq!(least(&rules, "lab"), (3, "a b c".to_owned()));
    }

    #[test]
    fn a_rule_that_weakens_or_cannot_be_read_is_refused() {
        for bad in [
            "",
            "prod-*",
            "prod-*=0",
            "prod-*=17",
            "prod-*=-1",
            "=2",
            "a b=2",
            "2",
            "env==2",
            "prod-*=2:",
            "prod-*=2:dba+",
            "prod-*=:dba",
            "prod-*=2:a,b",
        ] {
            let error = bad.parse::<ClusterApprovals>().unwrap_err().to_string();
            assert!(error.contains("prod-*=2"), "{bad}: {error}");
        }
        let twice = "a=2:dba+dba".parse::<ClusterApprovals>().unwrap_err();
        assert!(twice.to_string().contains("group dba twice"), "{twice}");
        let many = "a=1:dba+sre".parse::<ClusterApprovals>().unwrap_err();
        assert!(many.to_string().contains("2 groups"), "{many}");
    }
}
