use std::borrow::Cow;

use super::*;
use crate::insight::findings::FindingCode;

fn at(seconds: u64) -> Timestamp {
    let start = Timestamp::parse("2026-11-29T08:00:00Z").unwrap();
    start.plus(Duration::from_secs(seconds))
}

fn ids(names: &[&str]) -> BTreeSet<NodeId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn finding(code: FindingCode, severity: FindingSeverity, nodes: &[&str]) -> Finding {
    Finding {
        code,
        severity,
        nodes: ids(nodes).into_iter().collect(),
        message: format!("{} on {}.", code.as_str(), nodes.join(", ")),
        evidence: Vec::new(),
        remedy: "Mend it.".to_owned(),
        manual: Cow::Borrowed(""),
        subject: None,
    }
}

fn connections(nodes: &[&str]) -> Finding {
    finding(
        FindingCode::ConnectionsUsed,
        FindingSeverity::Warning,
        nodes,
    )
}

fn topic(code: FindingCode) -> FindingTopic {
    FindingTopic {
        code: code.as_str().to_owned(),
        subject: None,
    }
}

/// A cluster of three members whose findings are compared with the record.
struct FollowedCluster {
    tracker: FindingTracker,
    record: FindingRecord,
    seen: BTreeSet<NodeId>,
}

impl FollowedCluster {
    fn new() -> Self {
        Self {
            tracker: FindingTracker::new(FindingPace::default()),
            record: FindingRecord::default(),
            seen: ids(&["n1", "n2", "n3"]),
        }
    }

    fn report(&self, findings: &[Finding]) -> FindingsReport {
        FindingsReport {
            cluster: "lab".parse().unwrap(),
            observed_at: at(0),
            findings: findings.to_vec(),
            seen: self.seen.clone(),
            unseen: Vec::new(),
        }
    }

    fn update(&mut self, seconds: u64, findings: &[Finding]) -> Vec<FindingChange> {
        let report = self.report(findings);
        let members = ids(&["n1", "n2", "n3"]);
        let (record, changes) = self
            .tracker
            .update(&self.record, &report, &members, at(seconds));
        self.record = record;
        changes
    }

    fn acknowledge(&mut self, seconds: u64, nodes: &[&str], until: u64) {
        self.record.acknowledge(FindingAcknowledgement {
            topic: topic(FindingCode::ConnectionsUsed),
            nodes: ids(nodes),
            by: "otto".to_owned(),
            at: at(seconds),
            reason: "on purpose".to_owned(),
            until: at(until),
        });
    }
}

#[test]
fn a_finding_opens_once_it_has_lasted_and_ends_once_it_is_gone_for_long() {
    let mut followed = FollowedCluster::new();
    assert!(followed.update(0, &[connections(&["n1"])]).is_empty());
    assert!(followed.update(59, &[connections(&["n1"])]).is_empty());
    assert!(followed.record.open.is_empty());
    let opened = followed.update(60, &[connections(&["n1"])]);
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].nodes, ids(&["n1"]));
    assert_eq!(
        opened[0].text.as_deref(),
        Some("connections_used on n1. Mend it.")
    );
    assert_eq!(followed.record.since(&connections(&["n1"])), Some(at(0)));
    assert!(followed.update(90, &[connections(&["n1"])]).is_empty());
    // A gap shorter than that changes nothing.
    assert!(followed.update(300, &[]).is_empty());
    assert!(followed.update(380, &[connections(&["n1"])]).is_empty());
    assert!(followed.update(679, &[]).is_empty());
    let ended = followed.update(680, &[]);
    assert_eq!((ended.len(), ended[0].text.is_none()), (1, true));
    assert_eq!(followed.record, FindingRecord::default());
    // A short one leaves no trace.
    followed.update(700, &[connections(&["n1"])]);
    followed.update(715, &[]);
    assert!(followed.update(770, &[connections(&["n1"])]).is_empty());
}

#[test]
fn further_nodes_and_a_higher_severity_are_announced_again_and_one_end_of_all() {
    let mut followed = FollowedCluster::new();
    let critical = |nodes: &[&str]| {
        finding(
            FindingCode::ConnectionsUsed,
            FindingSeverity::Critical,
            nodes,
        )
    };
    for second in [0, 60] {
        followed.update(second, &[connections(&["n1"])]);
    }
    followed.update(100, &[connections(&["n1"]), connections(&["n2"])]);
    let further = followed.update(160, &[connections(&["n1"]), connections(&["n2"])]);
    assert_eq!(further[0].nodes, ids(&["n2"]));
    let worse = followed.update(175, &[critical(&["n1"]), connections(&["n2"])]);
    assert_eq!(
        (worse[0].severity, &worse[0].nodes),
        (FindingSeverity::Critical, &ids(&["n1"]))
    );
    // Less urgent again: nothing to announce.
    assert!(
        followed
            .update(190, &[connections(&["n1"]), connections(&["n2"])])
            .is_empty()
    );
    assert!(followed.update(500, &[connections(&["n2"])]).is_empty());
    let ended = followed.update(1_000, &[]);
    assert_eq!(ended.len(), 1);
    assert!(ended[0].text.is_none());
}

#[test]
fn notices_are_recorded_and_never_announced() {
    let mut followed = FollowedCluster::new();
    let notice = finding(FindingCode::StaleReads, FindingSeverity::Notice, &["n1"]);
    followed.update(0, std::slice::from_ref(&notice));
    assert!(
        followed
            .update(60, std::slice::from_ref(&notice))
            .is_empty()
    );
    assert_eq!(followed.record.since(&notice), Some(at(0)));
    assert!(followed.update(400, &[]).is_empty());
    assert!(followed.record.open.is_empty());
}

#[test]
fn what_is_not_seen_does_not_end() {
    let mut followed = FollowedCluster::new();
    let of_cluster = finding(FindingCode::EvenVotes, FindingSeverity::Warning, &[]);
    for second in [0, 60] {
        followed.update(second, &[connections(&["n1"]), of_cluster.clone()]);
    }
    // n1 does not answer, then no member does.
    followed.seen = ids(&["n2"]);
    assert!(
        followed
            .update(1_000, std::slice::from_ref(&of_cluster))
            .is_empty()
    );
    followed.seen.clear();
    assert!(followed.update(2_000, &[]).is_empty());
    assert_eq!(followed.record.open.len(), 2);
    // From the first look at it on.
    followed.seen = ids(&["n1"]);
    assert!(followed.update(2_290, &[]).is_empty());
    assert_eq!(followed.update(2_600, &[]).len(), 2);
    // A node that is no member any more.
    for second in [3_000, 3_060] {
        followed.update(second, &[connections(&["n4"])]);
    }
    followed.seen = ids(&["n2"]);
    assert_eq!(followed.update(3_400, &[]).len(), 1);
}

#[test]
fn an_acknowledged_finding_is_announced_only_if_it_outlasts_the_acknowledgement() {
    let mut followed = FollowedCluster::new();
    let both = [connections(&["n1", "n2"])];
    followed.update(0, &both);
    followed.acknowledge(30, &["n1", "n2"], 1_000);
    assert!(followed.update(60, &both).is_empty());
    let shown = followed.record.acknowledgement(&both[0], at(60));
    assert_eq!(shown.map(|known| known.by.as_str()), Some("otto"));
    // On another node it is open, and so is the whole finding.
    let all = [connections(&["n1", "n2", "n3"])];
    followed.update(100, &all);
    let further = followed.update(160, &all);
    assert_eq!(further[0].nodes, ids(&["n3"]));
    assert_eq!(followed.record.acknowledgement(&all[0], at(160)), None);
    let expired = followed.update(1_000, &all);
    assert_eq!(expired[0].nodes, ids(&["n1", "n2"]));
    assert!(followed.record.acknowledged.is_empty());
    // One that was announced before it was acknowledged, too.
    followed.acknowledge(1_010, &["n1", "n2", "n3"], 1_100);
    assert!(followed.update(1_030, &all).is_empty());
    assert_eq!(followed.update(1_100, &all)[0].nodes.len(), 3);
}

#[test]
fn a_withdrawn_acknowledgement_announces_what_is_open() {
    let mut followed = FollowedCluster::new();
    for second in [0, 60] {
        followed.update(second, &[connections(&["n1"])]);
    }
    followed.acknowledge(70, &["n1"], 10_000);
    assert!(followed.update(75, &[connections(&["n1"])]).is_empty());
    let withdrawn = followed
        .record
        .withdraw(&topic(FindingCode::ConnectionsUsed));
    assert_eq!(withdrawn.len(), 1);
    assert_eq!(followed.update(90, &[connections(&["n1"])]).len(), 1);
    assert!(
        followed
            .record
            .withdraw(&topic(FindingCode::ConnectionsUsed))
            .is_empty()
    );
}

#[test]
fn a_later_acknowledgement_replaces_that_of_the_same_nodes() {
    let mut followed = FollowedCluster::new();
    followed.acknowledge(0, &["n1", "n2"], 1_000);
    followed.acknowledge(10, &["n2"], 20);
    let of = |record: &FindingRecord, nodes: &[&str], seconds: u64| {
        let known = record.acknowledgement(&connections(nodes), at(seconds));
        known.map(|known| known.until)
    };
    assert_eq!(of(&followed.record, &["n1", "n2"], 15), Some(at(20)));
    assert_eq!(of(&followed.record, &["n1"], 30), Some(at(1_000)));
    assert_eq!(of(&followed.record, &["n2"], 30), None);
    // An acknowledgement for the cluster does not cover its nodes.
    followed.acknowledge(40, &[], 2_000);
    assert_eq!(of(&followed.record, &[], 50), Some(at(2_000)));
    assert_eq!(of(&followed.record, &["n2"], 50), None);
    followed.acknowledge(60, &[], 70);
    assert_eq!(of(&followed.record, &[], 80), None);
}

#[test]
fn findings_of_one_code_about_different_variables_are_different() {
    let mut followed = FollowedCluster::new();
    let drift = |variable: &str| Finding {
        subject: Some(variable.to_owned()),
        ..finding(
            FindingCode::ConfigurationDrift,
            FindingSeverity::Warning,
            &["n1", "n2"],
        )
    };
    let both = [drift("sql_mode"), drift("time_zone")];
    followed.update(0, &both);
    assert_eq!(followed.update(60, &both).len(), 2);
    followed.record.acknowledge(FindingAcknowledgement {
        topic: FindingTopic::of(&both[0]),
        nodes: ids(&["n1", "n2"]),
        by: "otto".to_owned(),
        at: at(70),
        reason: "on purpose".to_owned(),
        until: at(1_000),
    });
    let view = followed.record.annotate(followed.report(&both), at(80));
    let order: Vec<_> = view
        .findings
        .iter()
        .map(|shown| {
            (
                shown.finding.subject.as_deref(),
                shown.acknowledged.is_some(),
            )
        })
        .collect();
    assert_eq!(
        order,
        [(Some("time_zone"), false), (Some("sql_mode"), true)]
    );
}

#[test]
fn a_new_leader_announces_nothing_again() {
    let mut followed = FollowedCluster::new();
    for second in [0, 60] {
        followed.update(second, &[connections(&["n1"])]);
    }
    followed.tracker = FindingTracker::new(FindingPace::default());
    assert!(followed.update(120, &[connections(&["n1"])]).is_empty());
    assert_eq!(followed.record.since(&connections(&["n1"])), Some(at(0)));
    // Nor does it end one that it has not missed for long enough itself.
    followed.tracker = FindingTracker::new(FindingPace::default());
    assert!(followed.update(1_000, &[]).is_empty());
    assert_eq!(followed.update(1_300, &[]).len(), 1);
}

#[test]
fn records_of_another_version_are_readable() {
    let value = r#"{"open":[{"code":"from_the_future","severity":"warning","since":"2026-11-29T08:00:00Z"}],
        "acknowledged":[{"code":"x","by":"a","at":"2026-11-29T08:00:00Z","reason":"r","until":"2026-12-29T08:00:00Z","more":1}]}"#;
    let record: FindingRecord = serde_json::from_str(value).unwrap();
    assert_eq!((record.open.len(), record.acknowledged.len()), (1, 1));
    assert_eq!(
        serde_json::from_str::<FindingRecord>("{}").unwrap(),
        FindingRecord::default()
    );
}
