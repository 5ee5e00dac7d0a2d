//! Whatever lies in the registry, folded: one key or answer a line, in the form a registry and servers may give.
#![no_main]

use galera::judge::cluster::{Settings, fold};
use galera::observe::observation::{Evidence, ProbeError, ProbeFailure};
use galera::observe::registration::{RawKey, RegistryKeyKind, parse_key, registry_view};
use galera::view::{RegistryHealth, VerdictState};
use galera::observe::wsrep::WsrepStatus;
use galera::{NodeId, Timestamp};
use libfuzzer_sys::fuzz_target;

/// What one line adds: a node, then `?` and a kind of failure, `!` and rows, or a key under the prefix and its value.
fn take(evidence: &mut Evidence, raw: &mut Vec<RawKey>, line: &[u8], at: Timestamp) {
    let split = line
        .iter()
        .position(|byte| *byte == b'=')
        .unwrap_or(line.len());
    let (key, value) = (&line[..split], line.get(split + 1..).unwrap_or_default());
    let text = String::from_utf8_lossy(value);
    if let Some(node) = node(key, b'?') {
        let kind = ProbeFailure::ALL
            [value.first().map_or(0, |byte| usize::from(*byte)) % ProbeFailure::ALL.len()];
        let error = ProbeError {
            kind,
            message: text.into_owned(),
        };
        return evidence.sql.entry(node).or_default().failed(at, error);
    }
    if let Some(node) = node(key, b'!') {
        let rows = text
            .split(';')
            .map(|row| row.split_once(':').unwrap_or((row, "")));
        return evidence
            .sql
            .entry(node)
            .or_default()
            .answered(at, WsrepStatus::from_rows(rows));
    }
    raw.push(RawKey {
        key: key.to_vec(),
        value: value.to_vec(),
        mod_revision: 1,
        lease: i64::from(value.len() % 2 == 0),
        ttl: None,
    });
    match parse_key("/galera", key) {
        RegistryKeyKind::Node { node, field, .. } => {
            let seen = evidence.registry.entry(node).or_default();
            seen.durable |= field.is_durable();
            seen.last_put_at = Some(at);
            seen.fields
                .insert(field.word().to_owned(), text.into_owned());
        }
        RegistryKeyKind::Cluster { .. } => {}
        RegistryKeyKind::Unknown { .. } => evidence.garbage += 1,
    }
}

fn node(key: &[u8], mark: u8) -> Option<NodeId> {
    std::str::from_utf8(key.strip_prefix(&[mark])?)
        .ok()?
        .parse()
        .ok()
}

fuzz_target!(|input: (&[u8], bool)| {
    let (bytes, reachable) = input;
    let start = Timestamp::from_unix_millis(1_795_421_520_000);
    let health = RegistryHealth {
        reachable,
        since: start,
        error: None,
    };
    let mut evidence = Evidence::new("lab".parse().expect("a name"), health);
    let mut raw = Vec::new();
    let mut now = start;
    for line in bytes.split(|byte| *byte == b'\n') {
        now = now.plus(std::time::Duration::from_millis(700));
        take(&mut evidence, &mut raw, line, now);
    }
    let settings = Settings::default();
    let view = fold(&evidence, now, &settings, None);
    assert!(!view.verdict.reasons.is_empty());
    assert!(
        evidence.sql.values().any(|probe| probe.status.is_some()) || view.components.is_empty()
    );
    if view.verdict.state == VerdictState::Healthy {
        assert!(
            view.components
                .iter()
                .any(|component| !component.members.is_empty())
        );
    }
    let _ = serde_json::to_vec(&view).expect("a view is JSON");
    let _ = registry_view(
        "/galera",
        &view.name,
        1,
        now,
        &raw,
        &view,
        settings.default_port,
    );
});
