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
    /// The server of `--metrics-query-url`, without its path; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_server: Option<String>,
    /// Where the values come from, oldest part first. The parts follow one another and cover the range.
    pub sources: Vec<SeriesPart>,
    /// One for each node and metric.
    pub series: Vec<NodeSeries>,
}

/// Where values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SeriesSource {
    /// The console's own records.
    Recorded,
    /// The server of `--metrics-query-url`.
    MetricsServer,
}

/// A part of the range, whose values have one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeriesPart {
    pub source: SeriesSource,
    /// The start of its first interval.
    pub from: Timestamp,
    /// The end of its last interval.
    pub to: Timestamp,
    /// When the source was read.
    pub read_at: Timestamp,
    /// The end of the last interval with a value; `None` if there is no value.
    pub newest: Option<Timestamp>,
    /// The requested metrics that the source does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Why there are no values, and what to do; `None` if the source answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
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
