//! The parameters of a request for series. Everything that cannot be answered is refused by name.

use galera::record::series::{METRICS, SeriesMetric};
use galera::{NodeId, Timestamp};

use crate::http::extract::time_parameter;
use crate::http::problem::{ApiError, ApiResult};
use crate::series_view::{MINUTE, STEP_MAX, default_step, is_kept};

/// The range if none is given, in seconds.
const DEFAULT_RANGE: i64 = 3_600;
/// Intervals of one series at most.
const INTERVALS_MAX: i64 = 4_000;
/// Values of a response at most: nodes × names × intervals.
const VALUES_MAX: usize = 400_000;
/// Nodes that can be named.
const NODES_MAX: usize = 256;

/// The parameters, for the API's document: [`SeriesQuery::parse`] reads them, since a name may occur several times.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the API's document is made of its fields")]
pub(super) struct SeriesParameters {
    /// Node ids, separated by commas; all nodes by default.
    node: Option<String>,
    /// Names of figures, separated by commas; all by default.
    name: Option<String>,
    /// The start; an hour before the end by default.
    from: Option<Timestamp>,
    /// The end; now by default.
    to: Option<Timestamp>,
    /// The length of an interval, in seconds; about 360 intervals by default.
    #[param(minimum = 1, maximum = 86_400)]
    step: Option<u32>,
}

/// What is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeriesQuery {
    /// Empty: every node of the cluster.
    pub(super) nodes: Vec<NodeId>,
    pub(super) metrics: Vec<SeriesMetric>,
    /// The start of the first interval, in milliseconds since 1970.
    pub(super) from: i64,
    /// In seconds.
    pub(super) step: u32,
    pub(super) count: usize,
}

impl SeriesQuery {
    pub(super) fn parse(parameters: &[(String, String)], now: Timestamp) -> ApiResult<Self> {
        let mut nodes = Vec::new();
        let mut metrics = Vec::new();
        let (mut from, mut to, mut step) = (None, None, None);
        for (name, value) in parameters {
            let parts = value.split(',').filter(|part| !part.is_empty());
            match name.as_str() {
                "node" => {
                    for part in parts {
                        nodes.push(node(part)?);
                    }
                }
                "name" => {
                    for part in parts {
                        metrics.push(metric(part)?);
                    }
                }
                "from" => from = Some(time_parameter("from", value)?.unix_millis()),
                "to" => to = Some(time_parameter("to", value)?.unix_millis()),
                "step" => step = Some(step_of(value)?),
                other => {
                    return Err(refused(format!(
                        "Unknown parameter {}; expected node, name, from, to or step.",
                        shown(other)
                    )));
                }
            }
            if nodes.len() > NODES_MAX || metrics.len() > METRICS {
                return Err(too_much(format!(
                    "More than {METRICS} names or {NODES_MAX} nodes are named; name each once."
                )));
            }
        }
        if metrics.is_empty() {
            metrics = SeriesMetric::ALL.to_vec();
        }
        nodes.dedup();
        let (from, to) = range(from, to, now)?;
        let step = match step {
            Some(step) => step,
            None => default_step(from, to, now),
        };
        check_kept(from, step, now)?;
        let step_ms = i64::from(step) * 1_000;
        let from = from.div_euclid(step_ms) * step_ms;
        let count = (to - from + step_ms - 1) / step_ms;
        if count > INTERVALS_MAX {
            let least = (to - from) / 1_000 / INTERVALS_MAX + 1;
            return Err(too_much(format!(
                "{count} intervals are more than {INTERVALS_MAX}; request a shorter range, or step={least} or more."
            )));
        }
        Ok(Self {
            nodes,
            metrics,
            from,
            step,
            count: usize::try_from(count).unwrap_or_default(),
        })
    }

    pub(super) fn step_ms(&self) -> i64 {
        i64::from(self.step) * 1_000
    }

    /// The end of the last interval, in milliseconds since 1970.
    pub(super) fn end(&self) -> i64 {
        self.from + self.step_ms() * i64::try_from(self.count).unwrap_or_default()
    }

    pub(super) fn check_size(&self, nodes: usize) -> ApiResult<()> {
        let values = nodes * self.metrics.len() * self.count;
        if values <= VALUES_MAX {
            return Ok(());
        }
        Err(too_much(format!(
            "{values} values are more than {VALUES_MAX}; name fewer nodes or names, or a longer step."
        )))
    }
}

/// The node of this id.
pub(super) fn node(text: &str) -> ApiResult<NodeId> {
    text.parse()
        .map_err(|_| refused(format!("{} is not a node's address.", shown(text))))
}

fn metric(name: &str) -> ApiResult<SeriesMetric> {
    SeriesMetric::parse(name).ok_or_else(|| {
        let known = SeriesMetric::ALL.map(SeriesMetric::as_str).join(", ");
        ApiError::bad_request(
            "unknown_metric",
            format!("Unknown name {}; expected one of {known}.", shown(name)),
        )
    })
}

fn step_of(text: &str) -> ApiResult<u32> {
    let step = text
        .parse()
        .ok()
        .filter(|step| (1..=STEP_MAX).contains(step));
    step.ok_or_else(|| {
        let detail = format!(
            "{} is not a step in whole seconds from 1 to {STEP_MAX}.",
            shown(text)
        );
        ApiError::bad_request("invalid_step", detail)
    })
}

fn range(from: Option<i64>, to: Option<i64>, now: Timestamp) -> ApiResult<(i64, i64)> {
    let now = now.unix_millis();
    if from.is_some_and(|from| from > now) {
        return Err(ApiError::bad_request(
            "from_in_the_future",
            format!(
                "from lies in the future; the console's clock shows {}.",
                Timestamp::from_unix_millis(now)
            ),
        ));
    }
    // Nothing is recorded of the future.
    let to = to.unwrap_or(now).min(now);
    let from = from.unwrap_or((to - DEFAULT_RANGE * 1_000).max(0));
    if from >= to {
        return Err(ApiError::bad_request(
            "reversed_range",
            "from is not before to; exchange them.",
        ));
    }
    Ok((from, to))
}

fn check_kept(from: i64, step: u32, now: Timestamp) -> ApiResult<()> {
    if step >= MINUTE || is_kept(from, now) {
        return Ok(());
    }
    let hours = ::series::READINGS_KEPT.as_secs() / 3_600;
    Err(ApiError::bad_request(
        "step_too_fine",
        format!(
            "Single readings are kept for {hours} h, minutes for longer; request step={MINUTE} or more, or a later from."
        ),
    ))
}

fn refused(detail: String) -> ApiError {
    ApiError::bad_request("invalid_query", detail)
}

fn too_much(detail: String) -> ApiError {
    ApiError::bad_request("too_many_values", detail)
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<SeriesQuery, &'static str> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<_> = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
        SeriesQuery::parse(&pairs, now).map_err(|error| error.code())
    }

    #[test]
    fn each_impossible_request_is_refused_by_name() {
        let names = vec!["name=commit_rate"; 10_000].join("&");
        for (query, code) in [
            ("from=2026-06-01T12:00:01Z", "from_in_the_future"),
            (
                "from=2026-06-01T11:00:00Z&to=2026-06-01T10:00:00Z",
                "reversed_range",
            ),
            (
                "from=2026-06-01T11:00:00Z&to=2026-06-01T11:00:00Z",
                "reversed_range",
            ),
            ("from=yesterday", "invalid_query"),
            ("from=1960-01-01T00:00:00Z", "invalid_query"),
            ("step=0", "invalid_step"),
            ("step=-5", "invalid_step"),
            ("step=86401", "invalid_step"),
            ("step=1e9", "invalid_step"),
            ("step=1&from=2026-05-30T12:00:00Z", "step_too_fine"),
            ("step=60&from=2026-03-05T12:00:00Z", "too_many_values"),
            ("step=1&from=2026-06-01T08:00:00Z", "too_many_values"),
            ("name=velocity", "unknown_metric"),
            ("node=a%20b", "invalid_query"),
            ("color=red", "invalid_query"),
            (names.as_str(), "too_many_values"),
        ] {
            assert_eq!(parse(query).unwrap_err(), code, "{query:.80}");
        }
    }

    #[test]
    fn the_step_follows_from_the_range() {
        let step = |query: &str| parse(query).map(|query| (query.step, query.count)).unwrap();
        assert_eq!(step(""), (15, 240));
        assert_eq!(step("from=2026-06-01T11:45:00Z"), (5, 180));
        assert_eq!(step("from=2026-05-31T12:00:00Z"), (300, 288));
        assert_eq!(step("from=2026-05-25T12:00:00Z"), (1_800, 336));
        assert_eq!(step("from=2026-03-03T12:00:00Z"), (21_600, 360));
        assert_eq!(
            step("from=2026-05-01T12:00:00Z&to=2026-05-01T12:10:00Z"),
            (60, 10)
        );
    }

    #[test]
    fn a_response_is_bounded() {
        let query = parse("step=1&from=2026-06-01T11:00:00Z").unwrap();
        assert!(query.check_size(9).is_ok());
        assert_eq!(query.check_size(64).unwrap_err().code(), "too_many_values");
    }
}
