//! Folds arbitrary registry keys and SQL answers, one per line.
#![no_main]

use std::collections::BTreeMap;

use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::{Evidence, ProbeError, ProbeErrorKind};
use galera::observe::registration::{ParsedKey, RawKeyValue, build_registry_view, parse_key};
use galera::observe::wsrep::WsrepStatus;
use galera::view::{RegistryHealth, VerdictState};
use galera::{NodeId, Timestamp};
use libfuzzer_sys::fuzz_target;

/// Applies one line: `?NODE=` and a kind of failure, `!NODE=` and rows, or a registry key, `=` and its value.
fn apply_line(evidence: &mut Evidence, raw: &mut Vec<RawKeyValue>, line: &[u8], at: Timestamp) {
    let split = line
        .iter()
        .position(|byte| *byte == b'=')
        .unwrap_or(line.len());
    let (key, value) = (&line[..split], line.get(split + 1..).unwrap_or_default());
    let text = String::from_utf8_lossy(value);
    if let Some(node) = parse_marked_node(key, b'?') {
        let kind = ProbeErrorKind::ALL
            [value.first().map_or(0, |byte| usize::from(*byte)) % ProbeErrorKind::ALL.len()];
        let error = ProbeError {
            kind,
            message: text.into_owned(),
        };
        return evidence
            .probes
            .entry(node)
            .or_default()
            .record_failure(at, error);
    }
    if let Some(node) = parse_marked_node(key, b'!') {
        let rows = text
            .split(';')
            .map(|row| row.split_once(':').unwrap_or((row, "")));
        return evidence
            .probes
            .entry(node)
            .or_default()
            .record_success(at, WsrepStatus::from_rows(rows));
    }
    raw.push(RawKeyValue {
        key: key.to_vec(),
        value: value.to_vec(),
        mod_revision: 1,
        lease: i64::from(value.len() % 2 == 0),
        ttl: None,
    });
    match parse_key("/galera", key) {
        ParsedKey::Node { node, field, .. } => {
            let observation = evidence.registrations.entry(node).or_default();
            observation.durable |= field.is_durable();
            observation.last_put_at = Some(at);
            let mut fields = BTreeMap::clone(&observation.fields);
            fields.insert(field.as_str().to_owned(), text.into_owned());
            observation.fields = fields.into();
        }
        ParsedKey::Cluster { .. } => {}
        ParsedKey::Arbitrator { .. } => {}
        ParsedKey::Unknown { .. } => evidence.unrecognized_keys += 1,
    }
}

fn parse_marked_node(key: &[u8], mark: u8) -> Option<NodeId> {
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
        apply_line(&mut evidence, &mut raw, line, now);
    }
    let settings = FoldSettings::default();
    let view = fold(&evidence, now, &settings, None);
    assert!(!view.verdict.reasons.is_empty());
    assert!(
        evidence.probes.values().any(|probe| probe.status.is_some()) || view.components.is_empty()
    );
    if view.verdict.state == VerdictState::Healthy {
        assert!(
            view.components
                .iter()
                .any(|component| !component.members.is_empty())
        );
    }
    let _ = serde_json::to_vec(&view).expect("a view is JSON");
    let _ = build_registry_view(
        "/galera",
        &view.name,
        1,
        now,
        &raw,
        &view,
        settings.default_port,
    );
});
