//! Joins the console's own records with what the metrics server has of the time before them.

use ::series::{SeriesAnswer, SeriesRequest, SeriesStore};
use console_core::clock::now;
use galera::publish::series::{NodeSeries, RecordingState, SeriesPart, SeriesSource};
use galera::record::series::SeriesMetric;
use galera::{NodeId, Timestamp};

use crate::metrics_server::{FiguresRequest, MetricsServer, ServerFigures};
use crate::series_view::{node_series, round};

/// Where figures are read.
#[derive(Clone, Copy)]
pub(crate) struct SeriesSources<'a> {
    /// `None` if this console records no figures.
    pub(crate) store: Option<&'a SeriesStore>,
    /// `None` if there is none.
    pub(crate) server: Option<&'a MetricsServer>,
}

/// What was read.
pub(crate) struct SeriesReading {
    request: SeriesRequest,
    recorded: Option<(SeriesAnswer, Timestamp)>,
    earlier: Option<ServerFigures>,
    /// How many intervals, from the first one on, the metrics server serves.
    earlier_count: usize,
}

impl SeriesSources<'_> {
    /// Whether figures are being recorded.
    pub(crate) fn state(&self) -> RecordingState {
        self.store.map_or_else(
            || RecordingState {
                recording: false,
                problem: Some(
                    "this console does not record figures; start it with --data-dir DIR".to_owned(),
                ),
            },
            SeriesStore::state,
        )
    }

    /// Reads the own records, and from the metrics server what lies before them.
    pub(crate) async fn read(
        &self,
        request: SeriesRequest,
    ) -> Result<SeriesReading, recording::RecordingError> {
        let recorded = match self.store {
            Some(store) => Some((store.read(request.clone()).await?, now())),
            None => None,
        };
        let since = recorded
            .as_ref()
            .and_then(|(answer, _)| answer.recorded_since);
        let earlier_count = match self.server {
            Some(_) => count_before(&request, since),
            None => 0,
        };
        let earlier = match self.server.filter(|_| earlier_count > 0) {
            Some(server) => {
                let figures = FiguresRequest {
                    cluster: &request.cluster,
                    nodes: &request.nodes,
                    metrics: &request.metrics,
                    from: request.from,
                    step: u32::try_from(request.step / 1_000).unwrap_or(u32::MAX),
                    count: earlier_count,
                };
                Some(server.read(&figures).await)
            }
            None => None,
        };
        Ok(SeriesReading {
            request,
            recorded,
            earlier,
            earlier_count,
        })
    }
}

/// How many intervals end before the own records begin. The one in which they begin is theirs.
fn count_before(request: &SeriesRequest, recorded_since: Option<i64>) -> usize {
    let Some(since) = recorded_since else {
        return request.count;
    };
    let whole = since.saturating_sub(request.from).div_euclid(request.step);
    usize::try_from(whole.max(0)).map_or(request.count, |whole| whole.min(request.count))
}

impl SeriesReading {
    /// When the first reading of the cluster was recorded here that is still kept.
    pub(crate) fn recorded_since(&self) -> Option<Timestamp> {
        let (answer, _) = self.recorded.as_ref()?;
        answer.recorded_since.map(Timestamp::from_unix_millis)
    }

    /// The first requested node that neither `known` nor a source has. While the metrics server does not answer, that
    /// is unknown, and there is none.
    pub(crate) fn unknown_node(&self, known: &[NodeId]) -> Option<&NodeId> {
        let of_server = |node: &NodeId| {
            let earlier = self.earlier.as_ref();
            earlier.is_some_and(|figures| figures.problem.is_some() || figures.has_node(node))
        };
        let recorded = |index: usize| {
            let recorded = self.recorded.as_ref();
            recorded.is_some_and(|(answer, _)| answer.recorded.get(index) == Some(&true))
        };
        let mut nodes = self.request.nodes.iter().enumerate();
        let unknown = nodes
            .find(|(index, node)| !recorded(*index) && !known.contains(node) && !of_server(node));
        unknown.map(|(_, node)| node)
    }

    /// The values of every node and metric.
    pub(crate) fn series(&self) -> Vec<NodeSeries> {
        let request = &self.request;
        let mut all: Vec<NodeSeries> = match &self.recorded {
            Some((answer, _)) => {
                let nodes = request.nodes.iter().zip(&answer.nodes);
                let of_nodes = nodes
                    .flat_map(|(node, intervals)| node_series(&request.metrics, node, intervals));
                of_nodes.collect()
            }
            None => {
                let nodes = request.nodes.iter();
                let all = nodes
                    .flat_map(|node| request.metrics.iter().map(move |metric| (node, *metric)));
                all.map(|(node, metric)| without_values(node, metric, request.count))
                    .collect()
            }
        };
        if let Some(earlier) = &self.earlier {
            let keys = request
                .nodes
                .iter()
                .flat_map(|node| request.metrics.iter().map(move |metric| (*metric, node)));
            for ((metric, node), series) in keys.zip(&mut all) {
                let values = earlier.values(metric, node).unwrap_or_default();
                for index in 0..self.earlier_count {
                    let value = values.get(index).copied().flatten();
                    let part = |part: usize| value.map(|parts| round(parts[part]));
                    (series.min[index], series.mean[index], series.max[index]) =
                        (part(0), part(1), part(2));
                }
            }
        }
        all
    }

    /// Which source served which part of `series`.
    pub(crate) fn parts(&self, series: &[NodeSeries]) -> Vec<SeriesPart> {
        let newest = |from: usize, to: usize| {
            let has = |index: &usize| series.iter().any(|one| one.mean[*index].is_some());
            let index = (from..to).rev().find(has)?;
            Some(self.time(index + 1).min(now()))
        };
        let split = self.earlier_count;
        let earlier = self.earlier.as_ref().map(|figures| SeriesPart {
            source: SeriesSource::MetricsServer,
            from: self.time(0),
            to: self.time(split),
            read_at: figures.read_at,
            newest: newest(0, split),
            without: Vec::new(),
            problem: figures.problem.clone(),
        });
        let own = self
            .recorded
            .as_ref()
            .filter(|_| split < self.request.count);
        let own = own.map(|(_, read_at)| SeriesPart {
            source: SeriesSource::Recorded,
            from: self.time(split),
            to: self.time(self.request.count),
            read_at: *read_at,
            newest: newest(split, self.request.count),
            without: Vec::new(),
            problem: None,
        });
        earlier.into_iter().chain(own).collect()
    }

    /// The start of the interval `index`.
    fn time(&self, index: usize) -> Timestamp {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        let elapsed = self.request.step.saturating_mul(index);
        Timestamp::from_unix_millis(self.request.from.saturating_add(elapsed))
    }
}

fn without_values(node: &NodeId, metric: SeriesMetric, count: usize) -> NodeSeries {
    NodeSeries {
        node: node.clone(),
        name: metric.as_str().to_owned(),
        unit: metric.unit().to_owned(),
        min: vec![None; count],
        mean: vec![None; count],
        max: vec![None; count],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_in_which_records_begin_is_theirs() {
        let request = SeriesRequest {
            cluster: "lab".parse().unwrap(),
            nodes: Vec::new(),
            metrics: Vec::new(),
            from: 600_000,
            step: 60_000,
            count: 10,
        };
        for (since, count) in [
            (None, 10),
            (Some(0), 0),
            (Some(600_000), 0),
            (Some(659_999), 0),
            (Some(660_000), 1),
            (Some(690_000), 1),
            (Some(1_200_000), 10),
            (Some(9_000_000), 10),
            (Some(i64::MAX), 10),
            (Some(i64::MIN), 0),
        ] {
            assert_eq!(count_before(&request, since), count, "{since:?}");
        }
    }
}
