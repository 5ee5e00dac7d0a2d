//! Events as CSV (RFC 4180).

use console_core::audit::csv_cell;
use galera::record::history::{HistoryEvent, StateChange};

const HEADER: &str = "sequence,at,kind,node,name,from,to,reasons\r\n";

/// `events` as CSV with a header row.
#[must_use]
pub fn events_csv(events: &[HistoryEvent]) -> String {
    let mut table = HEADER.to_owned();
    for event in events {
        let change = &event.change;
        let (name, from, reasons) = match change {
            StateChange::Verdict { from, reasons, .. } => {
                let reasons: Vec<&str> = reasons.iter().map(|r| r.message.as_str()).collect();
                ("", from.map(|from| from.as_str()), reasons.join(" "))
            }
            StateChange::Node { name, from, .. } => {
                let name = name.as_deref().unwrap_or_default();
                (name, from.map(|from| from.as_str()), String::new())
            }
        };
        let node = change.node().map(ToString::to_string).unwrap_or_default();
        let cells = [
            &event.sequence.to_string(),
            &event.at.to_string(),
            change.kind().as_str(),
            &node,
            name,
            from.unwrap_or_default(),
            change.new_state_str(),
            &reasons,
        ]
        .map(csv_cell);
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
    fn one_row_per_event() {
        let at = Timestamp::from_unix_millis(1_795_420_800_123);
        let node = StateChange::Node {
            node: "db1".parse().unwrap(),
            name: Some("=n1".to_owned()),
            from: Some(NodeState::Synced),
            to: None,
        };
        let events =
            [(2, StateChange::observation_gap(at)), (1, node)].map(|(sequence, change)| {
                HistoryEvent {
                    sequence,
                    at,
                    change,
                }
            });
        assert_eq!(
            events_csv(&events),
            "sequence,at,kind,node,name,from,to,reasons\r\n\
             2,2026-11-23T08:00:00.123Z,verdict,,,,unknown,No replica was observing since 2026-11-23T08:00:00.123Z.\r\n\
             1,2026-11-23T08:00:00.123Z,node,db1,'=n1,synced,gone,\r\n"
        );
    }
}
