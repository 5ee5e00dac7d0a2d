//! The clusters that a credential is limited to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{ClusterLabel, ClusterLabelError, ClusterLabels};
use crate::id::ClusterName;

/// Longest pattern, in characters.
const PATTERN_MAX: usize = 100;
/// Most selectors of one scope.
pub const SCOPE_PATTERNS_MAX: usize = 50;

/// The name of a cluster, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterPattern(String);

/// The text is not a valid pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid cluster {0:?}; give the name of a cluster, in which * stands for any characters, such as prod-*"
)]
pub struct ClusterPatternError(pub String);

impl ClusterPattern {
    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches the whole name of `cluster`.
    #[must_use]
    pub fn matches(&self, cluster: &ClusterName) -> bool {
        let name = cluster.as_str();
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == name;
        };
        let Some(mut name) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return name.ends_with(part);
            }
            match name.find(part) {
                Some(at) => name = &name[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

impl FromStr for ClusterPattern {
    type Err = ClusterPatternError;

    fn from_str(text: &str) -> Result<Self, ClusterPatternError> {
        let error = || ClusterPatternError(text.chars().take(80).collect());
        if text.chars().count() > PATTERN_MAX {
            return Err(error());
        }
        let name: Result<ClusterName, _> = text.replace('*', "x").parse();
        name.map(|_| Self(text.to_owned())).map_err(|_| error())
    }
}

impl fmt::Display for ClusterPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Selects clusters by name or by label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterSelector {
    /// Names that match, such as `prod-*`.
    Name(ClusterPattern),
    /// Clusters with this label, such as `env=production`.
    Label(ClusterLabel),
}

/// The text selects no clusters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterSelectorError {
    #[error(transparent)]
    Name(#[from] ClusterPatternError),
    #[error(transparent)]
    Label(#[from] ClusterLabelError),
}

impl ClusterSelector {
    /// Whether `cluster`, with what `labels` give it, is selected.
    #[must_use]
    pub fn matches(&self, cluster: &ClusterName, labels: &ClusterLabels) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(cluster),
            Self::Label(label) => labels.has(cluster, label),
        }
    }
}

/// A name has no `=`, and a label has one.
impl FromStr for ClusterSelector {
    type Err = ClusterSelectorError;

    fn from_str(text: &str) -> Result<Self, ClusterSelectorError> {
        Ok(match text.contains('=') {
            true => Self::Label(text.parse()?),
            false => Self::Name(text.parse()?),
        })
    }
}

impl fmt::Display for ClusterSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(pattern) => pattern.fmt(f),
            Self::Label(label) => label.fmt(f),
        }
    }
}

impl Serialize for ClusterSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// The clusters that a credential may see and act on: those that a selector matches, or all if there is none.
///
/// A scope that was recorded selects nothing by label until [`ClusterScope::with_labels`] adds the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "Vec<ClusterSelector>")]
pub struct ClusterScope {
    selectors: Vec<ClusterSelector>,
    /// The labels that selectors are compared with. Never recorded.
    labels: ClusterLabels,
    /// A further limit, of another credential. Never recorded.
    within: Option<Arc<Self>>,
}

impl ClusterScope {
    /// Every cluster, and what belongs to the whole console.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            selectors: Vec::new(),
            labels: ClusterLabels::none(),
            within: None,
        }
    }

    /// The clusters that one of `selectors` matches; all if there is none.
    #[must_use]
    pub fn new(mut selectors: Vec<ClusterSelector>) -> Self {
        selectors.sort_unstable();
        selectors.dedup();
        Self {
            selectors,
            ..Self::all()
        }
    }

    /// The same scope, in which clusters have `labels`.
    #[must_use]
    pub fn with_labels(self, labels: &ClusterLabels) -> Self {
        let within = self.within;
        Self {
            selectors: self.selectors,
            labels: labels.clone(),
            within: within.map(|within| Arc::new(Self::clone(&within).with_labels(labels))),
        }
    }

    /// The clusters that are in this scope and in `other`.
    #[must_use]
    pub fn intersect(self, other: &Self) -> Self {
        if self.is_all() || self == *other {
            return other.clone();
        }
        if other.is_all() {
            return self;
        }
        let within = match &self.within {
            Some(within) => Self::clone(within).intersect(other),
            None => other.clone(),
        };
        Self {
            within: Some(Arc::new(within)),
            ..self
        }
    }

    /// Whether it is not limited.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.selectors.is_empty() && self.within.is_none()
    }

    /// Whether `cluster` is in the scope.
    #[must_use]
    pub fn permits(&self, cluster: &ClusterName) -> bool {
        let mut selectors = self.selectors.iter();
        (self.selectors.is_empty() || selectors.any(|one| one.matches(cluster, &self.labels)))
            && (self.within.as_ref()).is_none_or(|within| within.permits(cluster))
    }

    /// Whether something that concerns exactly `clusters` is in the scope: nothing is of no cluster unless all are.
    pub fn permits_each<'a>(&self, clusters: impl IntoIterator<Item = &'a ClusterName>) -> bool {
        let mut clusters = clusters.into_iter().peekable();
        self.is_all() || (clusters.peek().is_some() && clusters.all(|name| self.permits(name)))
    }

    /// The labels that selectors are compared with.
    pub(super) const fn labels(&self) -> &ClusterLabels {
        &self.labels
    }

    /// The selectors, without the further limit of an intersection.
    #[must_use]
    pub fn selectors(&self) -> &[ClusterSelector] {
        &self.selectors
    }
}

impl fmt::Display for ClusterScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        let names: Vec<String> = self.selectors.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(", "))?;
        match &self.within {
            Some(within) => write!(f, ", of these only {within}"),
            None => Ok(()),
        }
    }
}

impl From<Vec<ClusterSelector>> for ClusterScope {
    fn from(selectors: Vec<ClusterSelector>) -> Self {
        Self::new(selectors)
    }
}

impl Serialize for ClusterScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.within.is_some() {
            // Its selectors alone would be more clusters.
            return Err(ser::Error::custom(
                "an intersection of scopes is not recorded",
            ));
        }
        self.selectors.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("lab", "lab", true),
            ("lab", "lab2", false),
            ("lab", "alab", false),
            ("prod-*", "prod-", true),
            ("prod-*", "prod-eu", true),
            ("prod-*", "preprod-eu", false),
            ("*-eu", "prod-eu", true),
            ("*-eu", "prod-eu2", false),
            ("*", "anything", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*bc*c", "abc", false),
            ("a*a", "a", false),
            ("**", "x", true),
        ] {
            let parsed: ClusterPattern = pattern.parse().unwrap();
            assert_eq!(
                parsed.matches(&name.parse().unwrap()),
                expected,
                "{pattern} {name}"
            );
        }
        for bad in ["", "a b", "a/b", "<x>", &"a".repeat(101)] {
            assert!(bad.parse::<ClusterPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_intersection_has_what_all_its_scopes_have() {
        let scope = |patterns: &[&str]| {
            ClusterScope::new(patterns.iter().map(|text| text.parse().unwrap()).collect())
        };
        let scopes = [
            scope(&[]),
            scope(&["prod-*"]),
            scope(&["*-eu", "lab"]),
            scope(&["lab"]),
        ];
        let names = ["prod-eu", "prod-us", "test-eu", "lab", "other"];
        let names: Vec<ClusterName> = names.iter().map(|name| name.parse().unwrap()).collect();
        for a in &scopes {
            for b in &scopes {
                for c in &scopes {
                    let both = a.clone().intersect(b).intersect(c);
                    assert_eq!(both.is_all(), a.is_all() && b.is_all() && c.is_all());
                    for name in &names {
                        assert_eq!(
                            both.permits(name),
                            a.permits(name) && b.permits(name) && c.permits(name),
                            "{a} {b} {c} {name}"
                        );
                    }
                }
            }
        }
        let both = scope(&["prod-*"]).intersect(&scope(&["*-eu"]));
        assert!(serde_json::to_string(&both).is_err());
    }

    #[test]
    fn a_limited_scope_has_nothing_of_the_whole_console() {
        let (lab, shop) = ("lab".parse().unwrap(), "shop".parse().unwrap());
        let scope = ClusterScope::new(vec!["lab".parse().unwrap()]);
        assert!(scope.permits(&lab) && !scope.permits(&shop));
        assert!(scope.permits_each([&lab]));
        assert!(!scope.permits_each([&lab, &shop]));
        assert!(!scope.permits_each([]));
        assert!(ClusterScope::all().permits_each([]));
        assert!(ClusterScope::all().permits_each([&lab, &shop]));
    }

    #[test]
    fn a_label_selects_nothing_until_labels_are_known() {
        let rules = super::super::LabelRule::parse_all("prod-*:env=production").unwrap();
        let labels = ClusterLabels::new(rules).unwrap();
        let (eu, lab) = ("prod-eu".parse().unwrap(), "lab".parse().unwrap());
        let scope = ClusterScope::new(vec!["env=production".parse().unwrap()]);
        assert!(!scope.is_all() && !scope.permits(&eu) && !scope.permits(&lab));
        let known = scope.clone().with_labels(&labels);
        assert!(known.permits(&eu) && !known.permits(&lab));
        // What was recorded has no labels again.
        let json = serde_json::to_string(&known).unwrap();
        assert_eq!(json, r#"["env=production"]"#);
        assert_eq!(serde_json::from_str::<ClusterScope>(&json).unwrap(), scope);
        let both = scope.intersect(&ClusterScope::new(vec!["*-eu".parse().unwrap()]));
        let both = both.with_labels(&labels);
        let us = "prod-us".parse().unwrap();
        assert!(both.permits(&eu) && !both.permits(&us) && !both.permits(&lab));
        for bad in ["env=", "=x", "a=b=c", "prod-*=x"] {
            assert!(bad.parse::<ClusterSelector>().is_err(), "{bad}");
        }
    }
}
