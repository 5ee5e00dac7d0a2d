//! What the metrics server answers, checked before any of it counts.

use std::collections::{BTreeMap, HashMap};

use galera::record::series::SeriesMetric;
use galera::{ClusterName, NodeId};
use serde::Deserialize;

use super::promql::{AGGREGATE_LABEL, AGGREGATES};

/// Most characters of a text of the server that are shown.
const TEXT_MAX: usize = 200;
/// How far minimum, mean and maximum may contradict each other by rounding, relative to the value.
const ROUNDING: f64 = 1e-9;

/// Minimum, mean and maximum of each interval; `None` without samples.
pub(super) type IntervalValues = Vec<Option<[f64; 3]>>;

/// The intervals whose values were requested.
#[derive(Clone, Copy, Debug)]
pub(super) struct IntervalGrid {
    /// The start of the first one, in seconds since 1970.
    pub(super) from: i64,
    /// In seconds.
    pub(super) step: u32,
    pub(super) count: usize,
}

impl IntervalGrid {
    /// The end of the interval `index`, at which its value is evaluated, in seconds since 1970.
    pub(super) fn evaluated_at(self, index: usize) -> i64 {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        let length = i64::from(self.step).saturating_mul(index.saturating_add(1));
        self.from.saturating_add(length)
    }

    /// The interval that is evaluated at `time`.
    fn index(self, time: f64) -> Option<usize> {
        let elapsed = time - self.from as f64;
        let index = (elapsed / f64::from(self.step)).round() - 1.0;
        if !(index >= 0.0 && index < self.count as f64) {
            return None;
        }
        let index = index as usize;
        ((time - self.evaluated_at(index) as f64).abs() < 0.001).then_some(index)
    }
}

/// Why an answer is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerFault {
    #[error("it is not the JSON of a Prometheus query ({0})")]
    NotAnAnswer(String),
    #[error("the server reports {0}")]
    Reported(String),
    #[error("the result is a {0} instead of a matrix")]
    WrongType(String),
    #[error("it has {found} series, of which {most} were requested")]
    TooManySeries { found: usize, most: usize },
    #[error("it has a series that was not requested: {0}")]
    ForeignSeries(String),
    #[error("it has a series twice: {0}")]
    DuplicateSeries(String),
    #[error("a value has the time {0}, which was not requested or is out of order")]
    WrongTime(String),
    #[error("{0:?} is not a value of this metric")]
    WrongValue(String),
    #[error("minimum, mean and maximum contradict each other or are incomplete")]
    Contradiction,
}

/// A usable answer.
#[derive(Debug, Default)]
pub(super) struct CheckedAnswer {
    pub(super) values: HashMap<NodeId, IntervalValues>,
    /// What the server warns of, such as a part of it that did not answer.
    pub(super) warning: Option<String>,
}

#[derive(Deserialize)]
struct QueryReply {
    status: String,
    data: Option<QueryData>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct QueryData {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Vec<QuerySeries>,
}

#[derive(Deserialize)]
struct QuerySeries {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// The values of `metric` for `nodes` of `cluster` in `body`, if all of it is what was requested.
pub(super) fn check_answer(
    body: &[u8],
    metric: SeriesMetric,
    cluster: &ClusterName,
    nodes: &[NodeId],
    grid: IntervalGrid,
) -> Result<CheckedAnswer, AnswerFault> {
    let reply: QueryReply = serde_json::from_slice(body)
        .map_err(|error| AnswerFault::NotAnAnswer(error.to_string()))?;
    let ("success", Some(data)) = (reply.status.as_str(), reply.data) else {
        let parts = [reply.error_type, reply.error];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let text = match parts.is_empty() {
            true => "neither data nor an error".to_owned(),
            false => shortened(&parts.join(": ")),
        };
        return Err(AnswerFault::Reported(text));
    };
    if data.result_type != "matrix" {
        return Err(AnswerFault::WrongType(shortened(&data.result_type)));
    }
    let most = nodes.len() * AGGREGATES.len();
    if data.result.len() > most {
        let found = data.result.len();
        return Err(AnswerFault::TooManySeries { found, most });
    }
    let mut parts: HashMap<&NodeId, [Option<Vec<Option<f64>>>; 3]> = HashMap::new();
    for series in &data.result {
        let shown = || shortened(&format!("{:?}", series.metric));
        let (node, aggregate) = requested(&series.metric, cluster, nodes)
            .ok_or_else(|| AnswerFault::ForeignSeries(shown()))?;
        let part = &mut parts.entry(node).or_default()[aggregate];
        if part.is_some() {
            return Err(AnswerFault::DuplicateSeries(shown()));
        }
        *part = Some(numbers(&series.values, metric, grid)?);
    }
    let merged = parts.into_iter().map(|(node, parts)| {
        let values = (0..grid.count).map(|index| {
            let part = |part: &Option<Vec<Option<f64>>>| part.as_ref().and_then(|all| all[index]);
            consistent([&parts[0], &parts[1], &parts[2]].map(part))
        });
        Ok((node.clone(), values.collect::<Result<_, _>>()?))
    });
    Ok(CheckedAnswer {
        values: merged.collect::<Result<_, AnswerFault>>()?,
        warning: reply.warnings.first().map(|warning| shortened(warning)),
    })
}

/// The node and the aggregate of a series with exactly the labels of a query.
fn requested<'a>(
    labels: &BTreeMap<String, String>,
    cluster: &ClusterName,
    nodes: &'a [NodeId],
) -> Option<(&'a NodeId, usize)> {
    let label = |name: &str| labels.get(name).map(String::as_str);
    let (node, aggregate) = (label("node")?, label(AGGREGATE_LABEL)?);
    if labels.len() != 3 || label("cluster")? != cluster.as_str() {
        return None;
    }
    let node = nodes.iter().find(|known| known.to_string() == node)?;
    let aggregate = AGGREGATES
        .iter()
        .position(|(name, ..)| *name == aggregate)?;
    Some((node, aggregate))
}

/// The values of one series by interval. NaN, which also marks a series as stale, is no value.
fn numbers(
    values: &[(f64, String)],
    metric: SeriesMetric,
    grid: IntervalGrid,
) -> Result<Vec<Option<f64>>, AnswerFault> {
    let mut found = vec![None; grid.count];
    let mut next = 0;
    for (time, text) in values {
        let index = grid.index(*time).filter(|index| *index >= next);
        let index = index.ok_or_else(|| AnswerFault::WrongTime(time.to_string()))?;
        next = index + 1;
        let wrong = || AnswerFault::WrongValue(shortened(text));
        let value: f64 = text.parse().map_err(|_| wrong())?;
        if value.is_nan() {
            continue;
        }
        let most = match metric {
            SeriesMetric::FlowControlPaused => 1.0 + ROUNDING,
            _ => f64::MAX,
        };
        if !(0.0..=most).contains(&value) {
            return Err(wrong());
        }
        found[index] = Some(value);
    }
    Ok(found)
}

/// Minimum, mean and maximum of one interval.
fn consistent(parts: [Option<f64>; 3]) -> Result<Option<[f64; 3]>, AnswerFault> {
    match parts {
        [None, None, None] => Ok(None),
        [Some(min), Some(mean), Some(max)] => {
            let slack = ROUNDING * max.max(1.0);
            if min > mean + slack || mean > max + slack {
                return Err(AnswerFault::Contradiction);
            }
            Ok(Some([min, mean, max]))
        }
        _ => Err(AnswerFault::Contradiction),
    }
}

/// A text of the server as it is shown.
pub(super) fn shortened(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const GRID: IntervalGrid = IntervalGrid {
        from: 600,
        step: 60,
        count: 4,
    };

    fn check(body: &[u8], metric: SeriesMetric) -> Result<CheckedAnswer, AnswerFault> {
        let nodes = ["10.0.0.1", "10.0.0.2"].map(|node| node.parse().unwrap());
        check_answer(body, metric, &"lab".parse().unwrap(), &nodes, GRID)
    }

    fn series(aggregate: &str, values: &Value) -> Value {
        let labels = json!({"cluster": "lab", "node": "10.0.0.1", "aggregate": aggregate});
        json!({"metric": labels, "values": values})
    }

    fn matrix(result: &Value) -> Value {
        json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
    }

    fn all_three(values: &Value) -> Value {
        json!([
            series("min", values),
            series("mean", values),
            series("max", values)
        ])
    }

    fn fault(reply: &Value) -> AnswerFault {
        check(reply.to_string().as_bytes(), SeriesMetric::RecvQueue).unwrap_err()
    }

    #[test]
    fn absent_times_and_nan_are_gaps() {
        let reply = matrix(&all_three(&json!([[660, "3"], [720.0, "NaN"], [840, "0"]])));
        let answer = check(reply.to_string().as_bytes(), SeriesMetric::RecvQueue).unwrap();
        let node: NodeId = "10.0.0.1".parse().unwrap();
        let expected = vec![Some([3.0; 3]), None, None, Some([0.0; 3])];
        assert_eq!(answer.values, HashMap::from([(node, expected)]));
        assert_eq!(answer.warning, None);
    }

    #[test]
    fn a_warning_is_kept() {
        let mut reply = matrix(&json!([]));
        reply["warnings"] = json!(["store a does not answer\n"]);
        let answer = check(reply.to_string().as_bytes(), SeriesMetric::RecvQueue).unwrap();
        assert_eq!(answer.warning.unwrap(), "store a does not answer");
    }

    #[test]
    fn what_was_not_requested_is_refused() {
        let foreign = |labels: Value| {
            let values = json!([[660, "1"]]);
            fault(&matrix(&json!([{"metric": labels, "values": values}])))
        };
        for labels in [
            json!({"__name__": "up", "cluster": "lab", "node": "10.0.0.1", "aggregate": "min"}),
            json!({"cluster": "other", "node": "10.0.0.1", "aggregate": "min"}),
            json!({"cluster": "lab", "node": "10.0.0.3", "aggregate": "min"}),
            json!({"cluster": "lab", "node": "10.0.0.1", "aggregate": "sum"}),
            json!({"cluster": "lab", "node": "10.0.0.1"}),
            json!({}),
        ] {
            let fault = foreign(labels);
            assert!(matches!(fault, AnswerFault::ForeignSeries(_)), "{fault}");
        }
        let min = series("min", &json!([]));
        let twice = fault(&matrix(&json!([min, min])));
        assert!(matches!(twice, AnswerFault::DuplicateSeries(_)), "{twice}");
        let many = fault(&matrix(&json!(vec![min; 7])));
        assert_eq!(many, AnswerFault::TooManySeries { found: 7, most: 6 });
    }

    #[test]
    fn times_are_those_requested_in_order() {
        for values in [
            json!([[600, "1"]]),
            json!([[900, "1"]]),
            json!([[690, "1"]]),
            json!([[660, "1"], [660, "1"]]),
            json!([[720, "1"], [660, "1"]]),
            json!([[-660, "1"]]),
            json!([[1e300, "1"]]),
        ] {
            let fault = fault(&matrix(&all_three(&values)));
            assert!(matches!(fault, AnswerFault::WrongTime(_)), "{values}");
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        for text in ["-1", "+Inf", "-Inf", "", "one"] {
            let fault = fault(&matrix(&all_three(&json!([[660, text]]))));
            assert!(matches!(fault, AnswerFault::WrongValue(_)), "{text}");
        }
        let paused = matrix(&all_three(&json!([[660, "1.5"]]))).to_string();
        let fault_of_ratio = check(paused.as_bytes(), SeriesMetric::FlowControlPaused);
        assert!(matches!(fault_of_ratio, Err(AnswerFault::WrongValue(_))));
        let result = json!([
            series("min", &json!([[660, "5"]])),
            series("mean", &json!([[660, "4"]])),
            series("max", &json!([[660, "6"]])),
        ]);
        assert_eq!(fault(&matrix(&result)), AnswerFault::Contradiction);
        let alone = json!([series("mean", &json!([[660, "4"]]))]);
        assert_eq!(fault(&matrix(&alone)), AnswerFault::Contradiction);
    }

    #[test]
    fn other_documents_are_refused() {
        for reply in [
            json!([]),
            json!({"status": "success"}),
            json!({"status": "error", "errorType": "bad_data", "error": "parse error"}),
            json!({"status": "success", "data": {"resultType": "vector", "result": []}}),
            json!({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}),
            matrix(&json!([{"metric": {}, "values": [["660", "1"]]}])),
            matrix(&json!([{"metric": {}, "values": [[660, 1]]}])),
        ] {
            assert!(
                !matches!(fault(&reply), AnswerFault::ForeignSeries(_)),
                "{reply}"
            );
        }
        let html = check(b"<html>Sign in</html>", SeriesMetric::RecvQueue);
        assert!(matches!(html, Err(AnswerFault::NotAnAnswer(_))));
    }

    proptest! {
        #[test]
        fn no_body_panics(
            body in proptest::collection::vec(any::<u8>(), 0..400),
            time in any::<f64>(),
            text in ".{0,12}",
        ) {
            let _ = check(&body, SeriesMetric::RecvQueue);
            let reply = matrix(&all_three(&json!([[time, text]])));
            if let Ok(answer) = check(reply.to_string().as_bytes(), SeriesMetric::RecvQueue) {
                for value in answer.values.into_values().flatten().flatten().flatten() {
                    prop_assert!(value.is_finite() && value >= 0.0);
                }
            }
        }
    }
}
