//! How long members may stay away until they need a full state transfer.

use galera::insight::runway::{NodeRunway, runway};
use galera::view::{ClusterView, NodeState};

use crate::format::{link, quiet};
use crate::links::{node_href, node_label};
use crate::markup::{El, el};

/// The members that are away; `None` if none is, or none is Synced: what helps then is a recovery.
pub(super) fn away_section(view: &ClusterView) -> Option<El> {
    let mut nodes = view.nodes.iter();
    if !nodes.any(|node| node.state == NodeState::Synced) {
        return None;
    }
    let items: Vec<El> = runway(view)
        .nodes
        .iter()
        .filter(|node| node.away)
        .map(|node| {
            let found = view.nodes.iter().find(|known| known.id == node.node);
            let name = found.map_or_else(|| node.node.to_string(), node_label);
            el("li")
                .child(link(node_href(&view.name, &node.node), name))
                .child(": ")
                .child(node.summary.clone())
        })
        .collect();
    (!items.is_empty()).then(|| {
        el("section")
            .attr("id", "runway")
            .child(el("h2").child("Return of missing members"))
            .child(el("ul").class("reasons").child(items))
    })
}

/// The node of this id; `None` if it takes part in a state transfer or is no member.
pub(super) fn node_section(view: &ClusterView, id: &str) -> Option<El> {
    let all = runway(view);
    let node = all.nodes.iter().find(|node| node.node.to_string() == id)?;
    Some(
        el("section")
            .attr("id", "runway")
            .child(el("h2").child("State transfer on return"))
            .child(
                el("p")
                    .child(lead(node))
                    .child(node.summary.trim_end_matches('.').to_owned())
                    .child("."),
            )
            .child(explanation(node).map(quiet)),
    )
}

/// The forecast in full, unless the summary has it already.
fn explanation(node: &NodeRunway) -> Option<String> {
    let message = &node.forecast.message;
    (!node.summary.contains(message.as_str())).then(|| message.clone())
}

fn lead(node: &NodeRunway) -> &'static str {
    match node.away {
        true => "Away now: ",
        false => "If it stopped now: ",
    }
}

#[cfg(test)]
mod tests {
    use galera::view::CompletedTransfer;

    use super::*;
    use crate::fixtures;

    fn with_cache(mut view: ClusterView) -> ClusterView {
        for node in &mut view.nodes {
            node.cached_from = None;
        }
        view.nodes[0].cached_from = Some(80_000);
        view.nodes[0].commit_rate = Some(10.0);
        view
    }

    #[test]
    fn a_missing_member_shows_until_when_it_returns_incrementally() {
        let mut view = with_cache(fixtures::state_transfer("lab", 90_000));
        let html = away_section(&view).unwrap().html();
        let until = "n4</a>: IST until 08:05:19 UTC from n1, then SST of unknown duration: this console has observed none";
        assert!(html.contains(until), "{html}");
        view.last_transfer = Some(CompletedTransfer {
            node: fixtures::id("127.0.0.3"),
            bytes: 40_000_000_000,
            seconds: 720,
            ended_at: fixtures::fixed_now(),
        });
        let html = away_section(&view).unwrap().html();
        assert!(html.contains("then SST of about 40 GB, 12 min"), "{html}");
        let healthy = fixtures::healthy("lab", 90_000);
        assert!(away_section(&healthy).is_none());
    }

    #[test]
    fn a_present_member_shows_what_a_stop_now_would_cost() {
        let view = with_cache(fixtures::healthy("lab", 90_000));
        let html = node_section(&view, "127.0.0.2").unwrap().html();
        assert!(html.contains("If it stopped now: IST until"), "{html}");
        // No other member reports its cache.
        let html = node_section(&view, "127.0.0.1").unwrap().html();
        assert!(
            html.contains("not known: No remaining member reports"),
            "{html}"
        );
        assert_eq!(html.matches("No remaining member reports").count(), 1);
        assert!(!html.contains(".."), "{html}");
        assert!(node_section(&view, "<b>").is_none());
    }
}
