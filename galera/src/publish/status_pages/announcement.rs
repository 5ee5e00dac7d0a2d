//! Announcements: words for everybody who reads a page, tied to no cluster.

use serde::{Deserialize, Serialize};

use super::refusal::{validate_line, validate_text};
use super::{Slug, StatusPageRefusal, TEXT_MAX, TITLE_MAX};
use crate::timestamp::Timestamp;

/// Most pages that an announcement names.
const PAGES_MAX: usize = 100;

/// What it takes to announce something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAnnouncement {
    /// What it is called.
    pub title: String,
    /// What is announced.
    pub text: String,
    /// The pages that tell it; every page when none is named.
    #[serde(default)]
    pub pages: Vec<Slug>,
    /// When it goes by itself.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Names it; sorts by time.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// What is announced; plain text.
    pub text: String,
    /// The pages that tell it; every page when none is named.
    #[serde(default)]
    pub pages: Vec<Slug>,
    /// When it was announced.
    pub at: Timestamp,
    /// Who announced it. Never shown on a status page.
    pub by: String,
    /// When it goes by itself.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// When somebody took it back.
    #[serde(default)]
    pub withdrawn_at: Option<Timestamp>,
}

impl Announcement {
    /// Announces something.
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
                later: "the end of an announcement",
                earlier: "now",
            });
        }
        if new.pages.len() > PAGES_MAX {
            return Err(StatusPageRefusal::TooMany {
                what: "pages of an announcement",
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

    /// The announcement taken back.
    ///
    /// # Errors
    /// [`StatusPageRefusal::AnnouncementWithdrawn`].
    pub fn withdrawn(&self, at: Timestamp) -> Result<Self, StatusPageRefusal> {
        if self.withdrawn_at.is_some() {
            return Err(StatusPageRefusal::AnnouncementWithdrawn);
        }
        Ok(Self {
            withdrawn_at: Some(at),
            ..self.clone()
        })
    }

    /// Whether `page` tells it at `now`.
    #[must_use]
    pub fn is_shown_on(&self, page: &Slug, now: Timestamp) -> bool {
        self.is_current(now) && (self.pages.is_empty() || self.pages.contains(page))
    }

    /// Whether it is told anywhere at `now`.
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
    fn an_announcement_is_told_where_and_while_it_is_meant() {
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
