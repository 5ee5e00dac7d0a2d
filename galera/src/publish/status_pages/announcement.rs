//! Announcements for the readers of status pages, not tied to a cluster.

use serde::{Deserialize, Serialize};

use super::refusal::{validate_line, validate_text};
use super::{Slug, StatusPageRefusal, TEXT_MAX, TITLE_MAX};
use crate::timestamp::Timestamp;

/// Maximum number of pages per announcement.
const PAGES_MAX: usize = 100;

/// A request to publish an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewAnnouncement {
    pub title: String,
    pub text: String,
    /// Every page when empty.
    #[serde(default)]
    pub pages: Vec<Slug>,
    /// When it expires.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Announcement {
    /// Unique; sorts by time.
    pub id: String,
    pub title: String,
    /// Plain text.
    pub text: String,
    /// Every page when empty.
    #[serde(default)]
    pub pages: Vec<Slug>,
    pub at: Timestamp,
    /// Never shown on a status page.
    pub by: String,
    /// When it expires.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// When it was withdrawn.
    #[serde(default)]
    pub withdrawn_at: Option<Timestamp>,
}

impl Announcement {
    /// Creates an announcement.
    ///
    /// # Errors
    /// [`StatusPageRefusal`] for the first rule that `new` breaks.
    pub fn publish(
        new: &NewAnnouncement,
        id: &str,
        by: &str,
        at: Timestamp,
    ) -> Result<Self, StatusPageRefusal> {
        if new.until.is_some_and(|until| until <= at) {
            return Err(StatusPageRefusal::TimeOrder {
                later: "the end of the announcement",
                earlier: "now",
            });
        }
        if new.pages.len() > PAGES_MAX {
            return Err(StatusPageRefusal::TooMany {
                what: "pages per announcement",
                limit: PAGES_MAX,
            });
        }
        Ok(Self {
            id: id.to_owned(),
            title: validate_line("title", &new.title, TITLE_MAX)?,
            text: validate_text("text", &new.text, TEXT_MAX)?,
            pages: new.pages.clone(),
            at,
            by: by.to_owned(),
            until: new.until,
            withdrawn_at: None,
        })
    }

    /// The announcement, withdrawn.
    ///
    /// # Errors
    /// [`StatusPageRefusal::AnnouncementWithdrawn`] if it already is.
    pub fn withdrawn(&self, at: Timestamp) -> Result<Self, StatusPageRefusal> {
        if self.withdrawn_at.is_some() {
            return Err(StatusPageRefusal::AnnouncementWithdrawn);
        }
        Ok(Self {
            withdrawn_at: Some(at),
            ..self.clone()
        })
    }

    /// Whether `page` shows it at `now`.
    #[must_use]
    pub fn is_shown_on(&self, page: &Slug, now: Timestamp) -> bool {
        self.is_current(now) && (self.pages.is_empty() || self.pages.contains(page))
    }

    /// Whether it is shown on any page at `now`.
    #[must_use]
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.withdrawn_at.is_none() && self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);

    #[test]
    fn an_announcement_is_shown_on_its_pages_until_it_ends() {
        let later = AT.plus(std::time::Duration::from_secs(60));
        let new = NewAnnouncement {
            title: "New address".to_owned(),
            text: "From Monday on.".to_owned(),
            pages: vec!["a".parse().unwrap()],
            until: Some(later),
        };
        let made = Announcement::publish(&new, "1-1", "olga", AT).unwrap();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert!(
            made.is_shown_on(&a, AT) && !made.is_shown_on(&b, AT) && !made.is_shown_on(&a, later)
        );
        let gone = made.withdrawn(AT).unwrap();
        assert!(!gone.is_shown_on(&a, AT));
        assert_eq!(
            gone.withdrawn(AT),
            Err(StatusPageRefusal::AnnouncementWithdrawn)
        );
    }
}
