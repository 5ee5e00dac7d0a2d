//! Islands: the parts of pages that the browser keeps current. Everything else is HTML of the server.
//!
//! Each is one element whose markup is a function of `LiveState`, the same on both sides.

use leptos::prelude::*;

use crate::chrome::{alert_region, connection_indicator, pending_count, status_region};
use crate::live_region::live_region;
use crate::pages::{cluster_nodes, cluster_summary, node_details, overview_head, overview_table};

/// State of the connection to the console.
#[island]
pub fn ConnectionIndicator() -> impl IntoView {
    live_region(connection_indicator)
}

/// Number of actions that wait for approval.
#[island]
pub fn PendingCount() -> impl IntoView {
    live_region(pending_count)
}

/// Alerts, and what is wrong with the connection.
#[island]
pub fn AlertRegion() -> impl IntoView {
    live_region(alert_region)
}

/// Announcements for screen readers.
#[island]
pub fn StatusRegion() -> impl IntoView {
    live_region(status_region)
}

/// Heading, counts and filters of the overview.
#[island]
pub fn OverviewHead() -> impl IntoView {
    live_region(overview_head)
}

/// The table of clusters.
#[island]
pub fn OverviewTable() -> impl IntoView {
    live_region(overview_table)
}

/// Verdict, reasons, key figures and tabs of a cluster.
#[island]
pub fn ClusterSummary() -> impl IntoView {
    live_region(cluster_summary)
}

/// Topology and table of a cluster's nodes.
#[island]
pub fn ClusterNodes() -> impl IntoView {
    live_region(cluster_nodes)
}

/// Every property of a node.
#[island]
pub fn NodeDetails() -> impl IntoView {
    live_region(node_details)
}
