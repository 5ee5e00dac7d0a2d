//! `members_seen`: how many members a stopped node's data last had around them, as evidence against a set of members
//! that shrank with lost memory (I36).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::observe::saved_state::GvwState;

/// Largest number of members that is believed.
const COUNT_MAX: usize = 256;
/// UUIDs that are published: the value must stay far below 4 KiB.
const UUIDS_MAX: usize = 64;

/// What a stopped node knows about the members of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersSeen {
    /// Members of the last Primary view in gvwstate.dat, arbitrators included; 0 if there is none. Without `view` the file is
    /// damaged, and they are a lower bound.
    #[serde(default)]
    pub count: usize,
    /// Their `gcomm` UUIDs, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uuids: Vec<Uuid>,
    /// The number of that view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<u64>,
    /// Members that the node is configured to expect (`EXPECTED_MEMBERS`); 0 if it is not configured.
    #[serde(default)]
    pub configured: usize,
}

impl MembersSeen {
    /// What `view` and `configured` members show.
    #[must_use]
    pub fn new(view: Option<&GvwState>, configured: usize) -> Self {
        let at_least = view.map_or(0, |view| view.members_at_least);
        let view = view.filter(|view| view.complete);
        let uuids: BTreeSet<Uuid> = view
            .map(|view| view.members.iter().copied().collect())
            .unwrap_or_default();
        Self {
            count: at_least.min(COUNT_MAX),
            uuids: uuids.into_iter().take(UUIDS_MAX).collect(),
            view: view.and_then(|view| view.view_id).map(|id| id.sequence),
            configured: configured.min(COUNT_MAX),
        }
    }

    /// Parses the key's value; `None` if it is unreadable or its numbers are impossible.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let seen: Self = serde_json::from_str(value).ok()?;
        let possible = seen.count <= COUNT_MAX
            && seen.configured <= COUNT_MAX
            && seen.uuids.len() <= UUIDS_MAX.min(seen.count);
        possible.then_some(seen)
    }

    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The number of members that this shows, if any.
    #[must_use]
    pub fn members(&self) -> Option<usize> {
        Some(self.count.max(self.configured)).filter(|members| *members > 0)
    }

    /// Whether there may have been more members than that: the saved view is damaged.
    #[must_use]
    pub fn is_lower_bound(&self) -> bool {
        self.view.is_none() && self.count > self.configured
    }

    /// Where that number is from, as the rest of a sentence: `its last view had 3 members`.
    #[must_use]
    pub fn explanation(&self) -> String {
        match self.count >= self.configured {
            true if self.is_lower_bound() => {
                format!("its last view had at least {}", members_text(self.count))
            }
            true => format!("its last view had {}", members_text(self.count)),
            false => format!(
                "its EXPECTED_MEMBERS requires {}",
                members_text(self.configured)
            ),
        }
    }
}

fn members_text(count: usize) -> String {
    match count {
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
    const OTHER: &str = "7f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

    fn view(lines: &str, end: &str) -> GvwState {
        let text = format!(
            "my_uuid: {UUID}{end}#vwbeg{end}view_id: 3 {UUID} 17{end}bootstrap: 0{end}{}#vwend{end}",
            lines.replace('\n', end)
        );
        GvwState::parse(text.as_bytes())
    }

    #[test]
    fn i36_a_saved_view_is_evidence_only_if_it_is_complete() {
        let two = format!("member: {UUID} 0\nmember: {OTHER} 0\n");
        for end in ["\n", "\r\n"] {
            let seen = MembersSeen::new(Some(&view(&two, end)), 0);
            assert_eq!((seen.count, seen.view), (2, Some(17)), "{end:?}");
            assert_eq!(MembersSeen::parse(&seen.to_value()), Some(seen));
        }
        // Twice the same member is one.
        let twice = format!("member: {UUID} 0\nmember: {UUID} 1\n");
        assert_eq!(MembersSeen::new(Some(&view(&twice, "\n")), 0).count, 1);
        let many: String = (0..10_000_u128)
            .map(|number| format!("member: {} 0\n", Uuid::from_u128(number + 1)))
            .collect();
        let seen = MembersSeen::new(Some(&view(&many, "\n")), 1_000_000);
        assert!(seen.to_value().len() < 4096, "{}", seen.to_value().len());
        assert_eq!(MembersSeen::parse(&seen.to_value()), Some(seen));
        for bytes in [&b""[..], b"\xff\xfe", b"#vwbeg\nview_id: x\n", b"#vwend"] {
            let seen = MembersSeen::new(Some(&GvwState::parse(bytes)), 0);
            assert_eq!(seen.members(), None, "{bytes:?}");
        }
    }

    #[test]
    fn i36_a_damaged_view_shows_a_lower_bound() {
        let damaged = format!("member: {UUID} 0\nmember: {OTHER} 0\nmember: 8f1a 0\n");
        let seen = MembersSeen::new(Some(&view(&damaged, "\n")), 0);
        assert_eq!((seen.members(), seen.view), (Some(3), None));
        assert!(seen.is_lower_bound());
        assert_eq!(seen.explanation(), "its last view had at least 3 members");
        assert_eq!(MembersSeen::parse(&seen.to_value()), Some(seen));
        // What a person configured is exact.
        let configured = MembersSeen::new(Some(&view(&damaged, "\n")), 5);
        assert!(!configured.is_lower_bound());
        assert_eq!(
            configured.explanation(),
            "its EXPECTED_MEMBERS requires 5 members"
        );
        let whole = format!("member: {UUID} 0\nmember: {OTHER} 0\n");
        assert!(!MembersSeen::new(Some(&view(&whole, "\n")), 0).is_lower_bound());
    }

    #[test]
    fn i36_impossible_numbers_are_not_believed() {
        for value in [
            "",
            "3",
            "{\"count\":-1}",
            "{\"count\":100000}",
            "{\"count\":1e300}",
            "{\"configured\":257}",
        ] {
            assert_eq!(MembersSeen::parse(value), None, "{value}");
        }
        let unlisted = format!("{{\"count\":0,\"uuids\":[\"{UUID}\"]}}");
        assert_eq!(MembersSeen::parse(&unlisted), None);
    }
}
