//! The series of a cluster's nodes, as the API returns them.

use serde::{Deserialize, Serialize};

use crate::id::{ClusterName, NodeId};
use crate::timestamp::Timestamp;

/// Whether the past is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordingState {
    /// Whether figures are being recorded.
    pub recording: bool,
    /// Why not, and what to do; `None` while they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// `GET /api/v1/clusters/{cluster}/series`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeriesView {
    pub cluster: ClusterName,
    /// The start of the first interval: a whole multiple of the step since 1970.
    pub from: Timestamp,
    /// The end of the last interval.
    pub to: Timestamp,
    /// Length of an interval, in seconds.
    pub step: u32,
    /// The first reading of this cluster; `None` if there is none.
    pub recorded_since: Option<Timestamp>,
    pub state: RecordingState,
    /// One for each node and metric.
    pub series: Vec<NodeSeries>,
}

/// One metric of one node: a value for each interval, `null` for an interval without readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeSeries {
    pub node: NodeId,
    /// The name of the metric.
    pub name: String,
    /// The unit of its values.
    pub unit: String,
    pub min: Vec<Option<f64>>,
    pub mean: Vec<Option<f64>>,
    pub max: Vec<Option<f64>>,
}
