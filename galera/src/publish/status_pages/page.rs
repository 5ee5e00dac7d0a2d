//! A status page's settings: which clusters it shows, to whom, and in how much detail.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::refusal::{validate_clusters, validate_line};
use super::{CLUSTERS_MAX, LINKS_MAX, Slug, StatusPageRefusal, TITLE_MAX};
use crate::access::ClusterLabel;
use crate::id::ClusterName;
use crate::timestamp::Timestamp;

/// Maximum number of origins that may embed a page.
const ORIGINS_MAX: usize = 20;
/// Maximum number of labels that select clusters of a page.
const LABELS_MAX: usize = 10;
/// Longest delay of automatic incidents, in seconds: a day.
const AUTO_INCIDENT_DELAY_MAX_SECS: u32 = 86_400;

/// Who may see a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PageVisibility {
    /// Anyone who can reach the console.
    Public,
    /// Anyone with one of its secret links, and every signed-in account.
    Link,
    /// Every signed-in account.
    #[default]
    Members,
}

impl PageVisibility {
    /// Widest first.
    pub const ALL: [Self; 3] = [Self::Public, Self::Link, Self::Members];

    /// The visibility as in JSON and forms.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Link => "link",
            Self::Members => "members",
        }
    }
}

/// A cluster that a page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PageCluster {
    pub cluster: ClusterName,
    /// Its public name; the default is the cluster's own.
    #[serde(default)]
    pub name: String,
}

/// Which details of nodes a page shows; the default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NodeDetailSettings {
    /// Each node's `wsrep_node_name` and state.
    pub hosts: bool,
    pub addresses: bool,
    pub versions: bool,
    /// Each node's last committed sequence number.
    pub positions: bool,
}

impl NodeDetailSettings {
    /// Whether nodes are listed.
    #[must_use]
    pub const fn any(self) -> bool {
        self.hosts || self.addresses || self.versions || self.positions
    }
}

/// When an incident is opened automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AutoIncidentRule {
    /// How long the bad state must last, in seconds; the incident is resolved after the same time without it.
    pub after_secs: u32,
    /// Whether degraded counts as bad; otherwise only unavailable does.
    #[serde(default)]
    pub degraded: bool,
}

impl Default for AutoIncidentRule {
    fn default() -> Self {
        Self {
            after_secs: 300,
            degraded: false,
        }
    }
}

/// A site that may embed the page: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct EmbedOrigin(String);

impl EmbedOrigin {
    /// Contains only characters that are safe in a header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmbedOrigin {
    type Err = StatusPageRefusal;

    fn from_str(text: &str) -> Result<Self, StatusPageRefusal> {
        let refused = || StatusPageRefusal::InvalidOrigin(text.chars().take(120).collect());
        let lower = text.trim().trim_end_matches('/').to_ascii_lowercase();
        let (_, rest) = lower
            .split_once("://")
            .filter(|(scheme, _)| matches!(*scheme, "https" | "http"))
            .ok_or_else(refused)?;
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let labels = host.strip_prefix("*.").unwrap_or(host).split('.');
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_port = |port: &str| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
        };
        let valid = host.len() <= 253 && labels.into_iter().all(label) && port.is_none_or(is_port);
        valid.then(|| Self(lower.clone())).ok_or_else(refused)
    }
}

impl fmt::Display for EmbedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EmbedOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A secret link to a page. The secret itself is not stored, only its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub id: String,
    /// What or whom it is for.
    pub label: String,
    /// Hexadecimal SHA-256 of the secret.
    pub hash: String,
    pub created_by: String,
    pub created_at: Timestamp,
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
}

impl Link {
    /// Whether it is neither expired nor revoked.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// The settings of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PageSettings {
    pub title: String,
    /// In the order in which they are shown.
    pub clusters: Vec<PageCluster>,
    /// After those, every cluster that has one of these labels, by name and under its own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, example = json!(["env=production"])))]
    pub labels: Vec<ClusterLabel>,
    #[serde(default)]
    pub visibility: PageVisibility,
    #[serde(default)]
    pub show: NodeDetailSettings,
    /// Sites that may embed the page.
    #[serde(default)]
    pub embed: Vec<EmbedOrigin>,
    /// `None` opens no incidents automatically.
    #[serde(default)]
    pub automatic: Option<AutoIncidentRule>,
}

impl PageSettings {
    /// The settings, normalized.
    ///
    /// # Errors
    /// [`StatusPageRefusal`] for the first rule that they break.
    pub fn validated(mut self) -> Result<Self, StatusPageRefusal> {
        self.title = validate_line("title", &self.title, TITLE_MAX)?;
        self.labels.sort_unstable();
        self.labels.dedup();
        if self.labels.len() > LABELS_MAX {
            return Err(StatusPageRefusal::TooMany {
                what: "labels",
                limit: LABELS_MAX,
            });
        }
        let named: Vec<ClusterName> = self.clusters.iter().map(|l| l.cluster.clone()).collect();
        if !named.is_empty() || self.labels.is_empty() {
            validate_clusters(&named)?;
        }
        let mut names: Vec<String> = Vec::new();
        for listed in &mut self.clusters {
            if listed.name.trim().is_empty() {
                listed.name = listed.cluster.to_string();
            }
            listed.name = validate_line("public name", &listed.name, TITLE_MAX)?;
            // Readers could not distinguish them.
            if names.contains(&listed.name) {
                return Err(StatusPageRefusal::Duplicate(listed.name.clone()));
            }
            names.push(listed.name.clone());
        }
        if self.embed.len() > ORIGINS_MAX {
            return Err(StatusPageRefusal::TooMany {
                what: "origins",
                limit: ORIGINS_MAX,
            });
        }
        match self.automatic {
            Some(automatic) if automatic.after_secs > AUTO_INCIDENT_DELAY_MAX_SECS => Err(
                StatusPageRefusal::DelayTooLong(AUTO_INCIDENT_DELAY_MAX_SECS),
            ),
            _ => Ok(self),
        }
    }
}

/// A status page, as stored in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPageRecord {
    pub slug: Slug,
    #[serde(flatten)]
    pub settings: PageSettings,
    /// Oldest first.
    #[serde(default)]
    pub links: Vec<Link>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
}

impl StatusPageRecord {
    /// Creates a page.
    ///
    /// # Errors
    /// [`StatusPageRefusal`] for the first rule that the settings break.
    pub fn new(
        slug: Slug,
        settings: PageSettings,
        by: &str,
        at: Timestamp,
    ) -> Result<Self, StatusPageRefusal> {
        Ok(Self {
            slug,
            settings: settings.validated()?,
            links: Vec::new(),
            created_by: by.to_owned(),
            created_at: at,
            changed_at: at,
        })
    }

    /// The page with other settings.
    ///
    /// # Errors
    /// [`StatusPageRefusal`] for the first rule that they break.
    pub fn with_settings(
        &self,
        settings: PageSettings,
        at: Timestamp,
    ) -> Result<Self, StatusPageRefusal> {
        Ok(Self {
            settings: settings.validated()?,
            changed_at: at,
            ..self.clone()
        })
    }

    /// The page with another link. If there are too many, the oldest expired and revoked links are removed.
    ///
    /// # Errors
    /// [`StatusPageRefusal`] if it has too many valid links, or does not use links.
    pub fn with_link(&self, mut link: Link) -> Result<Self, StatusPageRefusal> {
        if self.settings.visibility != PageVisibility::Link {
            return Err(StatusPageRefusal::LinkNotNeeded);
        }
        let at = link.created_at;
        link.label = validate_line("label", &link.label, TITLE_MAX)?;
        if link.expires_at.is_some_and(|expires| expires <= at) {
            return Err(StatusPageRefusal::TimeOrder {
                later: "the end of the link",
                earlier: "now",
            });
        }
        let mut page = self.clone();
        page.links.push(link);
        while page.links.len() > LINKS_MAX {
            let invalid = page.links.iter().position(|link| !link.is_valid(at));
            match invalid {
                Some(place) => drop(page.links.remove(place)),
                None => {
                    return Err(StatusPageRefusal::TooMany {
                        what: "valid links per page",
                        limit: LINKS_MAX,
                    });
                }
            }
        }
        page.changed_at = at;
        Ok(page)
    }

    /// The page with a link revoked; `None` if it has no such link.
    ///
    /// # Errors
    /// [`StatusPageRefusal::LinkRevoked`] if it was already revoked.
    pub fn with_link_revoked(
        &self,
        id: &str,
        at: Timestamp,
    ) -> Option<Result<Self, StatusPageRefusal>> {
        let mut page = self.clone();
        let link = page.links.iter_mut().find(|link| link.id == id)?;
        if link.revoked_at.is_some() {
            return Some(Err(StatusPageRefusal::LinkRevoked));
        }
        link.revoked_at = Some(at);
        page.changed_at = at;
        Some(Ok(page))
    }

    /// The page with the clusters that its labels select among `known`, which are sorted by name and have their labels by key:
    /// after the listed ones, up to the maximum of a page. Whatever is decided about the clusters of a page is decided about
    /// this one.
    #[must_use]
    pub fn expanded(&self, known: &[LabelledCluster]) -> Self {
        let mut page = self.clone();
        let labels = &self.settings.labels;
        let selected = known.iter().filter(|(_, has)| {
            let mut labels = labels.iter();
            labels.any(|label| {
                has.get(label.key())
                    .is_some_and(|value| value == label.value())
            })
        });
        let listed = &mut page.settings.clusters;
        for (cluster, _) in selected {
            if listed.len() >= CLUSTERS_MAX {
                break;
            }
            if listed.iter().all(|other| other.cluster != *cluster) {
                let name = distinct_name(listed, cluster);
                listed.push(PageCluster {
                    cluster: cluster.clone(),
                    name,
                });
            }
        }
        page
    }

    /// Whether the page shows `cluster`.
    #[must_use]
    pub fn shows_cluster(&self, cluster: &ClusterName) -> bool {
        let mut listed = self.settings.clusters.iter();
        listed.any(|listed| listed.cluster == *cluster)
    }
}

/// A cluster with its labels by key.
pub type LabelledCluster = (ClusterName, BTreeMap<String, String>);

/// The name of `cluster`, with a number if another cluster of the page has it as its public name.
fn distinct_name(listed: &[PageCluster], cluster: &ClusterName) -> String {
    let own = cluster.to_string();
    let is_free = |name: &String| listed.iter().all(|other| other.name != *name);
    let numbered = (2..=CLUSTERS_MAX + 1).map(|number| format!("{own} ({number})"));
    let mut names = std::iter::once(own.clone()).chain(numbered);
    names.find(is_free).unwrap_or(own)
}

#[cfg(test)]
mod tests;
