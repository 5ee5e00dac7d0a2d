//! How a member that was stopped receives what it missed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, ClusterView, NodeState, NodeView};

/// Share of the computed transactions that is promised, in per cent: sizes of write-sets, and so the number that a cache
/// holds, vary.
const PROMISED_PERCENT: u64 = 80;
/// Longest forecast in seconds; beyond it the rate is too low to say a time.
const FORECAST_MAX: f64 = 30.0 * 86_400.0;

/// How a member returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReturnTransfer {
    /// By an incremental state transfer (IST).
    Incremental,
    /// By a full state transfer (SST).
    Full,
    /// Not known.
    Unknown,
}

/// How one member would return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReturnForecast {
    pub node: NodeId,
    pub transfer: ReturnTransfer,
    /// The member whose cache reaches back furthest.
    pub donor: Option<NodeId>,
    /// How many transactions the donor's cache holds up to its position, about as many as may follow before it needs a full
    /// state transfer: fewer if their write-sets are larger than those in the cache, more while the cache is not full.
    pub transactions_left: Option<u64>,
    /// Until about when, at the present rate of commits; `null` without one.
    pub until: Option<Timestamp>,
    /// A sentence for operators.
    pub message: String,
}

/// The return of each of `stopped` that is Synced now.
pub(super) fn forecasts(view: &ClusterView, stopped: &[NodeId]) -> Vec<ReturnForecast> {
    view.members()
        .filter(|node| stopped.contains(&node.id) && node.state == NodeState::Synced)
        .map(|node| forecast(view, node, stopped))
        .collect()
}

/// The return of `node`, from its last known position, to the members besides `stopped`.
pub(in crate::insight) fn forecast(
    view: &ClusterView,
    node: &NodeView,
    stopped: &[NodeId],
) -> ReturnForecast {
    let label = node.label();
    let unknown = |message: String| ReturnForecast {
        node: node.id.clone(),
        transfer: ReturnTransfer::Unknown,
        donor: None,
        transactions_left: None,
        until: None,
        message,
    };
    let Some(position) = &node.position else {
        return unknown(format!("Where {label} stops is not known."));
    };
    let donors = view
        .members()
        .filter(|other| !stopped.contains(&other.id) && other.state == NodeState::Synced);
    let mut donors = donors.peekable();
    let known = donors.peek().is_some();
    let of_history = |donor: &&NodeView| {
        let history = donor.position.as_ref().map(|position| position.uuid);
        history == Some(position.uuid)
    };
    let mut donors = donors.filter(of_history).peekable();
    if known && donors.peek().is_none() {
        return ReturnForecast {
            transfer: ReturnTransfer::Full,
            transactions_left: Some(0),
            ..unknown(format!(
                "{label} needs a full state transfer (SST): no remaining member has its history {}.",
                position.uuid
            ))
        };
    }
    let caches = donors.filter_map(|donor| Some((donor, donor.cached_from?)));
    let Some((donor, cached_from)) = caches.min_by_key(|(_, from)| *from) else {
        return unknown(format!(
            "No remaining member reports which transactions its cache holds, so {label} may need a full state transfer (SST)."
        ));
    };
    let donor_label = donor.label();
    // It asks for what follows its position.
    let next = position.seqno.saturating_add(1);
    let Some(left) = next.checked_sub(cached_from) else {
        return ReturnForecast {
            transfer: ReturnTransfer::Full,
            donor: Some(donor.id.clone()),
            transactions_left: Some(0),
            ..unknown(format!(
                "{label} needs a full state transfer (SST): the cache of {donor_label} begins at {cached_from}."
            ))
        };
    };
    let promised = promised_transactions(left);
    let until = seconds_left(promised, group_rate(view))
        .map(|seconds| view.observed_at.plus(Duration::from_secs(seconds)));
    let limit = match until {
        Some(until) => format!(
            "as long as at most {promised} transactions of the present size follow (at the present rate until about {}; \
             longer while the cache is not full)",
            until.to_short_string(view.observed_at)
        ),
        None => format!("as long as at most {promised} transactions of the present size follow"),
    };
    ReturnForecast {
        transfer: ReturnTransfer::Incremental,
        donor: Some(donor.id.clone()),
        transactions_left: Some(left),
        until,
        ..unknown(format!(
            "{label} returns by an incremental state transfer (IST) from {donor_label} {limit}, later by a full one (SST)."
        ))
    }
}

/// The highest rate of commits among members that follow the group. One that catches up applies more than is written.
fn group_rate(view: &ClusterView) -> f64 {
    view.members()
        .filter(|member| member.cluster_status == Some(ClusterStatus::Primary))
        .filter(|member| matches!(member.state, NodeState::Synced | NodeState::Donor))
        .filter_map(|member| member.commit_rate)
        .fold(0.0, f64::max)
}

/// How many of the computed `transactions` are promised.
pub(in crate::insight) const fn promised_transactions(transactions: u64) -> u64 {
    // Divided first: the number may be any that a server reports.
    transactions / 100 * PROMISED_PERCENT + transactions % 100 * PROMISED_PERCENT / 100
}

fn seconds_left(transactions: u64, rate: f64) -> Option<u64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate of seconds; a sequence number beyond 2^53 changes nothing"
    )]
    let seconds = transactions as f64 / rate;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 30 days"
    )]
    (rate > 0.0 && seconds <= FORECAST_MAX).then_some(seconds as u64)
}
