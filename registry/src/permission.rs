//! Rights on keys, as etcd's roles grant them.

use crate::read::prefix_end;

/// What a right permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyAccess {
    /// Reads and watches.
    Read,
    /// Writes, deletions and leases only.
    Write,
    /// Both.
    ReadWrite,
}

impl KeyAccess {
    /// As `etcdctl role grant-permission` names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "readwrite",
        }
    }

    const fn includes(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::ReadWrite, _) | (Self::Read, Self::Read) | (Self::Write, Self::Write)
        )
    }
}

/// A right on a key, or on the keys of a range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPermission {
    /// The first key.
    pub(crate) key: Vec<u8>,
    /// The first key after the range, as etcd writes it: empty for one key, a zero byte for no end.
    pub(crate) range_end: Vec<u8>,
    /// What is permitted.
    pub(crate) access: KeyAccess,
}

impl KeyPermission {
    /// On one key.
    pub fn key(key: impl Into<Vec<u8>>, access: KeyAccess) -> Self {
        Self {
            key: key.into(),
            range_end: Vec::new(),
            access,
        }
    }

    /// On every key that starts with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>, access: KeyAccess) -> Self {
        let key = prefix.into();
        Self {
            range_end: prefix_end(&key),
            key,
            access,
        }
    }

    /// What is permitted.
    #[must_use]
    pub const fn access(&self) -> KeyAccess {
        self.access
    }

    /// The key, or the prefix, as text.
    #[must_use]
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.key).into_owned()
    }

    /// Whether it is on every key with a prefix, as opposed to one key or another range.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        !self.range_end.is_empty() && self.range_end == prefix_end(&self.key)
    }

    /// The range without its right, by which etcd identifies a permission of a role.
    pub(crate) fn range(&self) -> (&[u8], &[u8]) {
        (&self.key, &self.range_end)
    }

    /// The first key after the range; `None` for no end.
    fn end(&self) -> Option<Vec<u8>> {
        match self.range_end.as_slice() {
            [] => {
                let mut next = self.key.clone();
                next.push(0);
                Some(next)
            }
            [0] => None,
            end => Some(end.to_vec()),
        }
    }
}

impl std::fmt::Display for KeyPermission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.range_end.is_empty() {
            "the key"
        } else {
            "keys below"
        };
        write!(f, "{} on {what} {}", self.access.as_str(), self.name())
    }
}

/// Those of `needed` that `granted` do not cover. Each names only the right that is missing.
pub(crate) fn missing(needed: &[KeyPermission], granted: &[KeyPermission]) -> Vec<KeyPermission> {
    let mut missing = Vec::new();
    for need in needed {
        let lacks =
            |access: KeyAccess| need.access.includes(access) && !covers(granted, need, access);
        let access = match (lacks(KeyAccess::Read), lacks(KeyAccess::Write)) {
            (false, false) => continue,
            (true, true) => KeyAccess::ReadWrite,
            (true, false) => KeyAccess::Read,
            (false, true) => KeyAccess::Write,
        };
        missing.push(KeyPermission {
            access,
            ..need.clone()
        });
    }
    missing
}

/// Whether the ranges with `access` together contain the range of `need`, as etcd judges it.
fn covers(granted: &[KeyPermission], need: &KeyPermission, access: KeyAccess) -> bool {
    let mut ranges: Vec<_> = granted
        .iter()
        .filter(|granted| granted.access.includes(access))
        .map(|granted| (granted.key.as_slice(), granted.end()))
        .collect();
    ranges.sort();
    let needed_end = need.end();
    let mut reached = need.key.clone();
    for (start, end) in ranges {
        if start > reached.as_slice() {
            break;
        }
        match (end, &needed_end) {
            (None, _) => return true,
            (Some(end), Some(needed)) if end >= *needed => return true,
            (Some(end), _) => reached = reached.max(end),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use KeyAccess::{Read, ReadWrite, Write};

    fn prefix(prefix: &str, access: KeyAccess) -> KeyPermission {
        KeyPermission::prefix(prefix, access)
    }

    fn range(key: &str, end: &str, access: KeyAccess) -> KeyPermission {
        KeyPermission {
            key: key.into(),
            range_end: end.into(),
            access,
        }
    }

    #[test]
    fn a_right_on_a_longer_prefix_is_contained_in_one_on_a_shorter() {
        let needed = [prefix("/galera/lab/n1/", ReadWrite)];
        for (granted, lacking) in [
            (vec![prefix("/galera/", ReadWrite)], None),
            (vec![prefix("/galera/lab/n1/", ReadWrite)], None),
            (vec![range("", "\0", ReadWrite)], None),
            (
                vec![prefix("/galera/", Read), prefix("/galera/lab/n1/", Write)],
                None,
            ),
            (
                vec![
                    range("/galera/lab/n1/", "/galera/lab/n1/m", ReadWrite),
                    range("/galera/lab/n1/m", "\0", ReadWrite),
                ],
                None,
            ),
            (vec![prefix("/galera/", Read)], Some(Write)),
            (vec![prefix("/galera/", Write)], Some(Read)),
            (vec![], Some(ReadWrite)),
            (vec![prefix("/galera/lab/n2/", ReadWrite)], Some(ReadWrite)),
            (
                vec![KeyPermission::key("/galera/lab/n1/", ReadWrite)],
                Some(ReadWrite),
            ),
            // A gap of one key.
            (
                vec![
                    range("/galera/lab/n1/", "/galera/lab/n1/m", ReadWrite),
                    range("/galera/lab/n1/m\0", "\0", ReadWrite),
                ],
                Some(ReadWrite),
            ),
        ] {
            let found = missing(&needed, &granted);
            assert_eq!(
                found.first().map(KeyPermission::access),
                lacking,
                "{granted:?}"
            );
        }
    }

    #[test]
    fn a_single_key_needs_only_itself() {
        let needed = [KeyPermission::key("/galera/lab/founder", Write)];
        for granted in [
            KeyPermission::key("/galera/lab/founder", Write),
            prefix("/galera/lab/founder", Write),
            prefix("/galera/", ReadWrite),
        ] {
            assert_eq!(missing(&needed, &[granted]), []);
        }
        let other = KeyPermission::key("/galera/lab/founders", Write);
        assert_eq!(missing(&needed, &[other]), needed);
    }

    #[test]
    fn a_right_is_named_with_its_keys() {
        assert_eq!(
            prefix("/galera/", ReadWrite).to_string(),
            "readwrite on keys below /galera/"
        );
        assert_eq!(
            KeyPermission::key("/galera/lab/founder", Write).to_string(),
            "write on the key /galera/lab/founder"
        );
    }
}
