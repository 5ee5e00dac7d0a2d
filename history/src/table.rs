//! Events as a table for spreadsheets (RFC 4180).

use console_core::audit::cell;
use galera::record::history::{Change, Event};

const HEADER: &str = "sequence,at,kind,node,name,from,to,reasons\r\n";

/// `events` as CSV with a header line.
#[must_use]
pub fn csv(events: &[Event]) -> String {
    let mut table = HEADER.to_owned();
    for event in events {
        let change = &event.change;
        let (name, from, reasons) = match change {
            Change::Verdict { from, reasons, .. } => {
                let reasons: Vec<&str> = reasons.iter().map(|r| r.message.as_str()).collect();
                ("", from.map(|from| from.word()), reasons.join(" "))
            }
            Change::Node { name, from, .. } => {
                let name = name.as_deref().unwrap_or_default();
                (name, from.map(|from| from.word()), String::new())
            }
        };
        let node = change.node().map(ToString::to_string).unwrap_or_default();
        let cells = [
            &event.sequence.to_string(),
            &event.at.to_string(),
            change.kind().word(),
            &node,
            name,
            from.unwrap_or_default(),
            change.to_word(),
            &reasons,
        ]
        .map(cell);
        table.push_str(&cells.join(","));
        table.push_str("\r\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use galera::Timestamp;
    use galera::view::NodeState;

    use super::*;

    #[test]
    fn a_line_for_each_event() {
        let at = Timestamp::from_unix_millis(1_795_420_800_123);
        let node = Change::Node {
            node: "db1".parse().unwrap(),
            name: Some("=n1".to_owned()),
            from: Some(NodeState::Synced),
            to: None,
        };
        let events = [(2, Change::blind(at)), (1, node)].map(|(sequence, change)| Event {
            sequence,
            at,
            change,
        });
        assert_eq!(
            csv(&events),
            "sequence,at,kind,node,name,from,to,reasons\r\n\
             2,2026-11-23T08:00:00.123Z,verdict,,,,unknown,No console was watching since 2026-11-23T08:00:00.123Z.\r\n\
             1,2026-11-23T08:00:00.123Z,node,db1,'=n1,synced,gone,\r\n"
        );
    }
}
