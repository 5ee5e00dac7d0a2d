//! What the provider counts, and what it reports about its peers.

use super::{TEXT_MAX, non_empty_text};
use crate::position::parse_seqno;

/// Peers kept of `wsrep_evs_delayed`.
const DELAYED_MAX: usize = 16;

/// Counters since the server started, and figures of the moment. A field is `None` if the server does not report it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicationCounters {
    /// `wsrep_replicated`: write-sets that this node sent.
    pub replicated: Option<u64>,
    /// `wsrep_replicated_bytes`.
    pub replicated_bytes: Option<u64>,
    /// `wsrep_received_bytes`: of write-sets of the other nodes.
    pub received_bytes: Option<u64>,
    /// `wsrep_local_cert_failures`: transactions of this node's clients that failed certification.
    pub certification_failures: Option<u64>,
    /// `wsrep_local_bf_aborts`: transactions of this node's clients that an applied write-set aborted.
    pub aborts: Option<u64>,
    /// `wsrep_ist_receive_seqno_start`, `…_current` and `…_end`, which Percona XtraDB Cluster has: an incremental state
    /// transfer that the node receives.
    pub ist_start: Option<u64>,
    pub ist_current: Option<u64>,
    pub ist_end: Option<u64>,
    /// `wsrep_open_transactions`: transactions of clients that have begun to write.
    pub open_transactions: Option<u64>,
    /// `wsrep_protocol_version`, of the group.
    pub protocol_version: Option<u64>,
    /// `wsrep_provider_version`.
    pub provider_version: Option<String>,
    /// `wsrep_evs_delayed`: peers that answered late.
    pub delayed_peers: Vec<String>,
    /// The average of `wsrep_evs_repl_latency`, in microseconds.
    pub group_latency_micros: Option<u64>,
}

impl ReplicationCounters {
    /// Takes the value of the variable `name`, in lower case. Returns whether it is one of these.
    pub(super) fn apply(&mut self, name: &[u8], value: &str) -> bool {
        match name {
            b"wsrep_replicated" => self.replicated = parse_seqno(value),
            b"wsrep_replicated_bytes" => self.replicated_bytes = parse_seqno(value),
            b"wsrep_received_bytes" => self.received_bytes = parse_seqno(value),
            b"wsrep_local_cert_failures" => self.certification_failures = parse_seqno(value),
            b"wsrep_local_bf_aborts" => self.aborts = parse_seqno(value),
            b"wsrep_ist_receive_seqno_start" => self.ist_start = parse_seqno(value),
            b"wsrep_ist_receive_seqno_current" => self.ist_current = parse_seqno(value),
            b"wsrep_ist_receive_seqno_end" => self.ist_end = parse_seqno(value),
            b"wsrep_open_transactions" => self.open_transactions = parse_seqno(value),
            b"wsrep_protocol_version" => self.protocol_version = parse_seqno(value),
            b"wsrep_provider_version" => self.provider_version = non_empty_text(value),
            b"wsrep_evs_delayed" => self.delayed_peers = parse_delayed_peers(value),
            b"wsrep_evs_repl_latency" => self.group_latency_micros = parse_average_micros(value),
            _ => return false,
        }
        true
    }

    /// Bytes of write-sets that passed through this node's write-set cache.
    #[must_use]
    pub fn written_bytes(&self) -> Option<u64> {
        self.replicated_bytes?.checked_add(self.received_bytes?)
    }

    /// Transactions of clients that were lost to conflicts with other nodes.
    #[must_use]
    pub fn conflicts(&self) -> Option<u64> {
        self.certification_failures?.checked_add(self.aborts?)
    }
}

/// Entries are separated by commas.
fn parse_delayed_peers(list: &str) -> Vec<String> {
    let list: String = list.chars().take(DELAYED_MAX * TEXT_MAX).collect();
    let entries = list.split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .take(DELAYED_MAX)
        .map(super::truncate_text)
        .collect()
}

/// Parses `minimum/average/maximum/deviation/samples`, in seconds. Without samples there is no average.
fn parse_average_micros(text: &str) -> Option<u64> {
    let fields: Vec<&str> = text.split('/').map(str::trim).collect();
    let &[_, average, _, _, samples] = &fields[..] else {
        return None;
    };
    let samples: f64 = samples.parse().ok()?;
    let average: f64 = average.parse().ok()?;
    let plausible = samples > 0.0 && (0.0..3_600.0).contains(&average);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within an hour"
    )]
    plausible.then(|| (average * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_average_latency() {
        let cases = [
            ("0.000243/0.00051/0.0012/0.0003/6", Some(510)),
            ("0/0/0/0/0", None),
            ("0.1/0.2/0.3", None),
            ("0.1/-1/0.3/0/5", None),
            ("a/NaN/c/d/1", None),
            ("0/inf/0/0/1", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_average_micros(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_list_of_peers_is_cut() {
        let list = "x,".repeat(100_000);
        assert_eq!(parse_delayed_peers(&list).len(), DELAYED_MAX);
        let long = parse_delayed_peers(&"y".repeat(100_000));
        assert_eq!(long[0].chars().count(), TEXT_MAX + 1, "with an ellipsis");
        assert_eq!(parse_delayed_peers(" , "), Vec::<String>::new());
    }

    #[test]
    fn sums_need_both_values() {
        let mut counters = ReplicationCounters::default();
        assert!(counters.apply(b"wsrep_local_cert_failures", "3"));
        assert_eq!(counters.conflicts(), None);
        assert!(counters.apply(b"wsrep_local_bf_aborts", "4"));
        assert_eq!(counters.conflicts(), Some(7));
        assert!(!counters.apply(b"wsrep_on", "ON"));
    }
}
