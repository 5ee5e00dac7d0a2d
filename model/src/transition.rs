//! Which transitions are possible, and their effects.

use galera::ReplicaId;
use galera::access::Role;
use galera::recover::action::{self, ActionEvent, NextStep, ObservedOutcome, StepResult};
use stateright::Property;

use crate::cluster::{NODES, PARTITIONS};
use crate::properties;
use crate::record::{self, VisibleCluster};
use crate::state::{
    HashedAction, InjectedFlaw, ModelState, PendingStatement, RecoveryModel, ReplicaState,
    Transition,
};

/// How many view changes fit between the last observation and the arrival of a statement: Galera takes longer to
/// detect one loss after another than the connection lasts.
const CHANGES_IN_WINDOW: u8 = 1;

impl stateright::Model for RecoveryModel {
    type State = ModelState;
    type Action = Transition;

    fn init_states(&self) -> Vec<ModelState> {
        vec![ModelState {
            cluster: self.initial,
            actions: Vec::new(),
            ended: Vec::new(),
            sent: Vec::new(),
            begun: Vec::new(),
            lock: None,
            fence: 0,
            replicas: vec![ReplicaState::Idle; self.bounds.replicas],
            statements: Vec::new(),
            tick: 0,
            reachability_changes: self.bounds.reachability_changes,
            crashes: self.bounds.crashes,
        }]
    }

    fn actions(&self, state: &ModelState, moves: &mut Vec<Transition>) {
        self.environment_transitions(state, moves);
        operator_transitions(state, moves);
        for replica in 0..state.replicas.len() {
            self.replica_transitions(state, replica, moves);
        }
    }

    fn next_state(&self, last: &ModelState, transition: Transition) -> Option<ModelState> {
        let mut state = last.clone();
        self.apply(&mut state, transition)?;
        for (record, ended) in state.actions.iter().zip(&mut state.ended) {
            if record.state.is_final() {
                ended.get_or_insert(record.state);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

fn operator_transitions(state: &ModelState, moves: &mut Vec<Transition>) {
    moves.push(Transition::Request);
    for (place, record) in state.actions.iter().enumerate() {
        match record.state {
            action::ActionState::Pending => {
                moves.extend([
                    Transition::Approve(place, false),
                    Transition::Approve(place, true),
                    Transition::Cancel(place),
                ]);
            }
            action::ActionState::Approved => moves.push(Transition::Cancel(place)),
            _ => {}
        }
        if !record.state.is_final() {
            moves.push(Transition::Expire(place));
        }
    }
}

impl RecoveryModel {
    fn environment_transitions(&self, state: &ModelState, moves: &mut Vec<Transition>) {
        let cluster = &state.cluster;
        if cluster.view_changes < self.bounds.view_changes {
            moves.extend(
                PARTITIONS
                    .iter()
                    .filter(|part| **part != cluster.partition)
                    .map(|part| Transition::Partition(*part)),
            );
            moves.extend((0..self.bounds.mortal_nodes.min(NODES)).map(|node| {
                match cluster.running & 1 << node {
                    0 => Transition::Start(node),
                    _ => Transition::Kill(node),
                }
            }));
        }
        if state.reachability_changes > 0 {
            let sets = [0b111, 0b110, 0b101, 0b011];
            moves.extend(
                sets.into_iter()
                    .filter(|set| *set != cluster.reachable)
                    .map(Transition::SetReachable),
            );
        }
        if state.tick < self.bounds.ticks {
            moves.push(Transition::Tick);
        }
        if state.lock.is_some() {
            moves.push(Transition::LockExpires);
        }
        for place in 0..state.statements.len() {
            moves.extend([Transition::Arrive(place), Transition::Lose(place)]);
        }
    }

    fn replica_transitions(&self, state: &ModelState, replica: usize, moves: &mut Vec<Transition>) {
        let places = 0..state.actions.len();
        match state.replicas[replica] {
            ReplicaState::Idle => moves.push(Transition::Lock(replica)),
            ReplicaState::Locked(..) => {
                moves.extend(
                    places
                        .clone()
                        .map(|place| Transition::Begin(replica, place)),
                );
                moves.extend(places.map(|place| Transition::TakeOver(replica, place)));
            }
            ReplicaState::Executing(..) => {
                moves.extend([Transition::Connect(replica), Transition::Observe(replica)])
            }
            ReplicaState::Connected(..) => moves.push(Transition::Intend(replica)),
            ReplicaState::Intended(..) => moves.push(Transition::Send(replica)),
            ReplicaState::Sent(..) => {
                moves.extend([Transition::Answer(replica), Transition::Observe(replica)])
            }
        }
        if state.replicas[replica] != ReplicaState::Idle {
            moves.push(Transition::GiveUp(replica));
            if state.crashes > 0 {
                moves.push(Transition::Crash(replica));
            }
        }
    }

    /// Applies a transition; `None` if it is not possible.
    fn apply(&self, state: &mut ModelState, transition: Transition) -> Option<()> {
        match transition {
            Transition::Partition(part) => {
                state.cluster.partition = part;
                state.cluster.update_views();
                self.close_connections(state);
            }
            Transition::Kill(node) => {
                state.cluster.kill(node);
                self.close_connections(state);
            }
            Transition::Start(node) => {
                state.cluster.start(node);
                self.close_connections(state);
            }
            Transition::SetReachable(set) => {
                state.cluster.reachable = set;
                state.reachability_changes -= 1;
            }
            Transition::Tick => {
                state.tick += 1;
                self.close_connections(state);
            }
            Transition::LockExpires => state.lock = None,
            Transition::Arrive(place) => {
                let message = state.statements.remove(place);
                if state.cluster.reachable & 1 << message.node != 0 {
                    state.cluster.bootstrap(message.node);
                }
            }
            Transition::Lose(place) => _ = state.statements.remove(place),
            Transition::Request => self.request(state)?,
            Transition::Approve(place, second) => {
                let by = record::person(if second { "eve" } else { "adam" }, Role::Approver);
                let digest = state.actions.get(place)?.plan.digest.clone();
                self.write(
                    state,
                    place,
                    &ActionEvent::Approve {
                        by: &by,
                        digest: &digest,
                        comment: None,
                    },
                )?;
            }
            Transition::Cancel(place) => {
                let by = record::person("olga", Role::Operator);
                self.write(
                    state,
                    place,
                    &ActionEvent::Cancel {
                        by: &by,
                        comment: None,
                    },
                )?;
            }
            Transition::Expire(place) => self.write(state, place, &ActionEvent::Tick)?,
            Transition::Crash(replica) => {
                state.replicas[replica] = ReplicaState::Idle;
                state.crashes -= 1;
            }
            replicas => self.replica_step(state, replicas)?,
        }
        Some(())
    }

    /// The server closes connections that a paused sender left open; a late statement finds its connection closed.
    fn close_connections(&self, state: &mut ModelState) {
        if self.flaw == InjectedFlaw::LateStatements {
            return;
        }
        let (tick, changes) = (state.tick, state.cluster.view_changes);
        state
            .statements
            .retain(|message| in_window(message.tick, message.view_changes, tick, changes));
    }

    fn request(&self, state: &mut ModelState) -> Option<()> {
        let open = state.actions.iter().any(|record| !record.state.is_final());
        if open || state.actions.len() >= self.bounds.actions {
            return None;
        }
        let plan = VisibleCluster::at(&state.cluster, state.tick).plan();
        let record = record::request_plan(
            state.actions.len(),
            &plan,
            self.bounds.approvals,
            state.tick,
        )?;
        state.actions.push(HashedAction::new(record));
        state.ended.push(None);
        state.sent.push(0);
        state.begun.push(0);
        Some(())
    }

    /// Applies `event` to a record. Reading, `step` and the compare-and-swap are one transition, because a write that fails
    /// its comparison changes nothing.
    fn write(&self, state: &mut ModelState, place: usize, event: &ActionEvent<'_>) -> Option<()> {
        let record = state.actions.get(place)?;
        let limits = record::limits(self.bounds.approvals);
        let next = action::step(record, event, &limits, record::at(state.tick)).ok()?;
        state.actions[place] = HashedAction::new(record::normalized(next));
        Some(())
    }

    /// The same, also guarded by the lock.
    fn write_guarded(
        &self,
        state: &mut ModelState,
        replica: usize,
        fence: u8,
        place: usize,
        event: &ActionEvent<'_>,
    ) -> Option<()> {
        if state.lock != Some((replica, fence)) {
            return None;
        }
        self.write(state, place, event)
    }

    fn replica_step(&self, state: &mut ModelState, transition: Transition) -> Option<()> {
        match transition {
            Transition::Lock(replica) => {
                let wanted = |record: &HashedAction| {
                    matches!(
                        record.state,
                        action::ActionState::Approved | action::ActionState::Executing
                    )
                };
                if state.lock.is_some()
                    || state.fence >= self.bounds.locks
                    || !state.actions.iter().any(wanted)
                {
                    return None;
                }
                state.fence += 1;
                state.lock = Some((replica, state.fence));
                let observed = VisibleCluster::at(&state.cluster, state.tick);
                state.replicas[replica] = ReplicaState::Locked(state.fence, observed);
            }
            Transition::Begin(replica, place) => self.begin(state, replica, place)?,
            Transition::TakeOver(replica, place) => {
                let ReplicaState::Locked(fence, _) = state.replicas[replica] else {
                    return None;
                };
                let name = ReplicaId::new(format!("r{replica}"));
                let event = ActionEvent::TakeOver {
                    replica: &name,
                    fence: i64::from(fence),
                };
                self.write_guarded(state, replica, fence, place, &event)?;
                state.replicas[replica] = ReplicaState::Executing(fence, place);
            }
            Transition::Connect(replica) => {
                let ReplicaState::Executing(fence, place) = state.replicas[replica] else {
                    return None;
                };
                let repeats = self.flaw == InjectedFlaw::RepeatedStep
                    && state.actions[place].next_step() == Some(NextStep::Observe);
                if state.actions[place].next_step() != Some(NextStep::Execute(0)) && !repeats {
                    return None;
                }
                state.replicas[replica] = ReplicaState::Connected(
                    fence,
                    place,
                    VisibleCluster::at(&state.cluster, state.tick),
                );
            }
            Transition::Intend(replica) => self.intend(state, replica)?,
            Transition::Send(replica) => self.send(state, replica)?,
            Transition::Answer(replica) => self.answer(state, replica)?,
            Transition::Observe(replica) => self.observe(state, replica)?,
            Transition::GiveUp(replica) => give_up(state, replica)?,
            _ => return None,
        }
        Some(())
    }

    fn begin(&self, state: &mut ModelState, replica: usize, place: usize) -> Option<()> {
        let ReplicaState::Locked(fence, observed) = state.replicas[replica] else {
            return None;
        };
        let plan = match self.flaw {
            InjectedFlaw::NoRecheck => state.actions.get(place)?.plan.clone(),
            _ => observed.plan(),
        };
        let name = ReplicaId::new(format!("r{replica}"));
        let event = ActionEvent::Begin {
            by: None,
            replica: &name,
            fence: i64::from(fence),
            plan: &plan,
            accounts: &record::ACCOUNTS,
            recovery_pause: None,
        };
        self.write_guarded(state, replica, fence, place, &event)?;
        if state.actions[place].state == action::ActionState::Executing {
            state.begun[place] += 1;
            state.replicas[replica] = ReplicaState::Executing(fence, place);
        } else {
            release(state, replica);
        }
        Some(())
    }

    fn intend(&self, state: &mut ModelState, replica: usize) -> Option<()> {
        let ReplicaState::Connected(fence, place, observed) = state.replicas[replica] else {
            return None;
        };
        let plan = match self.flaw {
            InjectedFlaw::NoRecheck => state.actions[place].plan.clone(),
            _ => observed.plan(),
        };
        let event = ActionEvent::Intend {
            fence: i64::from(fence),
            step: 0,
            plan: &plan,
            accounts: &record::ACCOUNTS,
            recovery_pause: None,
        };
        let written = self.write_guarded(state, replica, fence, place, &event);
        if written.is_none() && self.flaw != InjectedFlaw::RepeatedStep {
            return None;
        }
        if state.actions[place].state == action::ActionState::Executing {
            state.replicas[replica] = ReplicaState::Intended(fence, place, observed);
        } else {
            release(state, replica);
        }
        Some(())
    }

    /// etcd is not read between intention and statement, so a late sender must be stopped by other means.
    fn send(&self, state: &mut ModelState, replica: usize) -> Option<()> {
        let ReplicaState::Intended(fence, place, observed) = state.replicas[replica] else {
            return None;
        };
        let open = self.flaw == InjectedFlaw::LateStatements
            || in_window(
                observed.tick,
                observed.view_changes,
                state.tick,
                state.cluster.view_changes,
            );
        if open {
            state.sent[place] += 1;
            state.statements.push(PendingStatement {
                action: place,
                node: record::executor(&state.actions[place])?,
                view_changes: observed.view_changes,
                tick: observed.tick,
            });
        }
        state.replicas[replica] = ReplicaState::Sent(fence, place);
        Some(())
    }

    fn answer(&self, state: &mut ModelState, replica: usize) -> Option<()> {
        let ReplicaState::Sent(fence, place) = state.replicas[replica] else {
            return None;
        };
        if state
            .statements
            .iter()
            .any(|message| message.action == place)
        {
            return None;
        }
        let result = StepResult::Done("OK".to_owned());
        let event = ActionEvent::Answered {
            fence: i64::from(fence),
            step: 0,
            result,
        };
        self.write_guarded(state, replica, fence, place, &event)?;
        state.replicas[replica] = ReplicaState::Executing(fence, place);
        Some(())
    }

    fn observe(&self, state: &mut ModelState, replica: usize) -> Option<()> {
        let (ReplicaState::Executing(fence, place) | ReplicaState::Sent(fence, place)) =
            state.replicas[replica]
        else {
            return None;
        };
        let record = &state.actions[place];
        if record.next_step() != Some(NextStep::Observe) {
            return None;
        }
        let observed = VisibleCluster::at(&state.cluster, state.tick);
        let node = record::executor(record)?;
        let outcome = if record::is_proven(&observed, node) {
            ObservedOutcome::Proven("Primary".to_owned())
        } else if record::is_contradicted(&observed, node) {
            ObservedOutcome::Contradicted("Primary elsewhere".to_owned())
        } else {
            return None;
        };
        let event = ActionEvent::Observed {
            fence: i64::from(fence),
            outcome,
        };
        self.write_guarded(state, replica, fence, place, &event)?;
        release(state, replica);
        Some(())
    }
}

/// Whether a connection opened after an observation still accepts a statement.
fn in_window(tick: u8, changes: u8, now: u8, changed: u8) -> bool {
    tick == now && changed - changes <= CHANGES_IN_WINDOW
}

/// The replica is done and releases the lock if it still holds it.
fn release(state: &mut ModelState, replica: usize) {
    if state.lock.is_some_and(|(holder, _)| holder == replica) {
        state.lock = None;
    }
    state.replicas[replica] = ReplicaState::Idle;
}

/// A replica whose lock is lost or whose action has ended finds out at its next write. It may pause before that: this
/// transition is optional.
fn give_up(state: &mut ModelState, replica: usize) -> Option<()> {
    let (fence, place) = match state.replicas[replica] {
        ReplicaState::Idle => return None,
        ReplicaState::Locked(fence, _) => (fence, None),
        ReplicaState::Executing(fence, place)
        | ReplicaState::Connected(fence, place, _)
        | ReplicaState::Intended(fence, place, _)
        | ReplicaState::Sent(fence, place) => (fence, Some(place)),
    };
    let lost = state.lock != Some((replica, fence));
    let over = match place {
        Some(place) => state.actions[place].state.is_final(),
        None => state.actions.iter().all(|record| record.state.is_final()),
    };
    if !lost && !over {
        return None;
    }
    release(state, replica);
    Some(())
}
