//! Registry keys of a cluster and of a node, unprocessed.

use galera::Timestamp;
use galera::publish::api::ProblemDetails;
use galera::view::{ClusterView, RegistryKeyView, RegistryView};

use crate::format::{bytes, code, pluralize, quiet, sub, ticking_age, unknown};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

mod v2_keys;

const COLUMNS: [&str; 6] = ["Key", "Value", "Revision", "Lease", "TTL", "Note"];

/// The keys of a cluster, or why they cannot be read.
pub(super) type RegistryRead = Result<RegistryView, ProblemDetails>;

/// The registry tab: all keys that match the query, with the filter, which is kept in the URL.
pub(super) fn page(read: &RegistryRead, query: &str, now: Timestamp) -> El {
    el("div")
        .class("page")
        .child(filter_form(query))
        .child(match read {
            Ok(view) => key_list(view, query, now),
            Err(problem) => notice(problem),
        })
}

/// The section of a node's page with its keys.
pub(super) fn node_section(read: &RegistryRead, node: &str, now: Timestamp) -> El {
    let section = el("section").child(el("h2").child("Registry keys"));
    let view = match read {
        Ok(view) => view,
        Err(problem) => return section.child(notice(problem)),
    };
    let is_own = |key: &&RegistryKeyView| {
        let of = key.node.as_ref();
        of.is_some_and(|of| of.to_string() == node)
    };
    let own: Vec<_> = view.keys.iter().filter(is_own).collect();
    section.child(key_table(&own, node)).child(
        el("p")
            .class("quiet")
            .child("Read ")
            .child(ticking_age(view.observed_at, now))
            .child("."),
    )
}

/// Why nothing is read while etcd is unreachable; nothing waits for it.
pub(super) fn unreachable(view: &ClusterView) -> ProblemDetails {
    let detail = view.registry.error.clone().unwrap_or_default();
    crate::data::local_problem(
        "registry_unavailable",
        "Registry keys cannot be read",
        &detail,
    )
}

/// In place of the keys: the rest of the page does not depend on the registry.
fn notice(problem: &ProblemDetails) -> El {
    let text = format!("{}. {}", problem.title, problem.detail);
    el("p").class("notice").child(text)
}

fn filter_form(query: &str) -> El {
    let input = el("input")
        .attr("id", "q")
        .attr("name", "q")
        .attr("type", "search")
        .attr("autocomplete", "off")
        .attr("spellcheck", "false")
        .attr("value", query.to_owned());
    el("form")
        .class("filter")
        .attr("method", "get")
        .attr("role", "search")
        .child(el("label").attr("for", "q").child("Filter"))
        .child(input)
        .child(el("button").attr("type", "submit").child("Filter"))
}

fn key_list(view: &RegistryView, query: &str, now: Timestamp) -> El {
    let shown: Vec<&RegistryKeyView> = view.keys.iter().filter(|key| matches(key, query)).collect();
    let all = pluralize(view.keys.len(), "key");
    let counts = if query.is_empty() {
        all
    } else {
        format!("{} of {all}", shown.len())
    };
    let summary = el("p")
        .class("quiet")
        .child(counts)
        .child(" under ")
        .child(code(view.prefix.clone()))
        .child(format!(" at revision {}, read ", view.revision))
        .child(ticking_age(view.observed_at, now));
    el("div")
        .class("page")
        .child(summary)
        .child(key_table(&shown, view.cluster.as_str()))
        .child(
            view.v2
                .as_ref()
                .map(|v2| v2_keys::section(v2, view.cluster.as_str(), query)),
        )
}

/// Whether key, value, reason or lease contain the text, ignoring case.
fn matches(key: &RegistryKeyView, query: &str) -> bool {
    let query = query.to_ascii_lowercase();
    let fields = [
        Some(&key.key),
        Some(&key.value),
        key.reason.as_ref(),
        key.lease.as_ref(),
    ];
    fields
        .into_iter()
        .flatten()
        .any(|field| field.to_ascii_lowercase().contains(&query))
}

fn key_table(keys: &[&RegistryKeyView], of: &str) -> El {
    if keys.is_empty() {
        return el("p").class("quiet").child("No keys.");
    }
    let rows = keys.iter().map(|key| key_row(key)).collect();
    data_table(
        "ledger keys",
        format!("Registry keys of {of}"),
        &COLUMNS,
        rows,
    )
}

fn key_row(key: &RegistryKeyView) -> El {
    let cut = key
        .truncated
        .then(|| sub(format!("truncated; {} in total", bytes(key.value_bytes))));
    let lease = key.lease.clone().map_or_else(|| quiet("durable"), code);
    let ttl = match (key.ttl, &key.lease) {
        (Some(ttl), _) => el("span").child(format!("{ttl} s")),
        (None, None) => quiet("none"),
        (None, Some(_)) => unknown(),
    };
    row(key.key.clone(), code(key.key.clone()))
        .child(
            cell(COLUMNS[1], code(key.value.clone()))
                .class("value")
                .child(cut),
        )
        .child(cell(COLUMNS[2], key.revision.to_string()).class("n"))
        .child(cell(COLUMNS[3], lease))
        .child(cell(COLUMNS[4], ttl).class("n"))
        .child(cell(COLUMNS[5], remark(key)))
}

fn remark(key: &RegistryKeyView) -> Content {
    let label = match (key.known, key.stale) {
        (_, true) => "stale",
        (false, false) => "unknown",
        (true, false) => return Content::None,
    };
    let reason = key.reason.as_ref().map(|reason| format!(": {reason}"));
    el("span")
        .child(el("span").class("stale-word").child(label))
        .child(reason)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_by_key_value_reason_and_lease() {
        let key = RegistryKeyView {
            key: "/galera/lab/n1/wsrep_last_committed".to_owned(),
            value: "Synced".to_owned(),
            value_bytes: 6,
            truncated: false,
            revision: 1,
            lease: Some("7c1d".to_owned()),
            ttl: None,
            node: None,
            known: true,
            stale: true,
            reason: Some("outlived its node".to_owned()),
        };
        for query in ["", "N1/", "synced", "OUTLIVED", "7C1D"] {
            assert!(matches(&key, query), "{query}");
        }
        assert!(!matches(&key, "n2"));
    }

    #[test]
    fn shows_raw_keys_escaped() {
        let view = crate::fixtures::registry("lab");
        let html = key_list(&view, "", crate::fixtures::fixed_now()).html();
        for expected in [
            "15 keys",
            "/galera/lab/127.0.0.1/wsrep_last_committed",
            "694d9a1c2f3e4b05",
            "durable",
            "2.0 MB in total",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(
            html.contains("&lt;script&gt;") && !html.contains("<script") && !html.contains("<img"),
            "{html}"
        );
    }

    #[test]
    fn a_filter_shows_how_many_keys_match() {
        let view = crate::fixtures::registry("lab");
        let html = key_list(&view, "ipaddress", crate::fixtures::fixed_now()).html();
        assert!(
            html.contains("1 of 15 keys") && html.contains("stale"),
            "{html}"
        );
        assert!(!html.contains("wsrep_last_committed"), "{html}");
    }
}
