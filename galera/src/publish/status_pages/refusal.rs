//! Why something about status pages was not accepted.

use crate::id::ClusterName;

/// A refusal; the text names the rule and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusPageRefusal {
    /// Nothing where words belong.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// Longer than the limit, in characters.
    #[error("the {what} has {length} characters; at most {limit} are allowed")]
    TooLong {
        /// Which words.
        what: &'static str,
        /// Their length in characters.
        length: usize,
        /// The limit in characters.
        limit: usize,
    },
    /// A character that is neither text nor a line's end.
    #[error("the {0} contains a control character; use plain text")]
    ControlCharacter(&'static str),
    /// A slug that breaks the grammar.
    #[error(
        "{0:?} cannot be part of an address; use 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end"
    )]
    InvalidSlug(String),
    /// No origin.
    #[error("{0:?} is no origin; write it like https://intranet.example.org, without a path")]
    InvalidOrigin(String),
    /// Nothing is concerned.
    #[error("no cluster is named; name at least one")]
    NoCluster,
    /// Named twice.
    #[error("{0} is named twice")]
    Duplicate(String),
    /// A cluster that the console does not know.
    #[error("no cluster is called {0}; /api/v1/clusters lists all of them")]
    UnknownCluster(ClusterName),
    /// A page that does not exist.
    #[error("no status page is called {0}")]
    UnknownPage(String),
    /// More than there may be.
    #[error("there may be at most {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A time that does not come after another one.
    #[error("{later} must come after {earlier}")]
    TimeOrder {
        /// What comes too early.
        later: &'static str,
        /// What it has to follow.
        earlier: &'static str,
    },
    /// A duration out of bounds.
    #[error("an incident can be opened after 0 to {0} seconds of a bad state")]
    DelayTooLong(u32),
    /// An incident that is over.
    #[error("the incident is resolved and is not changed any more; open another one")]
    IncidentResolved,
    /// A maintenance that is over.
    #[error("the maintenance is over already")]
    MaintenanceOver,
    /// An announcement that is gone.
    #[error("the announcement is withdrawn already")]
    AnnouncementWithdrawn,
    /// A link that is gone.
    #[error("the link is revoked already")]
    LinkRevoked,
    /// Links exist for pages that need them only.
    #[error("this page needs no link: only pages that are shown by secret link have any")]
    LinkNotNeeded,
    /// A deletion whose confirmation differs.
    #[error("to delete the page, type its slug exactly: {0}")]
    NotConfirmed(String),
}

impl StatusPageRefusal {
    /// The stable word of the problem document.
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

/// A line of plain text: trimmed, not empty, without any control character.
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

/// Plain text of some lines: trimmed, not empty; a line ends with `\n` however it was sent.
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

/// Some clusters, each once.
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
