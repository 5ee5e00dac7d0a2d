//! Figures of a node over time: what one reading contributes, and what is computed from consecutive readings.

use crate::observe::wsrep::WsrepStatus;

/// How many figures one reading has.
pub const FIGURES: usize = 10;

/// A figure of one reading, as the server reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// `wsrep_last_committed`.
    LastCommitted,
    /// `wsrep_local_recv_queue`.
    RecvQueue,
    /// `wsrep_local_send_queue`.
    SendQueue,
    /// `wsrep_flow_control_paused_ns`.
    FlowControlPausedNs,
    /// `wsrep_local_cert_failures`.
    CertFailures,
    /// `wsrep_local_bf_aborts`.
    BfAborts,
    /// `Threads_connected`, up to 15 s old.
    Connections,
    /// How long the reading took, in microseconds.
    ProbeMicros,
    /// `wsrep_replicated_bytes` and `wsrep_received_bytes` together.
    WrittenBytes,
    /// A short digest of process and history: counters of different ones are not compared.
    Process,
}

/// The figures of one reading of one node, by [`Figure`]; `None` if the server did not report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFigures(pub [Option<u64>; FIGURES]);

impl NodeFigures {
    /// The figures of `status`, which took `probe_micros` to read.
    #[must_use]
    pub fn new(status: &WsrepStatus, probe_micros: u64) -> Self {
        let details = status.details.as_ref();
        let connections = details.and_then(|details| details.number("threads_connected"));
        let digest = [status.process(), status.local_state_uuid]
            .into_iter()
            .flatten()
            .map(|uuid| (uuid.as_u128() ^ (uuid.as_u128() >> 64)) as u64)
            .fold(0_u64, |all, part| all.rotate_left(17) ^ part);
        Self([
            status.last_committed,
            status.recv_queue,
            status.send_queue,
            status.flow_control_paused_ns,
            status.counters.certification_failures,
            status.counters.aborts,
            connections,
            Some(probe_micros),
            status.counters.written_bytes(),
            Some((digest ^ (digest >> 32)) & 0xffff_ffff),
        ])
    }

    /// The value of `figure`.
    #[must_use]
    pub const fn get(&self, figure: Figure) -> Option<u64> {
        self.0[figure as usize]
    }
}

/// A series of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeriesMetric {
    /// The sequence number of the last committed transaction.
    LastCommitted,
    /// Committed transactions per second.
    CommitRate,
    /// Write-sets received and not yet applied.
    RecvQueue,
    /// Write-sets not yet sent.
    SendQueue,
    /// Fraction (0 to 1) of the time during which flow control paused replication.
    FlowControlPaused,
    /// Transactions of this node's clients that failed certification, per second.
    CertFailures,
    /// Transactions of this node's clients that an applied write-set aborted, per second.
    BfAborts,
    /// Connections of clients.
    Connections,
    /// How long the console's probe of the node took, in seconds.
    ProbeLatency,
    /// Bytes of write-sets of all nodes, per second.
    WriteRate,
}

named_variants!(SeriesMetric {
    LastCommitted => "last_committed",
    CommitRate => "commit_rate",
    RecvQueue => "recv_queue",
    SendQueue => "send_queue",
    FlowControlPaused => "flow_control_paused",
    CertFailures => "cert_failures",
    BfAborts => "bf_aborts",
    Connections => "connections",
    ProbeLatency => "probe_latency",
    WriteRate => "write_rate",
});

/// How many series a node has.
pub const METRICS: usize = SeriesMetric::ALL.len();

impl SeriesMetric {
    /// The metric of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    /// The unit of its values.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::LastCommitted => "transactions",
            Self::RecvQueue | Self::SendQueue => "write_sets",
            Self::FlowControlPaused => "ratio",
            Self::CommitRate | Self::CertFailures | Self::BfAborts => "per_second",
            Self::Connections => "connections",
            Self::ProbeLatency => "seconds",
            Self::WriteRate => "bytes_per_second",
        }
    }

    /// The counter whose increase per second it is, and what one unit of the counter is in its own unit; `None` for a
    /// metric that is a reading itself.
    #[must_use]
    pub const fn counter(self) -> Option<(Figure, f64)> {
        match self {
            Self::CommitRate => Some((Figure::LastCommitted, 1.0)),
            Self::FlowControlPaused => Some((Figure::FlowControlPausedNs, 1e-9)),
            Self::CertFailures => Some((Figure::CertFailures, 1.0)),
            Self::BfAborts => Some((Figure::BfAborts, 1.0)),
            Self::WriteRate => Some((Figure::WrittenBytes, 1.0)),
            _ => None,
        }
    }

    /// Its value in one reading; `None` for a rate, or if it was not reported.
    #[must_use]
    pub fn reading(self, figures: &NodeFigures) -> Option<f64> {
        let (figure, unit) = match self {
            Self::LastCommitted => (Figure::LastCommitted, 1.0),
            Self::RecvQueue => (Figure::RecvQueue, 1.0),
            Self::SendQueue => (Figure::SendQueue, 1.0),
            Self::Connections => (Figure::Connections, 1.0),
            Self::ProbeLatency => (Figure::ProbeMicros, 1e-6),
            _ => return None,
        };
        figures.get(figure).map(|value| value as f64 * unit)
    }

    /// Its value between two readings `seconds` apart: for a rate only, of one process and history, and `None` if the
    /// counter fell, as after a restart.
    #[must_use]
    pub fn rate(self, before: &NodeFigures, now: &NodeFigures, seconds: f64) -> Option<f64> {
        let (figure, unit) = self.counter()?;
        if before.get(Figure::Process) != now.get(Figure::Process) || seconds <= 0.0 {
            return None;
        }
        let increase = now.get(figure)?.checked_sub(before.get(figure)?)?;
        let rate = increase as f64 * unit / seconds;
        Some(match self {
            // The server's clock and the console's differ a little.
            Self::FlowControlPaused => rate.min(1.0),
            _ => rate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(seqno: u64, process: u64) -> NodeFigures {
        let mut figures = NodeFigures::default();
        figures.0[Figure::LastCommitted as usize] = Some(seqno);
        figures.0[Figure::Process as usize] = Some(process);
        figures
    }

    #[test]
    fn a_counter_that_fell_has_no_rate() {
        let rate = |before, now| SeriesMetric::CommitRate.rate(&before, &now, 2.0);
        assert_eq!(rate(figures(10, 1), figures(30, 1)), Some(10.0));
        assert_eq!(rate(figures(30, 1), figures(10, 1)), None);
        assert_eq!(rate(figures(10, 1), figures(30, 2)), None, "a restart");
        assert_eq!(rate(NodeFigures::default(), figures(30, 1)), None);
        let now = figures(30, 1);
        assert_eq!(SeriesMetric::CommitRate.rate(&now, &now, 0.0), None);
        assert_eq!(SeriesMetric::RecvQueue.rate(&now, &now, 1.0), None);
    }

    #[test]
    fn every_metric_is_either_a_reading_or_a_rate() {
        let all = NodeFigures([Some(1); FIGURES]);
        for metric in SeriesMetric::ALL {
            assert_ne!(
                metric.counter().is_some(),
                metric.reading(&all).is_some(),
                "{metric:?}"
            );
            assert_eq!(SeriesMetric::parse(metric.as_str()), Some(metric));
        }
    }
}
