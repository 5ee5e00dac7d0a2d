//! How many approvals actions on some clusters need.

use std::str::FromStr;

use crate::access::ClusterPattern;
use crate::id::ClusterName;

/// Most approvals that may be required.
const APPROVALS_MAX: u32 = 16;

/// Actions on the clusters that a pattern matches need at least so many approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterApprovals {
    pub clusters: ClusterPattern,
    /// From 1.
    pub least: u32,
}

/// The text is not a valid rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid number of approvals of clusters; give a name or pattern and a number from 1 to {APPROVALS_MAX}, such as prod-*=2"
)]
pub struct ClusterApprovalsError(pub String);

impl FromStr for ClusterApprovals {
    type Err = ClusterApprovalsError;

    fn from_str(text: &str) -> Result<Self, ClusterApprovalsError> {
        let error = || ClusterApprovalsError(text.chars().take(120).collect());
        let (clusters, least) = text.split_once('=').ok_or_else(error)?;
        let least: u32 = least.trim().parse().map_err(|_| error())?;
        if !(1..=APPROVALS_MAX).contains(&least) {
            return Err(error());
        }
        let clusters = clusters.trim().parse().map_err(|_| error())?;
        Ok(Self { clusters, least })
    }
}

/// The approvals that actions on `cluster` need at least: the most that a rule requires; 0 without one.
#[must_use]
pub fn least_approvals(rules: &[ClusterApprovals], cluster: &ClusterName) -> u32 {
    let matching = rules.iter().filter(|rule| rule.clusters.matches(cluster));
    matching.map(|rule| rule.least).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_rule_counts() {
        let rules = ["prod-*=2", "*=1", "prod-eu = 3"].map(|text| text.parse().unwrap());
        for (cluster, expected) in [("prod-us", 2), ("prod-eu", 3), ("lab", 1)] {
            let cluster = cluster.parse().unwrap();
            assert_eq!(least_approvals(&rules, &cluster), expected, "{cluster}");
            let mut reversed = rules.clone();
            reversed.reverse();
            assert_eq!(least_approvals(&reversed, &cluster), expected, "{cluster}");
        }
        assert_eq!(least_approvals(&rules[..1], &"lab".parse().unwrap()), 0);
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
        ] {
            let error = bad.parse::<ClusterApprovals>().unwrap_err().to_string();
            assert!(error.contains("prod-*=2"), "{bad}: {error}");
        }
    }
}
