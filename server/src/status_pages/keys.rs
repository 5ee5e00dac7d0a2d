//! Keys of status pages and their items in etcd.

use galera::publish::status_pages::{Announcement, Incident, Maintenance, StatusPageRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An item that is stored under its own key.
pub(super) trait StatusItem: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// What it is called in messages.
    const NOUN: &'static str;
    /// Folder of its kind.
    const FOLDER: &'static str;

    /// Its slug or ID, unique in that folder.
    fn name(&self) -> &str;
}

macro_rules! impl_status_item {
    ($type:ty, $what:literal, $folder:literal, $self:ident => $name:expr) => {
        impl StatusItem for $type {
            const NOUN: &'static str = $what;
            const FOLDER: &'static str = $folder;

            fn name(&$self) -> &str {
                $name
            }
        }
    };
}

impl_status_item!(StatusPageRecord, "status page", "pages", self => self.slug.as_str());
impl_status_item!(Incident, "incident", "incidents", self => &self.id);
impl_status_item!(Maintenance, "maintenance", "maintenance", self => &self.id);
impl_status_item!(Announcement, "announcement", "announcements", self => &self.id);

/// Builds the keys of status pages.
#[derive(Clone, Debug)]
pub(super) struct StatusPageKeys {
    prefix: String,
}

impl StatusPageKeys {
    pub(super) fn new(state_prefix: &str) -> Self {
        Self {
            prefix: format!("{}/status/", state_prefix.trim_end_matches('/')),
        }
    }

    /// Prefix of all keys.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Key of the item `name`.
    pub(super) fn item<T: StatusItem>(&self, name: &str) -> String {
        format!("{}{}/{name}", self.prefix, T::FOLDER)
    }

    /// Splits `key` into folder and name; `None` when it is not a key of an item.
    pub(super) fn parse<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let (folder, name) = rest.split_once('/')?;
        (!name.is_empty() && !name.contains('/')).then_some((folder, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_keys_round_trip() {
        let keys = StatusPageKeys::new("/state/");
        let key = keys.item::<StatusPageRecord>("shop");
        assert_eq!(key, "/state/status/pages/shop");
        assert_eq!(keys.parse(key.as_bytes()), Some(("pages", "shop")));
        for other in [
            "/state/status/pages/",
            "/state/status/pages/a/b",
            "/state/audit/head",
        ] {
            assert_eq!(keys.parse(other.as_bytes()), None, "{other}");
        }
    }
}
