//! Where status pages and what they tell lie in etcd.

use galera::publish::status_pages::{Announcement, Incident, Maintenance, Page};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Something that is kept under a name of its own.
pub(super) trait Kept: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// What it is called in sentences.
    const WHAT: &'static str;
    /// Where its kind lies.
    const FOLDER: &'static str;

    /// Its name in that folder.
    fn name(&self) -> &str;
}

macro_rules! kept {
    ($type:ty, $what:literal, $folder:literal, $self:ident => $name:expr) => {
        impl Kept for $type {
            const WHAT: &'static str = $what;
            const FOLDER: &'static str = $folder;

            fn name(&$self) -> &str {
                $name
            }
        }
    };
}

kept!(Page, "status page", "pages", self => self.slug.as_str());
kept!(Incident, "incident", "incidents", self => &self.id);
kept!(Maintenance, "maintenance", "maintenance", self => &self.id);
kept!(Announcement, "announcement", "announcements", self => &self.id);

/// The keys under a state prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(state_prefix: &str) -> Self {
        Self {
            prefix: format!("{}/status/", state_prefix.trim_end_matches('/')),
        }
    }

    /// The prefix of everything.
    pub(super) fn all(&self) -> &str {
        &self.prefix
    }

    /// The key of the thing `name`.
    pub(super) fn of<T: Kept>(&self, name: &str) -> String {
        format!("{}{}/{name}", self.prefix, T::FOLDER)
    }

    /// The folder and the name that `key` consists of.
    pub(super) fn parts<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let (folder, name) = rest.split_once('/')?;
        (!name.is_empty() && !name.contains('/')).then_some((folder, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_kind_and_thing() {
        let keys = Keys::new("/state/");
        let key = keys.of::<Page>("shop");
        assert_eq!(key, "/state/status/pages/shop");
        assert_eq!(keys.parts(key.as_bytes()), Some(("pages", "shop")));
        for other in [
            "/state/status/pages/",
            "/state/status/pages/a/b",
            "/state/audit/head",
        ] {
            assert_eq!(keys.parts(other.as_bytes()), None, "{other}");
        }
    }
}
