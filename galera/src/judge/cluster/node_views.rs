//! Node views: state, figures, and the last report of each source.

use super::node_facts::{NodeFacts, ProbeState};
use crate::judge::service::{ServiceLimit, service_limits};
use crate::observe::observation::SqlObservation;
use crate::observe::registration;
use crate::observe::wsrep::WsrepStatus;
use crate::position::Position;
use crate::view::{ClusterStatus, NodeFinding, NodeView, RegistryHealth, SourceKind, SourceView};

/// The views of all nodes, those of the `unconfirmed` ones last: nothing is computed from them.
pub(super) fn node_views(
    nodes: &[NodeFacts<'_>],
    unconfirmed: &[NodeFacts<'_>],
    health: &RegistryHealth,
) -> Vec<NodeView> {
    let mut views: Vec<NodeView> = nodes.iter().map(|facts| node_view(facts, health)).collect();
    let heads = head_positions(&views);
    for view in &mut views {
        view.behind = behind(view, &heads);
    }
    views.extend(unconfirmed.iter().map(|facts| NodeView {
        unconfirmed: true,
        ..node_view(facts, health)
    }));
    views
}

fn node_view(facts: &NodeFacts<'_>, health: &RegistryHealth) -> NodeView {
    let answer = facts.fresh_answer().map(|answer| answer.status);
    let last = facts
        .probe
        .and_then(|probe| probe.status.as_ref())
        .map(|(_, status)| &**status);
    let rates = facts.probe.map(|probe| &probe.rates);
    let fresh = |field: fn(&WsrepStatus) -> Option<u64>| answer.and_then(field);
    let status = answer.or_else(|| fallback_status(facts));
    let newer = facts
        .registration_since_answer()
        .map(|registered| registered.status);
    let (position, position_fresh) = best_position(facts, last);
    NodeView {
        id: facts.id.clone(),
        name: facts.name().map(str::to_owned),
        state: facts.displayed_state(),
        state_comment: newer
            .or(status)
            .and_then(|status| status.local_state_comment.clone()),
        cluster_status: status.and_then(|status| status.cluster_status),
        position,
        position_fresh,
        behind: None,
        commit_rate: answer.and(rates).and_then(|rates| rates.commit_rate),
        recent_rates: rates
            .map(|rates| rates.recent_commit_rates.clone())
            .unwrap_or_default(),
        recv_queue: fresh(|status| status.recv_queue),
        send_queue: fresh(|status| status.send_queue),
        flow_control_paused: answer
            .and(rates)
            .and_then(|rates| rates.flow_control_paused),
        ready: answer.and_then(|status| status.ready),
        connected: answer.and_then(|status| status.connected),
        votes: last.and_then(|status| status.quorum_options.weight),
        cached_from: fresh(|status| status.cached_from),
        segment: last.and_then(|status| status.segment),
        version: last.and_then(|status| status.version.clone()),
        gcomm_uuid: answer
            .and_then(|status| status.gcomm_uuid)
            .map(|uuid| uuid.to_string()),
        evs_state: answer.and_then(|status| status.evs_state.clone()),
        expected: facts.expected,
        registered: facts.registration.is_some(),
        unconfirmed: false,
        names: facts.names.clone(),
        findings: findings(facts),
        transfer: None,
        sources: vec![sql_source(facts, last), registry_source(facts, health)],
    }
}

/// What limits the use of a node that is a member; of fresh answers only.
fn findings(facts: &NodeFacts<'_>) -> Vec<NodeFinding> {
    let limits = facts
        .fresh_answer()
        .map(|answer| service_limits(answer.status));
    let limits = limits.unwrap_or_default().into_iter();
    limits.map(ServiceLimit::finding).collect()
}

/// The status of the fresh registration, where the state is based on it because SQL reports nothing.
fn fallback_status<'a>(facts: &'a NodeFacts<'_>) -> Option<&'a WsrepStatus> {
    let without_sql = match facts.probe_state {
        ProbeState::Unprobed | ProbeState::Stale => true,
        ProbeState::Failing { error, .. } => error.kind.proves_running(),
        ProbeState::Fresh(_) | ProbeState::Pending => false,
    };
    facts
        .fresh_registration()
        .filter(|_| without_sql)
        .map(|registered| registered.status)
}

/// The best known position and whether it is from fresh evidence.
fn best_position(facts: &NodeFacts<'_>, last: Option<&WsrepStatus>) -> (Option<Position>, bool) {
    let fresh = facts
        .fresh_answer()
        .and_then(|answer| answer.status.position());
    if fresh.is_some() {
        return (fresh, true);
    }
    let registered = facts.registration.as_ref();
    let reported = registered.and_then(|registered| {
        let recovered = registration::recovered_position(&registered.observation.fields);
        recovered.or_else(|| registered.status.position())
    });
    if registered.is_some_and(|registered| registered.fresh)
        && facts.fresh_answer().is_none()
        && reported.is_some()
    {
        return (reported, true);
    }
    (last.and_then(WsrepStatus::position).or(reported), false)
}

fn sql_source(facts: &NodeFacts<'_>, last: Option<&WsrepStatus>) -> SourceView {
    let probe: Option<&SqlObservation> = facts.probe;
    let error = probe.and_then(|probe| probe.error.as_ref());
    SourceView {
        kind: SourceKind::Sql,
        observed_at: probe
            .and_then(|probe| probe.status.as_ref())
            .map(|(at, _)| *at),
        stale: facts.fresh_answer().is_none(),
        error: error.map(|(_, error)| error.message.clone()),
        error_code: error.map(|(_, error)| error.kind.as_str().to_owned()),
        failing_since: probe.and_then(|probe| probe.failing_since),
        state: last.and_then(|status| status.local_state_comment.clone()),
        cluster_status: last.and_then(|status| status.cluster_status_text.clone()),
        seqno: last.and_then(|status| status.last_committed),
        phase: None,
    }
}

fn registry_source(facts: &NodeFacts<'_>, health: &RegistryHealth) -> SourceView {
    let registered = facts.registration.as_ref();
    let status = registered.map(|registered| registered.status);
    let recovered = registered
        .and_then(|registered| registration::recovered_position(&registered.observation.fields));
    SourceView {
        kind: SourceKind::Registry,
        observed_at: registered.and_then(|registered| registered.observation.last_put_at),
        stale: registered.is_none_or(|registered| !registered.fresh),
        error: (!health.reachable).then(|| {
            let why = health.error.as_deref().unwrap_or("no answer");
            format!("registry unreachable: {why}")
        }),
        error_code: None,
        failing_since: (!health.reachable).then_some(health.since),
        state: status.and_then(|status| status.local_state_comment.clone()),
        cluster_status: status.and_then(|status| status.cluster_status_text.clone()),
        seqno: status
            .and_then(|status| status.last_committed)
            .or(recovered.map(|position| position.seqno)),
        phase: registered
            .and_then(|registered| registered.observation.fields.get("phase"))
            .map(|phase| crate::observe::wsrep::truncate_text(phase)),
    }
}

/// The most advanced fresh position of each history: of Primary members, else of any node.
fn head_positions(views: &[NodeView]) -> Vec<Position> {
    let mut heads: Vec<Position> = Vec::new();
    let primary = |view: &&NodeView| view.cluster_status == Some(ClusterStatus::Primary);
    let passes: [Vec<&NodeView>; 2] = [
        views.iter().filter(primary).collect(),
        views.iter().collect(),
    ];
    let mut settled = 0;
    for pass in passes {
        for position in pass
            .iter()
            .filter(|view| view.position_fresh)
            .filter_map(|view| view.position.as_ref())
        {
            match heads
                .iter_mut()
                .enumerate()
                .find(|(_, head)| head.uuid == position.uuid)
            {
                Some((index, _)) if index < settled => {}
                Some((_, head)) => head.seqno = head.seqno.max(position.seqno),
                None => heads.push(position.clone()),
            }
        }
        settled = heads.len();
    }
    heads
}

fn behind(view: &NodeView, heads: &[Position]) -> Option<u64> {
    let position = view.position.as_ref().filter(|_| view.position_fresh)?;
    let head = heads.iter().find(|head| head.uuid == position.uuid)?;
    Some(head.seqno.saturating_sub(position.seqno))
}
