//! A cluster's keys in etcd v2, and the way of each node from there to an agent.

use galera::view::{MoveStepView, SeqnoMeaning, V2KeyView, V2KeysView};

use crate::format::{code, pluralize, quiet, sub};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const KEY_COLUMNS: [&str; 5] = ["Key", "Value", "Index", "TTL", "Note"];
const MOVE_COLUMNS: [&str; 4] = ["Node", "etcd v2", "etcd v3", "Next step"];

/// The section about etcd v2, with the keys that match the query.
pub(super) fn section(keys: &V2KeysView, of: &str, query: &str) -> El {
    let shown: Vec<&V2KeyView> = keys.keys.iter().filter(|key| matches(key, query)).collect();
    let counts = match query.is_empty() {
        true => pluralize(keys.key_count, "key"),
        false => format!("{} of {}", shown.len(), pluralize(keys.key_count, "key")),
    };
    let summary = el("p")
        .class("quiet")
        .child(format!("{counts} in the v2 API of etcd at "))
        .child(code(keys.endpoints.clone()))
        .child(format!(", index {}.", keys.index));
    let error = keys.error.as_ref().map(|error| {
        let text = format!("The keys in etcd v2 cannot be read. {error}.");
        el("p").class("notice").child(text)
    });
    let table = (!shown.is_empty()).then(|| {
        data_table(
            "ledger keys",
            format!("Keys of {of} in etcd v2"),
            &KEY_COLUMNS,
            shown.iter().map(|key| key_row(key)).collect(),
        )
    });
    el("section")
        .child(el("h2").child("Registry in etcd v2"))
        .child(error)
        .child(summary)
        .child(table)
        .child(stale_directories(keys))
        .child(moves(keys, of))
}

/// Whether key, value or reason contain the text, ignoring case.
fn matches(key: &V2KeyView, query: &str) -> bool {
    let query = query.to_ascii_lowercase();
    let fields = [Some(&key.key), Some(&key.value), key.reason.as_ref()];
    let mut fields = fields.into_iter().flatten();
    fields.any(|field| field.to_ascii_lowercase().contains(&query))
}

fn key_row(key: &V2KeyView) -> El {
    let ttl = match key.ttl {
        Some(ttl) => el("span").child(format!("{ttl} s")),
        None => quiet("none"),
    };
    row(code(key.key.clone()))
        .child(cell(KEY_COLUMNS[1], code(key.value.clone())).class("value"))
        .child(cell(KEY_COLUMNS[2], key.index.to_string()).class("n"))
        .child(cell(KEY_COLUMNS[3], ttl).class("n"))
        .child(cell(KEY_COLUMNS[4], remark(key)))
}

fn remark(key: &V2KeyView) -> Content {
    let meaning = key.seqno.map(|meaning| match meaning {
        SeqnoMeaning::LastCommitted => "last committed transaction of the running server",
        SeqnoMeaning::RecoveredPosition => {
            "recovered position of the stopped server; without a state UUID it proves nothing"
        }
        SeqnoMeaning::Undetermined => {
            "last committed or recovered: not determined until it is written again"
        }
    });
    let label = match (key.known, key.stale) {
        (_, true) => Some("stale"),
        (false, false) => Some("unknown"),
        (true, false) => None,
    };
    let label = label.map(|label| el("span").class("stale-word").child(label));
    let reason = key.reason.as_ref().map(|reason| format!(": {reason}"));
    if label.is_none() && meaning.is_none() {
        return Content::None;
    }
    el("span")
        .child(label)
        .child(reason)
        .child(meaning.map(sub))
        .into()
}

fn stale_directories(keys: &V2KeysView) -> Option<El> {
    let count = keys.stale_directory_count;
    if count == 0 {
        return None;
    }
    let items = keys.stale_directories.iter();
    let items: Vec<El> = items
        .map(|path| el("li").child(code(path.clone())))
        .collect();
    let more = count - keys.stale_directories.len();
    let more = (more > 0).then(|| el("li").child(format!("and {more} more")));
    let title = match count {
        1 => "1 stale directory".to_owned(),
        _ => format!("{count} stale directories"),
    };
    Some(
        el("details")
            .child(el("summary").child(format!(
                "{title}: their keys have expired, and the scripts remove none"
            )))
            .child(el("ul").child(items).child(more)),
    )
}

fn moves(keys: &V2KeysView, of: &str) -> El {
    let proof: El = if keys.keep_because.is_empty() {
        el("p").child(
            "The registry in etcd v2 can be given up: both registries name the same nodes at the same addresses, and no script writes to etcd v2.",
        )
    } else {
        let reasons = keys.keep_because.iter();
        let reasons: Vec<El> = reasons
            .map(|reason| el("li").child(reason.clone()))
            .collect();
        el("div")
            .child(el("p").child("Keep the registry in etcd v2 for now:"))
            .child(el("ul").child(reasons))
    };
    let rows = keys.moves.iter().map(move_row).collect();
    el("section")
        .child(el("h3").child("Move to agents and etcd v3"))
        .child(proof)
        .child(data_table(
            "ledger",
            format!("Nodes of {of} in etcd v2 and v3"),
            &MOVE_COLUMNS,
            rows,
        ))
}

fn move_row(step: &MoveStepView) -> El {
    let registered = |is: bool| if is { "registered" } else { "no" };
    let next = step.next.clone().unwrap_or_else(|| "Moved.".to_owned());
    row(code(step.node.to_string()))
        .child(cell(MOVE_COLUMNS[1], registered(step.in_v2)))
        .child(cell(MOVE_COLUMNS[2], registered(step.in_v3)))
        .child(cell(MOVE_COLUMNS[3], next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> V2KeysView {
        V2KeysView {
            endpoints: "http://etcd:2379".to_owned(),
            index: 7,
            error: None,
            keys: vec![V2KeyView {
                key: "/galera/lab/10.0.0.1/seqno".to_owned(),
                value: "<script>2881".to_owned(),
                index: 6,
                ttl: Some(8),
                node: "10.0.0.1".parse().ok(),
                known: true,
                stale: false,
                reason: None,
                seqno: Some(SeqnoMeaning::RecoveredPosition),
            }],
            key_count: 1,
            stale_directories: vec!["/galera/lab/10.0.0.9".to_owned()],
            stale_directory_count: 10_000,
            moves: vec![MoveStepView {
                node: "10.0.0.1".parse().unwrap(),
                in_v2: true,
                in_v3: false,
                next: Some("Replace the container.".to_owned()),
            }],
            keep_because: vec!["10.0.0.1: in etcd v2 only.".to_owned()],
        }
    }

    #[test]
    fn shows_keys_stale_directories_and_the_next_step_of_each_node() {
        let html = section(&keys(), "lab", "").html();
        for expected in [
            "1 key in the v2 API of etcd at",
            "&lt;script&gt;2881",
            "recovered position of the stopped server",
            "10000 stale directories",
            "and 9999 more",
            "Replace the container.",
            "Keep the registry in etcd v2 for now",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("can be given up"), "{html}");
    }

    #[test]
    fn v2_can_be_given_up_only_without_a_reason_to_keep_it() {
        let moved = V2KeysView {
            keep_because: Vec::new(),
            ..keys()
        };
        let html = section(&moved, "lab", "").html();
        assert!(html.contains("can be given up"), "{html}");
        let unreadable = V2KeysView {
            error: Some("etcd does not answer".to_owned()),
            ..keys()
        };
        let html = section(&unreadable, "lab", "").html();
        assert!(
            html.contains("cannot be read. etcd does not answer."),
            "{html}"
        );
    }
}
