//! Sample clusters in various states, for tests of the views.

use galera::access::Role;
use galera::publish::api::SessionView;
use galera::view::{
    ArbitratorState, ArbitratorView, ClusterStatus, ClusterView, Component, NodeState, NodeView,
    ReasonCode, RegistryHealth, RegistryKeyView, RegistryView, SourceKind, SourceView, Verdict,
    VerdictReason, VerdictState,
};
use galera::{NodeId, Position, Timestamp};

/// The state UUID of the sample clusters.
pub(crate) const UUID: &str = "8f3c1c52-c7b1-11f0-9a3e-6f0d3a1b2c4d";

/// The current time in all fixtures.
pub(crate) fn fixed_now() -> Timestamp {
    Timestamp::from_unix_millis(1_795_420_800_000)
}

/// The session of `name`, which expires now.
pub(crate) fn session(name: &str, roles: &[Role]) -> SessionView {
    SessionView {
        username: name.to_owned(),
        roles: roles.to_vec(),
        expires_at: fixed_now(),
        permissions: Vec::new(),
    }
}

/// `html` with a line for each tag that follows another, so that a snapshot of it changes by lines.
pub(crate) fn by_lines(html: &str) -> String {
    html.replace("><", ">\n<")
}

fn millis_before(millis: u64) -> Timestamp {
    fixed_now().minus(std::time::Duration::from_millis(millis))
}

pub(crate) fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn source(kind: SourceKind, age: u64, state: &str, seqno: Option<u64>) -> SourceView {
    SourceView {
        kind,
        observed_at: Some(millis_before(age)),
        stale: false,
        error: None,
        error_code: None,
        failing_since: None,
        state: Some(state.to_owned()),
        cluster_status: Some("Primary".to_owned()),
        seqno,
        phase: (kind == SourceKind::Registry).then(|| "running".to_owned()),
    }
}

pub(crate) fn synced(host: &str, name: &str, seqno: u64) -> NodeView {
    NodeView {
        id: id(host),
        name: Some(name.to_owned()),
        state: NodeState::Synced,
        state_comment: Some("Synced".to_owned()),
        cluster_status: Some(ClusterStatus::Primary),
        position: [UUID, ":", &seqno.to_string()]
            .concat()
            .parse::<Position>()
            .ok(),
        position_fresh: true,
        behind: Some(0),
        commit_rate: Some(12.5),
        recent_rates: (0..30).map(|i| 10.0 + f64::from(i % 7)).collect(),
        recv_queue: Some(0),
        send_queue: Some(0),
        flow_control_paused: Some(0.0),
        ready: Some(true),
        connected: Some(true),
        segment: Some(0),
        votes: Some(1),
        cached_from: Some(1),
        version: Some("10.11.19-MariaDB-deb12-log".to_owned()),
        gcomm_uuid: Some("0a1b2c3d-c7b1-11f0-8d21-2f6c7a55e1aa".to_owned()),
        evs_state: Some("OPERATIONAL".to_owned()),
        expected: true,
        registered: true,
        unconfirmed: false,
        names: Vec::new(),
        findings: Vec::new(),
        transfer: None,
        sources: vec![
            source(SourceKind::Sql, 400, "Synced", Some(seqno)),
            source(SourceKind::Registry, 2_000, "Synced", Some(seqno - 20)),
        ],
    }
}

/// The same node in another state, with the server's state comment.
pub(crate) fn with_state(mut node: NodeView, state: NodeState, comment: &str) -> NodeView {
    node.state = state;
    node.state_comment = Some(comment.to_owned());
    for source in &mut node.sources {
        source.state = Some(comment.to_owned());
    }
    node
}

/// What a joiner's agent shows of a full state transfer.
#[cfg(test)]
pub(crate) fn transfer() -> galera::view::TransferView {
    galera::view::TransferView {
        peer: Some(id("127.0.0.2")),
        percent: Some(8),
        summary: "SST from n2: 3.2 of about 40 GB, 110 MB/s, about 6 min left".to_owned(),
        ..galera::view::TransferView::default()
    }
}

/// The same node, unreachable for three minutes.
pub(crate) fn unreachable(mut node: NodeView) -> NodeView {
    node.state = NodeState::Unreachable;
    node.state_comment = None;
    node.cluster_status = None;
    node.position_fresh = false;
    node.behind = None;
    node.commit_rate = None;
    node.recv_queue = None;
    node.flow_control_paused = None;
    node.ready = None;
    for source in &mut node.sources {
        source.stale = true;
        source.observed_at = Some(millis_before(185_000));
        source.failing_since = Some(millis_before(183_000));
    }
    let host = node.id.host().to_owned();
    node.sources[0].error = Some(format!(
        "connection refused by {host}:3306: is the server running?"
    ));
    node.sources[1].error = Some("its lease ended".to_owned());
    node
}

/// An expected node that has never been seen.
pub(crate) fn absent(host: &str) -> NodeView {
    let mut node = unreachable(synced(host, "", 20));
    node.state = NodeState::Absent;
    node.name = None;
    node.position = None;
    node.registered = false;
    node.recent_rates.clear();
    node.version = None;
    for source in &mut node.sources {
        source.observed_at = None;
        source.state = None;
        source.seqno = None;
        source.phase = None;
    }
    node.sources[0].error = Some("no such host".to_owned());
    node.sources[1].error = None;
    node
}

pub(crate) fn component(status: ClusterStatus, members: &[&str]) -> Component {
    Component {
        status,
        members: members.iter().map(|member| id(member)).collect(),
        state_uuid: Some(UUID.to_owned()),
        conf_id: (status == ClusterStatus::Primary).then_some(17),
        size: u64::try_from(members.len()).ok(),
    }
}

pub(crate) fn reason(code: ReasonCode, node: Option<&str>, message: &str) -> VerdictReason {
    VerdictReason {
        code,
        node: node.map(id),
        message: message.to_owned(),
    }
}

pub(crate) fn cluster(
    name: &str,
    state: VerdictState,
    reasons: Vec<VerdictReason>,
    components: Vec<Component>,
    nodes: Vec<NodeView>,
) -> ClusterView {
    ClusterView {
        name: name.parse().unwrap(),
        labels: Default::default(),
        revision: 42,
        observed_at: millis_before(300),
        verdict: Verdict {
            state,
            reasons,
            since: millis_before(240_000),
        },
        expected_members: nodes.iter().map(|node| node.id.clone()).collect(),
        components,
        nodes,
        quorum: None,
        arbitrators: Vec::new(),
        last_transfer: None,
        registry: RegistryHealth {
            reachable: true,
            since: millis_before(3_600_000),
            error: None,
        },
    }
}

/// Three healthy nodes.
pub(crate) fn healthy(name: &str, seqno: u64) -> ClusterView {
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    cluster(
        name,
        VerdictState::Healthy,
        vec![reason(
            ReasonCode::AllSynced,
            None,
            "All 3 expected members are Synced in one Primary component.",
        )],
        vec![component(ClusterStatus::Primary, &hosts)],
        vec![
            synced(hosts[0], "n1", seqno),
            synced(hosts[1], "n2", seqno),
            synced(hosts[2], "n3", seqno),
        ],
    )
}

/// The third node is receiving a state transfer from the second; a fourth is unreachable.
pub(crate) fn state_transfer(name: &str, seqno: u64) -> ClusterView {
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let mut joiner = with_state(
        synced(hosts[2], "n3", seqno - 900),
        NodeState::Joining,
        "Joining: receiving State Transfer",
    );
    joiner.behind = Some(900);
    joiner.ready = Some(false);
    cluster(
        name,
        VerdictState::Degraded,
        vec![
            reason(
                ReasonCode::MemberUnreachable,
                Some("127.0.0.4"),
                "127.0.0.4 is unreachable: connection refused.",
            ),
            reason(
                ReasonCode::MemberNotSynced,
                Some("127.0.0.3"),
                "n3 is Joining: receiving State Transfer.",
            ),
            reason(
                ReasonCode::MemberNotSynced,
                Some("127.0.0.2"),
                "n2 is Donor/Desynced.",
            ),
        ],
        vec![component(ClusterStatus::Primary, &hosts)],
        vec![
            synced(hosts[0], "n1", seqno),
            with_state(
                synced(hosts[1], "n2", seqno),
                NodeState::Donor,
                "Donor/Desynced",
            ),
            joiner,
            unreachable(synced("127.0.0.4", "n4", seqno - 5_000)),
        ],
    )
}

/// Two rival Primary components.
pub(crate) fn split_brain(name: &str, seqno: u64) -> ClusterView {
    let mut view = healthy(name, seqno);
    view.verdict.state = VerdictState::SplitBrain;
    view.verdict.reasons = vec![reason(
        ReasonCode::RivalPrimaries,
        None,
        "Two disjoint components both report being Primary: 127.0.0.1, 127.0.0.2 and 127.0.0.3.",
    )];
    view.components = vec![
        component(ClusterStatus::Primary, &["127.0.0.1", "127.0.0.2"]),
        component(ClusterStatus::Primary, &["127.0.0.3"]),
    ];
    view
}

/// A single reachable node without quorum.
pub(crate) fn no_primary(name: &str, seqno: u64) -> ClusterView {
    let alone = with_state(
        synced("127.0.0.1", "n1", seqno),
        NodeState::Initialized,
        "Initialized",
    );
    let alone = NodeView {
        cluster_status: Some(ClusterStatus::NonPrimary),
        ready: Some(false),
        ..alone
    };
    cluster(
        name,
        VerdictState::NoPrimary,
        vec![
            reason(
                ReasonCode::NobodyPrimary,
                None,
                "No reachable node is Primary: 1 of 3 expected members is reachable.",
            ),
            reason(
                ReasonCode::MemberUnreachable,
                Some("127.0.0.2"),
                "127.0.0.2 is unreachable: timed out after 3 s.",
            ),
            reason(
                ReasonCode::MemberAbsent,
                Some("127.0.0.3"),
                "127.0.0.3 is expected but has never been seen.",
            ),
        ],
        vec![component(ClusterStatus::NonPrimary, &["127.0.0.1"])],
        vec![
            alone,
            unreachable(synced("127.0.0.2", "n2", seqno)),
            absent("127.0.0.3"),
        ],
    )
}

/// Healthy according to SQL, with the registry unreachable.
pub(crate) fn registry_unreachable(name: &str, seqno: u64) -> ClusterView {
    let mut view = healthy(name, seqno);
    view.registry = RegistryHealth {
        reachable: false,
        since: millis_before(42_000),
        error: Some("no etcd endpoint is reachable: connection refused".to_owned()),
    };
    for node in &mut view.nodes {
        node.sources[1].stale = true;
        node.sources[1].observed_at = Some(millis_before(42_000));
    }
    view
}

/// `count` Synced nodes with long names.
pub(crate) fn large_cluster(name: &str, count: usize, seqno: u64) -> ClusterView {
    let hosts: Vec<String> = (1..=count)
        .map(|i| format!("db-{i:02}.galera.eu-central-1.prod.example.org:3307"))
        .collect();
    let nodes = hosts
        .iter()
        .enumerate()
        .map(|(i, host)| synced(host, &format!("galera-prod-eu-central-{i:02}"), seqno));
    let members: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let mut view = cluster(
        name,
        VerdictState::Healthy,
        vec![reason(
            ReasonCode::AllSynced,
            None,
            &format!("All {count} expected members are Synced in one Primary component."),
        )],
        vec![component(ClusterStatus::Primary, &members)],
        nodes.collect(),
    );
    view.nodes.sort_by(|a, b| a.id.cmp(&b.id));
    view
}

/// A registry with every kind of key, including malicious values.
pub(crate) fn registry(cluster: &str) -> RegistryView {
    let key = |node: &str, field: &str, value: &str, leased: bool| RegistryKeyView {
        key: format!("/galera/{cluster}/{node}/{field}"),
        value: value.to_owned(),
        value_bytes: value.len(),
        truncated: false,
        revision: 4711,
        lease: leased.then(|| "694d9a1c2f3e4b05".to_owned()),
        ttl: leased.then_some(8),
        node: node.parse().ok(),
        known: true,
        stale: false,
        reason: None,
    };
    let mut keys = Vec::new();
    for (node, seqno) in [
        ("127.0.0.1", "2881"),
        ("127.0.0.2", "2881"),
        ("127.0.0.3", "2879"),
    ] {
        keys.push(key(
            node,
            "registered",
            r#"{"first_seen":"2026-11-20T08:00:00Z","agent":"0.1.0"}"#,
            false,
        ));
        keys.push(key(node, "wsrep_cluster_status", "Primary", true));
        keys.push(key(node, "wsrep_last_committed", seqno, true));
        keys.push(key(node, "wsrep_local_state_comment", "Synced", true));
    }
    keys.push(RegistryKeyView {
        stale: true,
        reason: Some("its node is unreachable and in no member list".to_owned()),
        ..key("127.0.0.9", "ipaddress", "127.0.0.9", false)
    });
    keys.push(RegistryKeyView {
        known: false,
        node: None,
        reason: Some("unrecognized field \"note\"".to_owned()),
        ..key(
            "127.0.0.1",
            "note",
            "<script>alert(1)</script><img src=x onerror=alert(2)>",
            false,
        )
    });
    keys.push(RegistryKeyView {
        known: false,
        truncated: true,
        value_bytes: 2_097_152,
        reason: Some("unrecognized field \"blob\"".to_owned()),
        ..key("127.0.0.1", "blob", &"A\u{fffd}B".repeat(60), false)
    });
    RegistryView {
        cluster: cluster.parse().unwrap(),
        prefix: format!("/galera/{cluster}/"),
        revision: 9_001,
        observed_at: millis_before(500),
        keys,
        v2: None,
    }
}

pub(crate) fn arbitrator(name: &str, state: ArbitratorState) -> ArbitratorView {
    ArbitratorView {
        name: Some(name.to_owned()),
        state,
        address: Some("127.0.0.9:4567".to_owned()),
        since: Some(fixed_now()),
        message: "votes in the Primary component".to_owned(),
    }
}
