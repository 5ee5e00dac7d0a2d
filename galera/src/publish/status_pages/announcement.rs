//! Announcements: words for everybody who reads a page, tied to no cluster.

use serde::{Deserialize, Serialize};

use super::refusal::{line, prose};
use super::{Refusal, Slug, TEXT_MAX, TITLE_MAX};
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
    /// [`Refusal`] for the first rule that `new` breaks.
    pub fn make(new: &NewAnnouncement, id: &str, by: &str, at: Timestamp) -> Result<Self, Refusal> {
        if new.until.is_some_and(|until| until <= at) {
            return Err(Refusal::Order {
                later: "the end of an announcement",
                earlier: "now",
            });
        }
        if new.pages.len() > PAGES_MAX {
            return Err(Refusal::TooMany {
                what: "pages of an announcement",
                limit: PAGES_MAX,
            });
        }
        Ok(Self {
            id: id.to_owned(),
            title: line("title", &new.title, TITLE_MAX)?,
            text: prose("text", &new.text, TEXT_MAX)?,
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
    /// [`Refusal::Withdrawn`].
    pub fn withdrawn(&self, at: Timestamp) -> Result<Self, Refusal> {
        if self.withdrawn_at.is_some() {
            return Err(Refusal::Withdrawn);
        }
        Ok(Self {
            withdrawn_at: Some(at),
            ..self.clone()
        })
    }

    /// Whether `page` tells it at `now`.
    #[must_use]
    pub fn is_told(&self, page: &Slug, now: Timestamp) -> bool {
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
        let made = Announcement::make(&new, "1-1", "olga", AT).unwrap();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert!(made.is_told(&a, AT) && !made.is_told(&b, AT) && !made.is_told(&a, later));
        let gone = made.withdrawn(AT).unwrap();
        assert!(!gone.is_told(&a, AT));
        assert_eq!(gone.withdrawn(AT), Err(Refusal::Withdrawn));
    }
}
