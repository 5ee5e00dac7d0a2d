//! What may happen next, and what follows.

use galera::access::Role;
use galera::recover::action::{self, Event, Next, StepResult, Verdict};
use stateright::Property;

use crate::cluster::{NODES, PARTITIONS};
use crate::console::{Local, Message, Model, Move, State, Stored, Weakness};
use crate::properties;
use crate::record::{self, Look};

/// How many changes of views fit between the last look and the arrival of a statement: Galera takes longer than the
/// connection lives to notice one loss and then another.
const CHANGES_IN_WINDOW: u8 = 1;

impl stateright::Model for Model {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            cluster: self.begin,
            actions: Vec::new(),
            ended: Vec::new(),
            sent: Vec::new(),
            begun: Vec::new(),
            lock: None,
            fence: 0,
            replicas: vec![Local::Idle; self.sizes.replicas],
            messages: Vec::new(),
            tick: 0,
            blindness: self.sizes.blindness,
            crashes: self.sizes.crashes,
        }]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        self.surroundings(state, moves);
        people(state, moves);
        for replica in 0..state.replicas.len() {
            self.replica(state, replica, moves);
        }
    }

    fn next_state(&self, last: &State, what: Move) -> Option<State> {
        let mut state = last.clone();
        self.happen(&mut state, what)?;
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

fn people(state: &State, moves: &mut Vec<Move>) {
    moves.push(Move::Request);
    for (place, record) in state.actions.iter().enumerate() {
        match record.state {
            action::State::Pending => {
                moves.extend([
                    Move::Approve(place, false),
                    Move::Approve(place, true),
                    Move::Cancel(place),
                ]);
            }
            action::State::Approved => moves.push(Move::Cancel(place)),
            _ => {}
        }
        if !record.state.is_final() {
            moves.push(Move::Expire(place));
        }
    }
}

impl Model {
    fn surroundings(&self, state: &State, moves: &mut Vec<Move>) {
        let cluster = &state.cluster;
        if cluster.changes < self.sizes.changes {
            moves.extend(
                PARTITIONS
                    .iter()
                    .filter(|part| **part != cluster.part)
                    .map(|part| Move::Divide(*part)),
            );
            moves.extend((0..self.sizes.mortal.min(NODES)).map(|node| {
                match cluster.up & 1 << node {
                    0 => Move::Start(node),
                    _ => Move::Kill(node),
                }
            }));
        }
        if state.blindness > 0 {
            let sets = [0b111, 0b110, 0b101, 0b011];
            moves.extend(
                sets.into_iter()
                    .filter(|set| *set != cluster.reachable)
                    .map(Move::Reach),
            );
        }
        if state.tick < self.sizes.ticks {
            moves.push(Move::Tick);
        }
        if state.lock.is_some() {
            moves.push(Move::LockEnds);
        }
        for place in 0..state.messages.len() {
            moves.extend([Move::Arrive(place), Move::Lose(place)]);
        }
    }

    fn replica(&self, state: &State, replica: usize, moves: &mut Vec<Move>) {
        let places = 0..state.actions.len();
        match state.replicas[replica] {
            Local::Idle => moves.push(Move::Lock(replica)),
            Local::Looked(..) => {
                moves.extend(places.clone().map(|place| Move::Begin(replica, place)));
                moves.extend(places.map(|place| Move::TakeOver(replica, place)));
            }
            Local::Executes(..) => moves.extend([Move::Connect(replica), Move::Observe(replica)]),
            Local::Connected(..) => moves.push(Move::Intend(replica)),
            Local::Armed(..) => moves.push(Move::Send(replica)),
            Local::Sent(..) => moves.extend([Move::Answer(replica), Move::Observe(replica)]),
        }
        if state.replicas[replica] != Local::Idle {
            moves.push(Move::GiveUp(replica));
            if state.crashes > 0 {
                moves.push(Move::Crash(replica));
            }
        }
    }

    /// Lets `what` happen; `None` when it cannot.
    fn happen(&self, state: &mut State, what: Move) -> Option<()> {
        match what {
            Move::Divide(part) => {
                state.cluster.part = part;
                state.cluster.regroup();
                self.close_connections(state);
            }
            Move::Kill(node) => {
                state.cluster.kill(node);
                self.close_connections(state);
            }
            Move::Start(node) => {
                state.cluster.start(node);
                self.close_connections(state);
            }
            Move::Reach(set) => {
                state.cluster.reachable = set;
                state.blindness -= 1;
            }
            Move::Tick => {
                state.tick += 1;
                self.close_connections(state);
            }
            Move::LockEnds => state.lock = None,
            Move::Arrive(place) => {
                let message = state.messages.remove(place);
                if state.cluster.reachable & 1 << message.node != 0 {
                    state.cluster.bootstrap(message.node);
                }
            }
            Move::Lose(place) => _ = state.messages.remove(place),
            Move::Request => self.request(state)?,
            Move::Approve(place, second) => {
                let by = record::person(if second { "eve" } else { "adam" }, Role::Approver);
                let digest = state.actions.get(place)?.plan.digest.clone();
                self.write(
                    state,
                    place,
                    &Event::Approve {
                        by: &by,
                        digest: &digest,
                        comment: None,
                    },
                )?;
            }
            Move::Cancel(place) => {
                let by = record::person("olga", Role::Operator);
                self.write(
                    state,
                    place,
                    &Event::Cancel {
                        by: &by,
                        comment: None,
                    },
                )?;
            }
            Move::Expire(place) => self.write(state, place, &Event::Tick)?,
            Move::Crash(replica) => {
                state.replicas[replica] = Local::Idle;
                state.crashes -= 1;
            }
            replicas => self.step(state, replicas)?,
        }
        Some(())
    }

    /// The database has closed what a paused sender left open, and a statement that took too long finds it closed.
    fn close_connections(&self, state: &mut State) {
        if self.weakness == Weakness::LateStatements {
            return;
        }
        let (tick, changes) = (state.tick, state.cluster.changes);
        state
            .messages
            .retain(|message| in_window(message.tick, message.changes, tick, changes));
    }

    fn request(&self, state: &mut State) -> Option<()> {
        let open = state.actions.iter().any(|record| !record.state.is_final());
        if open || state.actions.len() >= self.sizes.actions {
            return None;
        }
        let plan = Look::at(&state.cluster, state.tick).plan();
        let record =
            record::requested(state.actions.len(), &plan, self.sizes.approvals, state.tick)?;
        state.actions.push(Stored::new(record));
        state.ended.push(None);
        state.sent.push(0);
        state.begun.push(0);
        Some(())
    }

    /// Writes what `event` makes of a record: reading, `step` and the compared write are one move, because a write that
    /// lost its race changes nothing.
    fn write(&self, state: &mut State, place: usize, event: &Event<'_>) -> Option<()> {
        let record = state.actions.get(place)?;
        let limits = record::limits(self.sizes.approvals);
        let next = action::step(record, event, &limits, record::at(state.tick)).ok()?;
        state.actions[place] = Stored::new(record::plain(next));
        Some(())
    }

    /// The same, guarded by the lock as well.
    fn write_guarded(
        &self,
        state: &mut State,
        replica: usize,
        fence: u8,
        place: usize,
        event: &Event<'_>,
    ) -> Option<()> {
        if state.lock != Some((replica, fence)) {
            return None;
        }
        self.write(state, place, event)
    }

    fn step(&self, state: &mut State, what: Move) -> Option<()> {
        match what {
            Move::Lock(replica) => {
                let wanted = |record: &Stored| {
                    matches!(
                        record.state,
                        action::State::Approved | action::State::Executing
                    )
                };
                if state.lock.is_some()
                    || state.fence >= self.sizes.locks
                    || !state.actions.iter().any(wanted)
                {
                    return None;
                }
                state.fence += 1;
                state.lock = Some((replica, state.fence));
                let look = Look::at(&state.cluster, state.tick);
                state.replicas[replica] = Local::Looked(state.fence, look);
            }
            Move::Begin(replica, place) => self.begin(state, replica, place)?,
            Move::TakeOver(replica, place) => {
                let Local::Looked(fence, _) = state.replicas[replica] else {
                    return None;
                };
                let name = format!("r{replica}");
                let event = Event::TakeOver {
                    replica: &name,
                    fence: i64::from(fence),
                };
                self.write_guarded(state, replica, fence, place, &event)?;
                state.replicas[replica] = Local::Executes(fence, place);
            }
            Move::Connect(replica) => {
                let Local::Executes(fence, place) = state.replicas[replica] else {
                    return None;
                };
                let repeats = self.weakness == Weakness::Repeat
                    && state.actions[place].next() == Some(Next::Observe);
                if state.actions[place].next() != Some(Next::Do(0)) && !repeats {
                    return None;
                }
                state.replicas[replica] =
                    Local::Connected(fence, place, Look::at(&state.cluster, state.tick));
            }
            Move::Intend(replica) => self.intend(state, replica)?,
            Move::Send(replica) => self.send(state, replica)?,
            Move::Answer(replica) => self.answer(state, replica)?,
            Move::Observe(replica) => self.observe(state, replica)?,
            Move::GiveUp(replica) => give_up(state, replica)?,
            _ => return None,
        }
        Some(())
    }

    fn begin(&self, state: &mut State, replica: usize, place: usize) -> Option<()> {
        let Local::Looked(fence, look) = state.replicas[replica] else {
            return None;
        };
        let plan = match self.weakness {
            Weakness::NoSecondLook => state.actions.get(place)?.plan.clone(),
            _ => look.plan(),
        };
        let name = format!("r{replica}");
        let event = Event::Begin {
            by: None,
            replica: &name,
            fence: i64::from(fence),
            plan: &plan,
            off: None,
        };
        self.write_guarded(state, replica, fence, place, &event)?;
        if state.actions[place].state == action::State::Executing {
            state.begun[place] += 1;
            state.replicas[replica] = Local::Executes(fence, place);
        } else {
            release(state, replica);
        }
        Some(())
    }

    fn intend(&self, state: &mut State, replica: usize) -> Option<()> {
        let Local::Connected(fence, place, look) = state.replicas[replica] else {
            return None;
        };
        let digest = match self.weakness {
            Weakness::NoSecondLook => state.actions[place].plan.digest.clone(),
            _ => look.plan().digest,
        };
        let event = Event::Intend {
            fence: i64::from(fence),
            step: 0,
            digest: &digest,
            off: None,
        };
        let written = self.write_guarded(state, replica, fence, place, &event);
        if written.is_none() && self.weakness != Weakness::Repeat {
            return None;
        }
        if state.actions[place].state == action::State::Executing {
            state.replicas[replica] = Local::Armed(fence, place, look);
        } else {
            release(state, replica);
        }
        Some(())
    }

    /// Nobody asks etcd between intention and statement: whatever stops a late sender must be elsewhere.
    fn send(&self, state: &mut State, replica: usize) -> Option<()> {
        let Local::Armed(fence, place, look) = state.replicas[replica] else {
            return None;
        };
        let open = self.weakness == Weakness::LateStatements
            || in_window(look.tick, look.changes, state.tick, state.cluster.changes);
        if open {
            state.sent[place] += 1;
            state.messages.push(Message {
                action: place,
                node: record::executor(&state.actions[place])?,
                changes: look.changes,
                tick: look.tick,
            });
        }
        state.replicas[replica] = Local::Sent(fence, place);
        Some(())
    }

    fn answer(&self, state: &mut State, replica: usize) -> Option<()> {
        let Local::Sent(fence, place) = state.replicas[replica] else {
            return None;
        };
        if state.messages.iter().any(|message| message.action == place) {
            return None;
        }
        let result = StepResult::Done("OK".to_owned());
        let event = Event::Answered {
            fence: i64::from(fence),
            step: 0,
            result,
        };
        self.write_guarded(state, replica, fence, place, &event)?;
        state.replicas[replica] = Local::Executes(fence, place);
        Some(())
    }

    fn observe(&self, state: &mut State, replica: usize) -> Option<()> {
        let (Local::Executes(fence, place) | Local::Sent(fence, place)) = state.replicas[replica]
        else {
            return None;
        };
        let record = &state.actions[place];
        if record.next() != Some(Next::Observe) {
            return None;
        }
        let look = Look::at(&state.cluster, state.tick);
        let node = record::executor(record)?;
        let verdict = if record::proven(&look, node) {
            Verdict::Proven("Primary".to_owned())
        } else if record::contradicted(&look, node) {
            Verdict::Contradicted("Primary elsewhere".to_owned())
        } else {
            return None;
        };
        let event = Event::Observed {
            fence: i64::from(fence),
            verdict,
        };
        self.write_guarded(state, replica, fence, place, &event)?;
        release(state, replica);
        Some(())
    }
}

/// Whether a connection that was opened after a look still takes a statement.
fn in_window(tick: u8, changes: u8, now: u8, changed: u8) -> bool {
    tick == now && changed - changes <= CHANGES_IN_WINDOW
}

/// The replica is done: it gives the lock back if it still has it.
fn release(state: &mut State, replica: usize) {
    if state.lock.is_some_and(|(holder, _)| holder == replica) {
        state.lock = None;
    }
    state.replicas[replica] = Local::Idle;
}

/// A replica whose lock is gone or whose action ended finds that out at its next write. It may pause before: this move
/// need not happen.
fn give_up(state: &mut State, replica: usize) -> Option<()> {
    let (fence, place) = match state.replicas[replica] {
        Local::Idle => return None,
        Local::Looked(fence, _) => (fence, None),
        Local::Executes(fence, place)
        | Local::Connected(fence, place, _)
        | Local::Armed(fence, place, _)
        | Local::Sent(fence, place) => (fence, Some(place)),
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
