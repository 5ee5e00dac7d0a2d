//! Keys of status pages and their items in etcd.

/// Builds the keys of status pages.
#[derive(Clone, Debug)]
pub struct StatusPageKeys {
    prefix: String,
}

impl StatusPageKeys {
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            prefix: format!("{}/status/", state_prefix.trim_end_matches('/')),
        }
    }

    /// Prefix of all keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Key of the item `name` in `folder`.
    #[must_use]
    pub fn item(&self, folder: &str, name: &str) -> String {
        format!("{}{folder}/{name}", self.prefix)
    }

    /// Splits `key` into folder and name; `None` when it is not a key of an item.
    #[must_use]
    pub fn parse<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
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
        let key = keys.item("pages", "shop");
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
