//! When two views show the same.

use super::{ClusterView, NodeView, SourceView, TransferView};

/// Which fields two views are compared by; their revisions and the times of observation never are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ComparedFields {
    StatesAndNumbers,
    /// Without what changes with every commit: sequence numbers, rates, queues.
    States,
}

impl ClusterView {
    /// Whether this view shows what `other` shows, apart from its revision and the times at which its sources reported.
    #[must_use]
    pub fn equals_apart_from_times(&self, other: &Self) -> bool {
        self.equals(other, ComparedFields::StatesAndNumbers)
    }

    /// Whether this view differs from `other` only in times and in what changes with every commit: sequence numbers,
    /// rates, queues.
    #[must_use]
    pub fn has_same_states(&self, other: &Self) -> bool {
        self.equals(other, ComparedFields::States)
    }

    fn equals(&self, other: &Self, compared: ComparedFields) -> bool {
        // Here and below without `..`: a new field does not compile until it is compared or left out.
        let Self {
            name,
            labels,
            revision: _,
            observed_at: _,
            verdict,
            expected_members,
            components,
            nodes,
            registry,
            quorum,
            arbitrators,
            last_transfer,
        } = self;
        *name == other.name
            && *labels == other.labels
            && *verdict == other.verdict
            && *expected_members == other.expected_members
            && *components == other.components
            && *registry == other.registry
            && *quorum == other.quorum
            && *arbitrators == other.arbitrators
            && *last_transfer == other.last_transfer
            && nodes.len() == other.nodes.len()
            && nodes
                .iter()
                .zip(&other.nodes)
                .all(|(node, other)| node.equals(other, compared))
    }
}

impl NodeView {
    fn equals(&self, other: &Self, compared: ComparedFields) -> bool {
        let numbers = compared == ComparedFields::StatesAndNumbers;
        // Whether there is a position, and of which history, is a state.
        let history = |node: &Self| node.position.as_ref().map(|position| position.uuid);
        let transfer_state = |node: &Self| {
            let transfer = node.transfer.as_ref();
            transfer.map(|transfer| (transfer.kind, transfer.role, transfer.state))
        };
        // Has every number in it.
        let transfer_text =
            |transfer: &Option<TransferView>| transfer.as_ref().map(|it| it.summary.clone());
        let Self {
            id,
            name,
            state,
            state_comment,
            cluster_status,
            position,
            position_fresh,
            behind,
            commit_rate,
            recent_rates,
            recv_queue,
            send_queue,
            flow_control_paused,
            ready,
            connected,
            segment,
            votes,
            cached_from,
            version,
            gcomm_uuid,
            evs_state,
            expected,
            registered,
            unconfirmed,
            names,
            findings,
            transfer,
            sources,
        } = self;
        *id == other.id
            && *state == other.state
            && *cluster_status == other.cluster_status
            && history(self) == history(other)
            && *position_fresh == other.position_fresh
            && *ready == other.ready
            && *connected == other.connected
            && *segment == other.segment
            && *votes == other.votes
            && *expected == other.expected
            && *registered == other.registered
            && *unconfirmed == other.unconfirmed
            && *name == other.name
            && *state_comment == other.state_comment
            && *version == other.version
            && *gcomm_uuid == other.gcomm_uuid
            && *evs_state == other.evs_state
            && *names == other.names
            && *findings == other.findings
            && transfer_state(self) == transfer_state(other)
            && sources.len() == other.sources.len()
            && sources
                .iter()
                .zip(&other.sources)
                .all(|(source, other)| source.equals(other, compared))
            && (!numbers
                || *position == other.position
                    && *behind == other.behind
                    && *cached_from == other.cached_from
                    && *commit_rate == other.commit_rate
                    && *recv_queue == other.recv_queue
                    && *send_queue == other.send_queue
                    && *flow_control_paused == other.flow_control_paused
                    && *recent_rates == other.recent_rates
                    && transfer_text(transfer) == transfer_text(&other.transfer))
    }
}

impl SourceView {
    fn equals(&self, other: &Self, compared: ComparedFields) -> bool {
        let Self {
            kind,
            observed_at: _,
            stale,
            error,
            error_code,
            failing_since,
            state,
            cluster_status,
            seqno,
            phase,
        } = self;
        *kind == other.kind
            && *stale == other.stale
            && *error == other.error
            && *error_code == other.error_code
            && *failing_since == other.failing_since
            && *state == other.state
            && *cluster_status == other.cluster_status
            && *phase == other.phase
            && (compared == ComparedFields::States || *seqno == other.seqno)
    }
}
