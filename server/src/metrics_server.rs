//! The server of `--metrics-query-url`: figures from before the console's own records, queried when they are shown.
//!
//! Invariants: nothing but the request that shows figures waits for it. Its answers count as a whole, if everything in
//! them is what was requested, or not at all. A time for which it has no sample has no value.

mod answer;
mod promql;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use console_core::clock::now;
use console_core::resolver::Resolver;
use galera::record::series::SeriesMetric;
use galera::{ClusterName, NodeId, Timestamp};
use notify::{OutboundClient, OutboundUrl};
use registry::Secret;
use tokio::sync::Semaphore;

use crate::form_encoding::encode_pairs;
use answer::{CheckedAnswer, IntervalGrid, IntervalValues, check_answer, shortened};
use promql::{exported_name, range_query};

/// How long all queries of one request may take together.
const READ_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a server that does not answer is not queried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Queries at a time, of all requests.
const QUERIES_MAX: usize = 4;
/// The longest answer to a query, in bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Intervals of a query at most: Prometheus refuses more.
pub const INTERVALS_MAX: usize = 11_000;

/// How the console authenticates at the server.
#[derive(Clone, Debug)]
pub enum QueryCredentials {
    None,
    /// A name and a password (HTTP Basic).
    Password(String, Secret),
    /// A bearer token.
    Token(Secret),
}

impl QueryCredentials {
    fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Password(user, password) => {
                let pair = format!("{user}:{}", password.expose());
                let pair = data_encoding::BASE64.encode(pair.as_bytes());
                Some(format!("Basic {pair}"))
            }
            Self::Token(token) => Some(format!("Bearer {}", token.expose())),
        }
    }
}

/// The settings of the metrics server.
#[derive(Clone, Debug)]
pub struct MetricsServerConfig {
    /// The address of the Prometheus API, without `/api/v1`.
    pub url: OutboundUrl,
    pub credentials: QueryCredentials,
    /// Authority of its certificate, in addition to the system's.
    pub ca: Option<PathBuf>,
}

/// Figures to read.
#[derive(Clone, Debug)]
pub struct FiguresRequest<'a> {
    pub cluster: &'a ClusterName,
    pub nodes: &'a [NodeId],
    pub metrics: &'a [SeriesMetric],
    /// The start of the first interval, in milliseconds since 1970: a whole second.
    pub from: i64,
    /// In seconds.
    pub step: u32,
    /// How many intervals; [`INTERVALS_MAX`] at most.
    pub count: usize,
}

/// Figures that were read.
#[derive(Clone, Debug)]
pub struct ServerFigures {
    pub read_at: Timestamp,
    /// Minimum, mean and maximum by metric and node, for each interval.
    values: HashMap<(SeriesMetric, NodeId), IntervalValues>,
    /// Why values are missing, and what to do; `None` if the server answered completely.
    pub problem: Option<String>,
}

impl ServerFigures {
    /// The values of `metric` of `node`; `None` if the server has none.
    #[must_use]
    pub fn values(&self, metric: SeriesMetric, node: &NodeId) -> Option<&[Option<[f64; 3]>]> {
        let values = self.values.get(&(metric, node.clone()));
        values.map(Vec::as_slice)
    }

    /// Whether the server has a value of `node`.
    #[must_use]
    pub fn has_node(&self, node: &NodeId) -> bool {
        let mut all = self.values.iter();
        all.any(|((_, known), values)| known == node && values.iter().any(Option::is_some))
    }
}

/// Why a query has no result.
#[derive(Debug)]
struct QueryFault {
    cause: String,
    /// Whether the server did not answer, so that it is not asked again immediately.
    is_outage: bool,
}

impl QueryFault {
    fn of_answer(cause: String) -> Self {
        Self {
            cause,
            is_outage: false,
        }
    }
}

/// Queries the metrics server.
#[derive(Debug)]
pub struct MetricsServer {
    config: MetricsServerConfig,
    /// Where ranges are queried.
    endpoint: OutboundUrl,
    client: OutboundClient,
    slots: Semaphore,
    /// Why it did not answer last, and when.
    outage: Mutex<Option<(String, Instant)>>,
}

impl MetricsServer {
    /// Does not connect.
    ///
    /// # Errors
    /// When the file of the authority cannot be read, or the URL cannot be extended.
    pub fn new(config: MetricsServerConfig, resolver: Resolver) -> Result<Self, String> {
        let client = OutboundClient::new(config.ca.as_deref(), "--metrics-query-ca", resolver)?;
        Ok(Self {
            endpoint: config.url.join("/api/v1/query_range")?,
            client: client.with_response_limit(ANSWER_BYTES_MAX),
            slots: Semaphore::new(QUERIES_MAX),
            outage: Mutex::default(),
            config,
        })
    }

    /// Scheme, host and port: a path can be secret.
    #[must_use]
    pub fn origin(&self) -> String {
        self.config.url.origin()
    }

    /// Reads figures, within eight seconds. A fault is part of the result.
    pub async fn read(&self, request: &FiguresRequest<'_>) -> ServerFigures {
        let mut figures = ServerFigures {
            read_at: now(),
            values: HashMap::new(),
            problem: None,
        };
        if request.metrics.is_empty() || request.nodes.is_empty() || request.count == 0 {
            return figures;
        }
        let answered = match self.recent_outage() {
            Some(cause) => Err(format!(
                "{cause}; it is queried again after {} s",
                RETRY_INTERVAL.as_secs()
            )),
            None => self.query_all(request).await,
        };
        match answered {
            Ok(answers) => {
                let answers = request.metrics.iter().copied().zip(answers);
                for (metric, CheckedAnswer { values, warning }) in answers {
                    let values = values.into_iter();
                    figures
                        .values
                        .extend(values.map(|(node, values)| ((metric, node), values)));
                    if let Some(warning) = warning {
                        figures.problem = Some(format!(
                            "the metrics server {} warns that values may be missing: {warning}",
                            self.origin()
                        ));
                    }
                }
            }
            Err(cause) => {
                figures.problem = Some(format!(
                    "the metrics server {} cannot be used: {cause}",
                    self.origin()
                ));
            }
        }
        figures
    }

    async fn query_all(&self, request: &FiguresRequest<'_>) -> Result<Vec<CheckedAnswer>, String> {
        let queries = request
            .metrics
            .iter()
            .map(|metric| self.query(request, *metric));
        let all = futures::future::try_join_all(queries);
        let read = tokio::time::timeout(READ_TIMEOUT, all).await;
        let read = read.unwrap_or_else(|_| {
            Err(QueryFault {
                cause: format!("no answer within {} s", READ_TIMEOUT.as_secs()),
                is_outage: true,
            })
        });
        self.note(read.as_ref().err());
        read.map_err(|fault| fault.cause)
    }

    async fn query(
        &self,
        request: &FiguresRequest<'_>,
        metric: SeriesMetric,
    ) -> Result<CheckedAnswer, QueryFault> {
        let grid = IntervalGrid {
            from: request.from.div_euclid(1_000),
            step: request.step,
            count: request.count.min(INTERVALS_MAX),
        };
        let name = exported_name(metric);
        let query = range_query(name, request.cluster, request.nodes, request.step);
        let [start, end] = [0, grid.count - 1].map(|index| grid.evaluated_at(index).to_string());
        let form = encode_pairs(&[
            ("query", &query),
            ("start", &start),
            ("end", &end),
            ("step", &request.step.to_string()),
            ("timeout", &format!("{}s", READ_TIMEOUT.as_secs())),
        ]);
        let _slot = self.slots.acquire().await;
        let credentials = self.config.credentials.header();
        let posted = self
            .client
            .post_form(&self.endpoint, form, credentials.as_deref());
        let (status, body) = posted.await.map_err(|error| QueryFault {
            is_outage: matches!(error, notify::OutboundError::NoResponse(_)),
            cause: error.to_string(),
        })?;
        if status != 200 {
            return Err(QueryFault::of_answer(self.explain_status(status, &body)));
        }
        let checked = check_answer(&body, metric, request.cluster, request.nodes, grid);
        checked.map_err(|fault| {
            QueryFault::of_answer(format!(
                "its answer for {} is not used: {fault}; check that --metrics-query-url names a Prometheus-compatible server",
                metric.as_str()
            ))
        })
    }

    /// What an answer other than success means, and the remedy.
    fn explain_status(&self, status: u16, body: &[u8]) -> String {
        let reported = serde_json::from_slice(body).ok();
        let reported = reported
            .as_ref()
            .and_then(|body: &serde_json::Value| body.get("error")?.as_str())
            .map(|text| format!(": {}", shortened(text)))
            .unwrap_or_default();
        let remedy = match (status, &self.config.credentials) {
            (401 | 403, QueryCredentials::None) => {
                "; set --metrics-query-user with --metrics-query-password-file, or --metrics-query-token-file"
            }
            (401 | 403, QueryCredentials::Password(..)) => {
                "; check --metrics-query-user and --metrics-query-password-file"
            }
            (401 | 403, QueryCredentials::Token(_)) => "; check --metrics-query-token-file",
            (404 | 405, _) => {
                "; set --metrics-query-url to the address below which it serves /api/v1/query_range"
            }
            (422 | 429 | 503, _) => "; request a shorter range, or check its load and limits",
            _ => "; see its log",
        };
        format!("it answers with status {status}{reported}{remedy}")
    }

    fn recent_outage(&self) -> Option<String> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let (cause, at) = outage.as_ref()?;
        (at.elapsed() < RETRY_INTERVAL).then(|| cause.clone())
    }

    /// Remembers whether the server answered, and logs a change.
    fn note(&self, fault: Option<&QueryFault>) {
        let server = self.origin();
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(QueryFault {
                cause,
                is_outage: true,
            }) => {
                if outage.as_ref().is_none_or(|(known, _)| known != cause) {
                    tracing::warn!(%server, "The metrics server {server} does not answer: {cause}");
                }
                *outage = Some((cause.clone(), Instant::now()));
            }
            fault => {
                if outage.take().is_some() {
                    tracing::info!(%server, "The metrics server {server} answers again");
                }
                if let Some(QueryFault { cause, .. }) = fault {
                    tracing::warn!(%server, "The metrics server {server} cannot be used: {cause}");
                }
            }
        }
    }
}
