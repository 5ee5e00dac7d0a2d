//! Labels of clusters. Settings give them, never the registry: roles and approval policies may select clusters by label.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ClusterPattern;
use crate::id::ClusterName;

/// Longest key or value, in characters.
pub const LABEL_TEXT_MAX: usize = 63;
/// Most keys of all rules together, and thus most labels of one cluster.
pub const LABEL_KEYS_MAX: usize = 20;
/// Most rules.
pub const LABEL_RULES_MAX: usize = 500;

/// A label of a cluster: `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterLabel {
    key: String,
    value: String,
}

/// The text is not a valid label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid label {0:?}; give KEY=VALUE, such as env=production, with 1 to {LABEL_TEXT_MAX} letters, digits, '.', '_' and '-' each"
)]
pub struct ClusterLabelError(String);

impl ClusterLabel {
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for ClusterLabel {
    type Err = ClusterLabelError;

    fn from_str(text: &str) -> Result<Self, ClusterLabelError> {
        let error = || ClusterLabelError(text.chars().take(80).collect());
        let (key, value) = text.split_once('=').ok_or_else(error)?;
        let (key, value) = (key.trim(), value.trim());
        let valid = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            (1..=LABEL_TEXT_MAX).contains(&part.len()) && part.chars().all(plain)
        };
        if !valid(key) || !valid(value) {
            return Err(error());
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for ClusterLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl Serialize for ClusterLabel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Labels of the clusters that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRule {
    pub clusters: ClusterPattern,
    pub labels: Vec<ClusterLabel>,
}

/// As it is given.
impl fmt::Display for LabelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self.labels.iter().map(ToString::to_string).collect();
        write!(f, "{}:{}", self.clusters, labels.join(","))
    }
}

/// Labels cannot be given like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelRuleError {
    /// No pattern precedes the labels.
    #[error(
        "{0:?} names no cluster; give CLUSTER:KEY=VALUE,…, such as prod-*:env=production,team=payments"
    )]
    NoCluster(String),
    #[error(transparent)]
    Cluster(#[from] super::ClusterPatternError),
    #[error(transparent)]
    Label(#[from] ClusterLabelError),
    /// One rule has a key twice.
    #[error("{0} has the label {1} twice; give each key once")]
    Twice(String, String),
    #[error("{0} rules are given; at most {LABEL_RULES_MAX} are allowed")]
    TooManyRules(usize),
    #[error("labels have {0} different keys; at most {LABEL_KEYS_MAX} are allowed")]
    TooManyKeys(usize),
}

impl LabelRule {
    /// Reads `CLUSTER:KEY=VALUE,…`, in which a further `CLUSTER:` begins another rule.
    ///
    /// # Errors
    /// [`LabelRuleError`].
    pub fn parse_all(text: &str) -> Result<Vec<Self>, LabelRuleError> {
        let mut rules: Vec<Self> = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let label = match part.split_once(':') {
                Some((clusters, label)) => {
                    rules.push(Self {
                        clusters: clusters.trim().parse()?,
                        labels: Vec::new(),
                    });
                    label
                }
                None => part,
            };
            let rule = (rules.last_mut())
                .ok_or_else(|| LabelRuleError::NoCluster(part.chars().take(80).collect()))?;
            let label: ClusterLabel = label.parse()?;
            if rule.labels.iter().any(|other| other.key == label.key) {
                return Err(LabelRuleError::Twice(rule.clusters.to_string(), label.key));
            }
            rule.labels.push(label);
        }
        match rules.is_empty() {
            true => Err(LabelRuleError::NoCluster(String::new())),
            false => Ok(rules),
        }
    }
}

/// The labels of all clusters. Cheap to clone; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterLabels(Option<Arc<[LabelRule]>>);

impl ClusterLabels {
    /// No cluster has a label.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// The labels that `rules` give. Where several that match give one key, the last of them counts.
    ///
    /// # Errors
    /// [`LabelRuleError`], if there are too many.
    pub fn new(rules: Vec<LabelRule>) -> Result<Self, LabelRuleError> {
        if rules.is_empty() {
            return Ok(Self::none());
        }
        if rules.len() > LABEL_RULES_MAX {
            return Err(LabelRuleError::TooManyRules(rules.len()));
        }
        let labels = rules.iter().flat_map(|rule| &rule.labels);
        let keys: BTreeSet<&str> = labels.map(ClusterLabel::key).collect();
        if keys.len() > LABEL_KEYS_MAX {
            return Err(LabelRuleError::TooManyKeys(keys.len()));
        }
        Ok(Self(Some(rules.into())))
    }

    /// The rules that give them.
    #[must_use]
    pub fn rules(&self) -> &[LabelRule] {
        self.0.as_deref().unwrap_or_default()
    }

    fn matching<'a>(&'a self, cluster: &'a ClusterName) -> impl Iterator<Item = &'a ClusterLabel> {
        let rules = self.0.iter().flat_map(|rules| rules.iter());
        rules
            .filter(|rule| rule.clusters.matches(cluster))
            .flat_map(|rule| &rule.labels)
    }

    /// The labels of `cluster`; none if no rule matches it.
    #[must_use]
    pub fn of(&self, cluster: &ClusterName) -> BTreeMap<String, String> {
        self.matching(cluster)
            .map(|label| (label.key.clone(), label.value.clone()))
            .collect()
    }

    /// Whether `cluster` has `label`.
    #[must_use]
    pub fn has(&self, cluster: &ClusterName, label: &ClusterLabel) -> bool {
        self.matching(cluster)
            .filter(|other| other.key == label.key)
            .last()
            .is_some_and(|other| other.value == label.value)
    }
}

/// Scopes with different labels differ by comparison, not by hash.
impl Hash for ClusterLabels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ref().map_or(0, |rules| rules.len()).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> ClusterLabels {
        let rules = texts.iter().map(|text| LabelRule::parse_all(text).unwrap());
        ClusterLabels::new(rules.flatten().collect()).unwrap()
    }

    fn shown(labels: &ClusterLabels, cluster: &str) -> String {
        let labels = labels.of(&cluster.parse().unwrap());
        let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
        labels.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_last_matching_rule_counts() {
        let labels = labels(&[
            "*:env=test",
            "prod-*:env=production,team=payments, prod-lab:env=test",
        ]);
        for (cluster, expected) in [
            ("lab", "env=test"),
            ("prod-eu", "env=production team=payments"),
            ("prod-lab", "env=test team=payments"),
        ] {
            assert_eq!(shown(&labels, cluster), expected);
            for label in ["env=test", "env=production", "team=payments", "team=x"] {
                let label: ClusterLabel = label.parse().unwrap();
                let has = labels.has(&cluster.parse().unwrap(), &label);
                let text = label.to_string();
                assert_eq!(has, expected.split(' ').any(|one| one == text), "{cluster}");
            }
        }
        let lab = "lab".parse().unwrap();
        assert!(ClusterLabels::none().of(&lab).is_empty());
        assert!(!ClusterLabels::none().has(&lab, &"env=test".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_a_label_is_refused_with_an_example() {
        let long = format!("a:{}=x", "k".repeat(LABEL_TEXT_MAX + 1));
        for bad in [
            "",
            "a:",
            "env=production",
            "env=x,a:env=y",
            "a:env",
            "a:env=",
            "a:=x",
            "a:env=a=b",
            "a:env=a b",
            "a:env=<b>",
            "a:env=ü",
            "a b:env=x",
            "a/b:env=x",
            ":env=x",
            "a:env=x,env=y",
            &long,
        ] {
            let error = LabelRule::parse_all(bad).unwrap_err().to_string();
            let helps = ["env=production", "prod-*", "give each key once"];
            assert!(
                helps.iter().any(|help| error.contains(help)),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn the_number_of_rules_and_keys_is_limited() {
        let rule = |n: usize| {
            LabelRule::parse_all(&format!("a:k{n}=x"))
                .unwrap()
                .remove(0)
        };
        let keys: Vec<LabelRule> = (0..=LABEL_KEYS_MAX).map(rule).collect();
        assert!(ClusterLabels::new(keys[1..].to_vec()).is_ok());
        let error = ClusterLabels::new(keys).unwrap_err();
        assert_eq!(error, LabelRuleError::TooManyKeys(LABEL_KEYS_MAX + 1));
        let rules: Vec<LabelRule> = (0..=LABEL_RULES_MAX).map(|_| rule(0)).collect();
        assert!(ClusterLabels::new(rules[1..].to_vec()).is_ok());
        let error = ClusterLabels::new(rules).unwrap_err();
        assert_eq!(error, LabelRuleError::TooManyRules(LABEL_RULES_MAX + 1));
    }
}
