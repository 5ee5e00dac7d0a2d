//! When views may be shown: the registry was read or found unreachable, and every node was probed or had time to
//! answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use galera::view::{ClusterView, NodeView, SourceKind};

/// A node that hangs delays readiness no longer than this.
const FIRST_PROBE_WAIT: Duration = Duration::from_millis(400);

/// Becomes ready once and stays ready.
#[derive(Debug)]
pub(super) struct Readiness {
    started: Instant,
    registry_known: AtomicBool,
    ready: AtomicBool,
}

impl Readiness {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            registry_known: AtomicBool::new(false),
            ready: AtomicBool::new(false),
        }
    }

    /// Records that the registry was read or is known to be unreachable.
    pub(super) fn mark_registry_known(&self) {
        self.registry_known.store(true, Ordering::Release);
    }

    /// Whether views may be shown. `all_probed` is called only while the answer depends on it: the history asks at each
    /// of the thousands of views of a start.
    pub(super) fn check(&self, all_probed: impl FnOnce() -> bool) -> bool {
        if self.ready.load(Ordering::Acquire) {
            return true;
        }
        let ready = self.registry_known.load(Ordering::Acquire)
            && (self.started.elapsed() >= FIRST_PROBE_WAIT || all_probed());
        self.ready.fetch_or(ready, Ordering::AcqRel);
        ready
    }
}

/// Whether every node of the view was probed by SQL, or will not be.
pub(super) fn is_probed(view: &ClusterView) -> bool {
    view.nodes.iter().all(was_probed)
}

/// Whether the node was probed by SQL, or will not be.
pub fn was_probed(node: &NodeView) -> bool {
    let mut sources = node.sources.iter();
    let sql = sources.find(|source| source.kind == SourceKind::Sql);
    sql.is_none_or(|sql| sql.observed_at.is_some() || sql.error.is_some())
}

#[cfg(test)]
mod tests {
    use galera::judge::cluster::{FoldSettings, fold};
    use galera::observe::observation::{Evidence, ProbeError, ProbeErrorKind};
    use galera::view::RegistryHealth;

    use super::*;
    use console_core::clock::now;

    #[test]
    fn waits_for_the_registry_and_for_the_first_answers() {
        let health = RegistryHealth {
            reachable: true,
            since: now(),
            error: None,
        };
        let mut evidence = Evidence::new("lab".parse().unwrap(), health);
        let node = evidence.probes.entry("db1".parse().unwrap()).or_default();
        let refused = ProbeError {
            kind: ProbeErrorKind::Refused,
            message: "connection refused".to_owned(),
        };
        let mut probed = node.clone();
        probed.record_failure(now(), refused);
        let before = fold(&evidence, now(), &FoldSettings::default(), None);
        evidence.probes.insert("db1".parse().unwrap(), probed);
        let after = fold(&evidence, now(), &FoldSettings::default(), None);

        let readiness = Readiness::new();
        assert!(
            !readiness.check(|| is_probed(&after)),
            "the registry has not been read"
        );
        readiness.mark_registry_known();
        assert!(
            !readiness.check(|| is_probed(&before)),
            "a node has not been probed"
        );
        assert!(readiness.check(|| is_probed(&after)));
        assert!(
            readiness.check(|| panic!("not asked again")),
            "a new node changes nothing"
        );
    }
}
