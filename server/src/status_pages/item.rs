//! The kinds of items that are stored for status pages.

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
