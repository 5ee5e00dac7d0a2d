//! Where status pages and what they tell lie in etcd.

/// The keys under a state prefix.
#[derive(Clone, Debug)]
pub struct StatusPageKeys {
    prefix: String,
}

impl StatusPageKeys {
    /// The keys under `state_prefix`.
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            prefix: format!("{}/status/", state_prefix.trim_end_matches('/')),
        }
    }

    /// The prefix of everything.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of the item `name` in `folder`.
    #[must_use]
    pub fn item(&self, folder: &str, name: &str) -> String {
        format!("{}{folder}/{name}", self.prefix)
    }

    /// The folder and the name that `key` consists of.
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
    fn keys_name_their_kind_and_thing() {
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
