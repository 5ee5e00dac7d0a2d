//! Groups of accounts, which approval policies may name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest name, in characters.
const GROUP_NAME_MAX: usize = 100;
/// Most groups of one account with a password.
pub const GROUPS_MAX: usize = 20;

/// The name of a group: letters, digits, spaces within, and `. _ - / @`. Upper and lower case differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(String);

/// The text is not a valid name of a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid group {0:?}; use 1 to {GROUP_NAME_MAX} letters, digits, spaces and the characters '.', '_', '-', '/' and '@', such as dba"
)]
pub struct GroupNameError(String);

impl GroupName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = GroupNameError;

    fn from_str(text: &str) -> Result<Self, GroupNameError> {
        let plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-' | '/' | '@');
        let name = text.trim();
        if name.is_empty() || name.len() > GROUP_NAME_MAX || !name.chars().all(plain) {
            return Err(GroupNameError(text.chars().take(80).collect()));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for GroupName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// The first of `groups` for which no member is left, if each group needs a member and no member counts for two groups. `members`
/// has the groups of each member.
#[must_use]
pub fn group_without_member<'a>(
    groups: &'a [GroupName],
    members: &[&[GroupName]],
) -> Option<&'a GroupName> {
    let mut assigned: Vec<Option<usize>> = vec![None; members.len()];
    let mut needed = groups.iter().enumerate();
    let missing = needed.find(|(index, _)| {
        let mut seen = vec![false; members.len()];
        !assign(groups, members, *index, &mut assigned, &mut seen)
    });
    missing.map(|(_, group)| group)
}

/// Assigns a member to the group `index`; a member of another group is moved if that one has a further member.
fn assign(
    groups: &[GroupName],
    members: &[&[GroupName]],
    index: usize,
    assigned: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for member in 0..members.len() {
        if seen[member] || !members[member].contains(&groups[index]) {
            continue;
        }
        seen[member] = true;
        let free = match assigned[member] {
            None => true,
            Some(other) => assign(groups, members, other, assigned, seen),
        };
        if free {
            assigned[member] = Some(index);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<GroupName> {
        let names = text.split(' ').filter(|name| !name.is_empty());
        names.map(|name| name.parse().unwrap()).collect()
    }

    fn missing(groups: &str, members: &[&str]) -> Option<String> {
        let members: Vec<Vec<GroupName>> = members.iter().map(|text| names(text)).collect();
        let members: Vec<&[GroupName]> = members.iter().map(Vec::as_slice).collect();
        let groups = names(groups);
        group_without_member(&groups, &members).map(ToString::to_string)
    }

    #[test]
    fn each_group_needs_a_different_member() {
        for (groups, members, expected) in [
            ("", &[][..], None),
            ("dba", &[], Some("dba")),
            ("dba", &["sre"], Some("dba")),
            ("dba", &["sre", "dba"], None),
            // One person is in both groups.
            ("dba sre", &["dba sre"], Some("sre")),
            ("dba sre", &["dba sre", ""], Some("sre")),
            // The person of both groups counts for the one without another member.
            ("dba sre", &["dba sre", "dba"], None),
            ("dba sre", &["dba", "dba sre"], None),
            ("a b c", &["a b", "b c", "a"], None),
            ("a b c", &["a b", "a b", "a b"], Some("c")),
            ("a b c", &["a b c", "a", "a"], Some("c")),
        ] {
            let found = missing(groups, members);
            assert_eq!(found.as_deref(), expected, "{groups}: {members:?}");
        }
    }

    #[test]
    fn names_have_no_separators() {
        for good in ["dba", "DBA on call", "/org/dba", "dba@example.org"] {
            assert_eq!(good.parse::<GroupName>().unwrap().as_str(), good);
        }
        let long = "g".repeat(GROUP_NAME_MAX + 1);
        for bad in [
            "", " ", "a+b", "a,b", "a=b", "a:b", "<a>", "a\nb", "ä", &long,
        ] {
            assert!(bad.parse::<GroupName>().is_err(), "{bad}");
        }
    }
}
