//! Reads the state of an arbitrator from its log: it serves no SQL, and nothing else shows it.

use galera::observe::registration::ArbitratorPhase;
use uuid::Uuid;

/// Members of a view that are kept.
const MEMBERS_MAX: usize = 64;

/// What the lines so far show.
#[derive(Debug, Default)]
pub(super) struct GroupLog {
    /// Whether the newest view has quorum; `None` before the first.
    primary: Option<bool>,
    /// Of the newest view, as the log names them.
    members: Vec<String>,
    state_uuid: Option<Uuid>,
    /// The view whose members are being listed.
    listing: Option<ListedView>,
}

#[derive(Debug)]
struct ListedView {
    primary: bool,
    members: Vec<String>,
}

impl GroupLog {
    /// Reads the next line. Returns whether it changed what is reported.
    pub(super) fn read(&mut self, line: &str) -> bool {
        let text = line.trim();
        if let Some(view) = self.listing.take() {
            return self.read_member(view, text);
        }
        if let Some((_, view)) = line.split_once("view(view_id(") {
            self.listing = view.split_once(',').map(|(kind, _)| ListedView {
                primary: kind == "PRIM",
                members: Vec::new(),
            });
            return false;
        }
        if let Some(component) = value_of(text, "component") {
            return self.set_primary(component == "PRIMARY");
        }
        if let Some(uuid) = value_of(text, "group UUID") {
            let uuid = Uuid::try_parse(uuid).ok().filter(|uuid| !uuid.is_nil());
            return std::mem::replace(&mut self.state_uuid, uuid) != uuid;
        }
        if let Some((_, rest)) = line.split_once("New COMPONENT: primary = ") {
            return self.set_primary(rest.starts_with("yes"));
        }
        false
    }

    fn set_primary(&mut self, primary: bool) -> bool {
        self.primary.replace(primary) != Some(primary)
    }

    /// A line of a list of members: `59485c50-aa54,0`, or its end.
    fn read_member(&mut self, mut view: ListedView, text: &str) -> bool {
        if let Some((member, segment)) = text.split_once(',')
            && segment.bytes().all(|byte| byte.is_ascii_digit())
            && member
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
            && view.members.len() < MEMBERS_MAX
        {
            view.members.push(member.to_owned());
            self.listing = Some(view);
            return false;
        }
        let changed = self.members != view.members || self.primary != Some(view.primary);
        self.members = view.members;
        // A Primary view counts once the members have agreed on it ("Quorum results"); a lost quorum counts immediately.
        if !view.primary {
            self.primary = Some(false);
        }
        changed
    }

    pub(super) const fn phase(&self) -> ArbitratorPhase {
        match self.primary {
            None => ArbitratorPhase::Connecting,
            Some(true) => ArbitratorPhase::Primary,
            Some(false) => ArbitratorPhase::NonPrimary,
        }
    }

    pub(super) const fn phase_text(&self) -> &'static str {
        match self.phase() {
            ArbitratorPhase::Waiting | ArbitratorPhase::Connecting => "connecting",
            ArbitratorPhase::Primary => "in a Primary component",
            ArbitratorPhase::NonPrimary => "in a component without quorum",
        }
    }

    pub(super) fn members(&self) -> &[String] {
        &self.members
    }

    pub(super) const fn state_uuid(&self) -> Option<Uuid> {
        self.state_uuid
    }
}

/// The value of a line such as `component  = PRIMARY,`.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(name)?.trim_start().strip_prefix('=')?;
    Some(rest.trim().trim_end_matches(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As garbd 26.4.23 wrote it, shortened.
    const JOINED: &str = "\
2026-11-29 12:52:56.302  INFO: (cc56f540-99f6, 'tcp://127.0.0.4:24567') listening at tcp://127.0.0.4:24567
2026-11-29 12:52:56.805  INFO: Node 59485c50-aa54 state prim
2026-11-29 12:52:56.806  INFO: view(view_id(PRIM,59485c50-aa54,6) memb {
\t59485c50-aa54,0
\t59691c32-a9dc,0
\tcc56f540-99f6,1
} joined {
} left {
} partitioned {
})
2026-11-29 12:52:57.304  INFO: New COMPONENT: primary = yes, bootstrap = no, my_idx = 3, memb_num = 4
2026-11-29 12:52:57.304  INFO: Quorum results:
\tversion    = 6,
\tcomponent  = PRIMARY,
\tconf_id    = 5,
\tmembers    = 3/4 (joined/total),
\tgroup UUID = 5948ee3c-ebf1-11f1-a415-9ff973524c59
";
    const ALONE: &str = "\
2026-11-29 12:53:05.810  INFO: view(view_id(NON_PRIM,59485c50-aa54,6) memb {
\tcc56f540-99f6,1
} joined {
} left {
} partitioned {
\t59485c50-aa54,0
\t59691c32-a9dc,0
})
";

    fn read(log: &mut GroupLog, text: &str) -> bool {
        text.lines().filter(|line| log.read(line)).count() > 0
    }

    #[test]
    fn a_view_has_its_members_and_its_history() {
        let mut log = GroupLog::default();
        assert_eq!(log.phase(), ArbitratorPhase::Connecting);
        assert!(read(&mut log, JOINED));
        assert_eq!(log.phase(), ArbitratorPhase::Primary);
        assert_eq!(
            log.members(),
            ["59485c50-aa54", "59691c32-a9dc", "cc56f540-99f6"]
        );
        let uuid = log.state_uuid().unwrap().to_string();
        assert_eq!(uuid, "5948ee3c-ebf1-11f1-a415-9ff973524c59");
    }

    #[test]
    fn a_lost_quorum_counts_immediately() {
        let mut log = GroupLog::default();
        read(&mut log, JOINED);
        assert!(read(&mut log, ALONE));
        assert_eq!(log.phase(), ArbitratorPhase::NonPrimary);
        assert_eq!(
            log.members(),
            ["cc56f540-99f6"],
            "not those that were partitioned"
        );
        assert!(read(&mut log, JOINED));
        assert_eq!(log.phase(), ArbitratorPhase::Primary);
    }

    #[test]
    fn other_lines_change_nothing() {
        let mut log = GroupLog::default();
        read(&mut log, JOINED);
        for line in [
            "",
            "view(view_id(",
            "component",
            "group UUID",
            "\u{0}\u{7}",
            "} joined {",
            "a,b",
        ] {
            assert!(!log.read(line), "{line}");
        }
        assert_eq!(log.phase(), ArbitratorPhase::Primary);
        assert_eq!(log.members().len(), 3);
    }
}
