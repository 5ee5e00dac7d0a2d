//! Why a change of a status page is refused.

use crate::id::ClusterName;

/// A refused change. The message names the rule and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusPageRefusal {
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// Longer than the limit, in characters.
    #[error("the {what} has {length} characters; at most {limit} are allowed")]
    TooLong {
        what: &'static str,
        /// In characters.
        length: usize,
        limit: usize,
    },
    #[error("the {0} contains a control character; use plain text")]
    ControlCharacter(&'static str),
    #[error(
        "{0:?} is not a valid slug; use 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end"
    )]
    InvalidSlug(String),
    #[error(
        "{0:?} is not a valid origin; use the form https://intranet.example.org, without a path"
    )]
    InvalidOrigin(String),
    #[error("select at least one cluster")]
    NoCluster,
    #[error("{0} is listed twice")]
    Duplicate(String),
    #[error("unknown cluster {0}; /api/v1/clusters lists all clusters")]
    UnknownCluster(ClusterName),
    #[error("unknown status page {0}")]
    UnknownPage(String),
    #[error("at most {limit} {what} are allowed")]
    TooMany { what: &'static str, limit: usize },
    #[error("{later} must be after {earlier}")]
    TimeOrder {
        later: &'static str,
        earlier: &'static str,
    },
    #[error("the delay of automatic incidents must be at most {0} seconds")]
    DelayTooLong(u32),
    #[error("the incident is resolved and can no longer change; open a new one")]
    IncidentResolved,
    #[error("the maintenance is already over")]
    MaintenanceOver,
    #[error("the announcement is already withdrawn")]
    AnnouncementWithdrawn,
    #[error("the link is already revoked")]
    LinkRevoked,
    #[error("this page needs no link; set its visibility to secret link first")]
    LinkNotNeeded,
    #[error("to delete the page, type its slug exactly: {0}")]
    NotConfirmed(String),
}

impl StatusPageRefusal {
    /// The stable code in API responses.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty(_) | Self::TooLong { .. } | Self::ControlCharacter(_) => "invalid_text",
            Self::InvalidSlug(_) => "invalid_slug",
            Self::InvalidOrigin(_) => "invalid_origin",
            Self::NoCluster | Self::Duplicate(_) => "invalid_clusters",
            Self::UnknownCluster(_) => "unknown_cluster",
            Self::UnknownPage(_) => "unknown_page",
            Self::TooMany { .. } => "too_many",
            Self::TimeOrder { .. } | Self::DelayTooLong(_) => "invalid_time",
            Self::IncidentResolved => "incident_resolved",
            Self::MaintenanceOver => "maintenance_over",
            Self::AnnouncementWithdrawn => "announcement_withdrawn",
            Self::LinkRevoked => "link_revoked",
            Self::LinkNotNeeded => "needs_no_link",
            Self::NotConfirmed(_) => "not_confirmed",
        }
    }
}

/// A line of plain text: trimmed, not empty, without control characters.
pub(super) fn validate_line(
    what: &'static str,
    text: &str,
    limit: usize,
) -> Result<String, StatusPageRefusal> {
    let text = validate_length(what, text, limit)?;
    if text.chars().any(char::is_control) {
        return Err(StatusPageRefusal::ControlCharacter(what));
    }
    Ok(text)
}

/// Plain text of several lines: trimmed, not empty, with `\n` line ends.
pub(super) fn validate_text(
    what: &'static str,
    text: &str,
    limit: usize,
) -> Result<String, StatusPageRefusal> {
    let text = validate_length(what, &text.replace("\r\n", "\n"), limit)?;
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if !text.chars().all(allowed) {
        return Err(StatusPageRefusal::ControlCharacter(what));
    }
    Ok(text)
}

fn validate_length(
    what: &'static str,
    text: &str,
    limit: usize,
) -> Result<String, StatusPageRefusal> {
    let text = text.trim();
    let length = text.chars().count();
    match length {
        0 => Err(StatusPageRefusal::Empty(what)),
        _ if length > limit => Err(StatusPageRefusal::TooLong {
            what,
            length,
            limit,
        }),
        _ => Ok(text.to_owned()),
    }
}

/// At least one cluster, each once.
pub(super) fn validate_clusters(named: &[ClusterName]) -> Result<(), StatusPageRefusal> {
    if named.is_empty() {
        return Err(StatusPageRefusal::NoCluster);
    }
    if named.len() > super::CLUSTERS_MAX {
        return Err(StatusPageRefusal::TooMany {
            what: "clusters",
            limit: super::CLUSTERS_MAX,
        });
    }
    for (place, name) in named.iter().enumerate() {
        if named[..place].contains(name) {
            return Err(StatusPageRefusal::Duplicate(name.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_plain_and_bounded() {
        assert_eq!(
            validate_line("title", "  <b>x</b> ", 20).unwrap(),
            "<b>x</b>"
        );
        assert_eq!(validate_text("text", "a\r\nb", 20).unwrap(), "a\nb");
        assert_eq!(
            validate_line("title", " \n", 20),
            Err(StatusPageRefusal::Empty("title"))
        );
        assert_eq!(
            validate_line("title", "a\nb", 20),
            Err(StatusPageRefusal::ControlCharacter("title"))
        );
        assert_eq!(
            validate_text("text", "a\u{1b}b", 20),
            Err(StatusPageRefusal::ControlCharacter("text"))
        );
        assert_eq!(
            validate_text("text", "äöü", 2),
            Err(StatusPageRefusal::TooLong {
                what: "text",
                length: 3,
                limit: 2
            })
        );
    }
}
