//! What used the address of a member last (I34, I43): a closed port shows a stop only of that.

use galera::judge::known_positions::{KnownPositions, PositionCorrections, PositionReset};
use galera::observe::address_use::AddressUse;
use galera::observe::registration::NO_POSITION;
use galera::view::{ReasonCode, VerdictState};
use proptest::prelude::*;

use crate::fixture::{FakeServer, FoldFixture, HISTORY, at, id, reason, refused, timed_out};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const ADDRESSES: [&str; 3] = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];

/// What a console observes, with what it remembers from before.
#[derive(Clone, Default)]
struct ConsoleMemory {
    known: KnownPositions,
}

impl ConsoleMemory {
    /// Observes `fixture` and returns it with the memory that its view rests on.
    fn observe(&mut self, mut fixture: FoldFixture) -> FoldFixture {
        fixture.evidence.first_view = false;
        fixture.evidence.last_primary_members = MEMBERS.iter().map(|node| id(node)).collect();
        fixture
            .evidence
            .address_uses
            .clone_from(&self.known.address_uses);
        self.known
            .update(&fixture.evidence, at(fixture.now), &fixture.settings);
        fixture
    }

    fn verdict(&mut self, fixture: FoldFixture) -> VerdictState {
        self.observe(fixture).verdict()
    }

    /// Another process reads what is stored.
    fn restart(&mut self) {
        let stored = serde_json::to_vec(&self.known).unwrap();
        self.known = serde_json::from_slice(&stored).unwrap();
    }

    fn after(steps: impl IntoIterator<Item = FoldFixture>) -> Self {
        let mut console = Self::default();
        for step in steps {
            console.observe(step);
        }
        console
    }
}

fn registered(data: &str) -> String {
    format!(r#"{{"id":"{data}"}}"#)
}

/// `data` run as a member of a Primary component.
fn runs(fixture: FoldFixture, index: usize, registration: &str, data: &str) -> FoldFixture {
    let server = FakeServer::synced(&format!("db{}", index + 1)).view(&ADDRESSES, index);
    let fields = [
        ("phase", "running"),
        ("registered", registration),
        ("data_id", data),
        ("wsrep_local_state_comment", "Synced"),
        ("wsrep_cluster_status", "Primary"),
    ];
    fixture
        .answers(MEMBERS[index], server)
        .registered(MEMBERS[index], 9.0, &fields)
}

/// An agent waits on `data`, which have no position, behind a closed port.
fn waits_empty(fixture: FoldFixture, node: &str, registration: &str, data: &str) -> FoldFixture {
    waits(fixture, node, registration, data, NO_POSITION)
}

/// An agent waits on `data` behind a closed port.
fn waits(
    fixture: FoldFixture,
    node: &str,
    registration: &str,
    data: &str,
    position: &str,
) -> FoldFixture {
    let mut fields = vec![
        ("phase", "waiting"),
        ("recovered_position", position),
        ("data_id", data),
    ];
    if !registration.is_empty() {
        fields.push(("registered", registration));
    }
    fixture
        .fails(node, 4.0, refused())
        .registered(node, 9.0, &fields)
}

/// Nothing listens, and the lease has ended: only the durable registration is left.
fn closed(fixture: FoldFixture, node: &str, registration: &str) -> FoldFixture {
    let fields = [("registered", registration)];
    let mut fixture = fixture
        .fails(node, 4.0, refused())
        .registered(node, -60.0, &fields);
    let mut seen = fixture.evidence.registrations[&id(node)].clone();
    (seen.leased, seen.last_put_at, seen.durable) = (false, None, true);
    fixture.evidence.registrations.insert(id(node), seen);
    fixture
}

fn all_run() -> FoldFixture {
    let fixture = FoldFixture::expecting(&MEMBERS);
    (0..3).fold(fixture, |fixture, index| {
        let data = format!("d{}", index + 1);
        runs(fixture, index, &registered(&data), &data)
    })
}

/// db1 answers without a Primary component.
fn survivor() -> FoldFixture {
    FoldFixture::expecting(&MEMBERS).answers(MEMBERS[0], FakeServer::non_primary("db1"))
}

/// Empty containers wait under the addresses of members that run on elsewhere.
fn containers() -> FoldFixture {
    let fixture = waits_empty(survivor(), MEMBERS[1], &registered("d2"), "new2");
    waits_empty(fixture, MEMBERS[2], &registered("d3"), "new3")
}

fn ports_closed() -> FoldFixture {
    let fixture = closed(survivor(), MEMBERS[1], &registered("d2"));
    closed(fixture, MEMBERS[2], &registered("d3"))
}

#[test]
fn i43_the_closed_port_of_other_data_does_not_show_that_the_member_stopped() {
    let mut killed = ConsoleMemory::after([all_run()]);
    assert_eq!(killed.verdict(ports_closed()), VerdictState::NoPrimary);

    let mut console = ConsoleMemory::after([all_run(), containers()]);
    let ended = console.observe(ports_closed());
    assert_eq!(ended.verdict(), VerdictState::Unknown);
    let view = ended.view();
    let summary = &reason(&view, ReasonCode::NoPrimaryInSight).unwrap().message;
    assert!(
        summary.contains("the former db2 (10.0.0.2) and the former db3 (10.0.0.3)")
            || summary.contains("the former 10.0.0.2 and the former 10.0.0.3"),
        "{summary}"
    );
    let words = "Other data than those of 10.0.0.2 have used its address since it was last seen there, so a closed port does not \
                 show that 10.0.0.2 has stopped; it may still be serving, unreachable from the console: start 10.0.0.2 with its former data, or find out \
                 whether they are in use.";
    let named = view.verdict.reasons.iter();
    assert!(
        named.clone().any(|reason| reason.message == words),
        "{:#?}",
        named.collect::<Vec<_>>()
    );
}

#[test]
fn i43_nor_does_it_where_no_member_answers() {
    let all_closed = || {
        MEMBERS.iter().enumerate().fold(
            FoldFixture::expecting(&MEMBERS),
            |fixture, (index, node)| closed(fixture, node, &registered(&format!("d{}", index + 1))),
        )
    };
    assert_eq!(
        ConsoleMemory::after([all_run()]).verdict(all_closed()),
        VerdictState::Down
    );
    let mut console = ConsoleMemory::after([all_run(), containers()]);
    assert_eq!(console.verdict(all_closed()), VerdictState::Unknown);
}

/// A visible majority proves that the rest is not Primary, whatever used its addresses.
#[test]
fn i43_a_former_minority_is_outvoted() {
    let pair = || {
        let server = |name: &str, index| FakeServer::non_primary(name).view(&ADDRESSES[..2], index);
        FoldFixture::expecting(&MEMBERS)
            .answers(MEMBERS[0], server("db1", 0))
            .answers(MEMBERS[1], server("db2", 1))
    };
    let waiting = waits_empty(pair(), MEMBERS[2], &registered("d3"), "new3");
    let mut console = ConsoleMemory::after([all_run(), waiting]);
    let ended = closed(pair(), MEMBERS[2], &registered("d3"));
    assert_eq!(console.verdict(ended), VerdictState::NoPrimary);
}

#[test]
fn i43_a_restart_of_the_console_forgets_no_use() {
    let mut console = ConsoleMemory::after([all_run(), containers()]);
    console.restart();
    assert_eq!(console.verdict(ports_closed()), VerdictState::Unknown);
    // A record of an earlier version names no use.
    let before: KnownPositions = serde_json::from_str("{}").unwrap();
    let mut console = ConsoleMemory { known: before };
    assert_eq!(console.verdict(ports_closed()), VerdictState::NoPrimary);
    assert_eq!(console.verdict(containers()), VerdictState::Unknown);
    assert_eq!(console.verdict(ports_closed()), VerdictState::Unknown);
}

#[test]
fn i43_a_registration_that_expired_or_was_lost_with_etcd_ends_no_use() {
    let mut console = ConsoleMemory::after([all_run(), containers()]);
    let without_keys =
        survivor()
            .fails(MEMBERS[1], 4.0, refused())
            .fails(MEMBERS[2], 4.0, refused());
    assert_eq!(
        console.verdict(without_keys.clone()),
        VerdictState::Unknown,
        "etcd lost every key"
    );
    assert_eq!(
        console.verdict(ports_closed().registry_lost(8.0)),
        VerdictState::Unknown,
        "etcd restarts"
    );
    // The containers came after etcd had lost every key: nothing is registered at their addresses.
    let unregistered = waits_empty(survivor(), MEMBERS[1], "", "new2");
    let unregistered = waits_empty(unregistered, MEMBERS[2], "", "new3");
    let mut console = ConsoleMemory::after([all_run(), unregistered]);
    assert_eq!(console.verdict(without_keys), VerdictState::Unknown);
}

/// etcd was restored from a backup, and a container has the volume that was registered then.
#[test]
fn i43_registered_data_that_are_older_than_the_last_primary_view_are_not_the_member() {
    let old = || {
        let recovered = format!("{HISTORY}:7");
        let fixture = waits(
            survivor(),
            MEMBERS[1],
            &registered("old2"),
            "old2",
            &recovered,
        );
        waits(fixture, MEMBERS[2], &registered("old3"), "old3", &recovered)
    };
    let mut fresh = ConsoleMemory::default();
    assert_eq!(fresh.verdict(old()), VerdictState::NoPrimary);
    let mut console = ConsoleMemory::after([all_run()]);
    assert_eq!(console.verdict(old()), VerdictState::Unknown);
    let ended = closed(survivor(), MEMBERS[1], &registered("old2"));
    let ended = closed(ended, MEMBERS[2], &registered("old3"));
    assert_eq!(console.verdict(ended), VerdictState::Unknown);
}

/// The members themselves have not replaced the registration of their predecessors yet.
#[test]
fn i43_members_are_the_data_of_the_last_primary_view_whatever_is_registered() {
    let newer = (0..3).fold(FoldFixture::expecting(&MEMBERS), |fixture, index| {
        runs(
            fixture,
            index,
            &registered("old"),
            &format!("d{}", index + 1),
        )
    });
    let mut console = ConsoleMemory::after([newer]);
    let killed = closed(survivor(), MEMBERS[1], &registered("old"));
    let killed = closed(killed, MEMBERS[2], &registered("old"));
    assert_eq!(console.verdict(killed), VerdictState::NoPrimary);
}

#[test]
fn i43_a_use_ends_when_the_member_is_seen_again_or_the_new_data_become_one() {
    let recovered = format!("{HISTORY}:2881");
    let mut console = ConsoleMemory::after([all_run(), containers(), ports_closed()]);
    let returned = waits(survivor(), MEMBERS[1], &registered("d2"), "d2", &recovered);
    let returned = waits(returned, MEMBERS[2], &registered("d3"), "d3", &recovered);
    assert_eq!(console.verdict(returned), VerdictState::NoPrimary);
    assert_eq!(console.verdict(ports_closed()), VerdictState::NoPrimary);

    let mut console = ConsoleMemory::after([all_run(), containers()]);
    let accepted = (0..3).fold(FoldFixture::expecting(&MEMBERS), |fixture, index| {
        let data = ["d1", "new2", "new3"][index];
        runs(fixture, index, &registered(data), data)
    });
    assert_eq!(console.verdict(accepted), VerdictState::Healthy);
    let ended = closed(survivor(), MEMBERS[1], &registered("new2"));
    let ended = closed(ended, MEMBERS[2], &registered("new3"));
    assert_eq!(console.verdict(ended), VerdictState::NoPrimary);
}

/// Whatever used the address of a member that left in order, its vote went to the others.
#[test]
fn i43_a_recorded_clean_stop_is_of_the_data_that_were_the_member() {
    let stop = |data: &str| {
        format!(
            r#"{{"id":"{data}","stopped":{{"position":{{"uuid":"{HISTORY}","seqno":2881}},"at":null}}}}"#
        )
    };
    let ended = |data: [&str; 2]| {
        let fixture = closed(survivor(), MEMBERS[1], &stop(data[0]));
        closed(fixture, MEMBERS[2], &stop(data[1]))
    };
    let mut console = ConsoleMemory::after([all_run(), containers()]);
    assert_eq!(
        console.clone().verdict(ended(["d2", "d3"])),
        VerdictState::NoPrimary
    );
    // Restored from a backup: of data that were replaced since.
    assert_eq!(
        console.verdict(ended(["old2", "old3"])),
        VerdictState::Unknown
    );
}

#[test]
fn i43_members_that_exchanged_addresses_are_not_missing() {
    let recovered = format!("{HISTORY}:2881");
    let mut console = ConsoleMemory::after([all_run()]);
    // Before the agents have exchanged the registrations, both have other data than those registered.
    let arrived = waits(survivor(), MEMBERS[1], &registered("d2"), "d3", &recovered);
    let arrived = waits(arrived, MEMBERS[2], &registered("d3"), "d2", &recovered);
    assert_eq!(console.verdict(arrived), VerdictState::Unknown);
    let exchanged = waits(survivor(), MEMBERS[1], &registered("d3"), "d3", &recovered);
    let exchanged = waits(exchanged, MEMBERS[2], &registered("d2"), "d2", &recovered);
    assert_eq!(console.verdict(exchanged), VerdictState::NoPrimary);
    let ended = closed(survivor(), MEMBERS[1], &registered("d3"));
    let ended = closed(ended, MEMBERS[2], &registered("d2"));
    assert_eq!(console.verdict(ended), VerdictState::NoPrimary);
    // Only one of them has arrived; the other one may run elsewhere.
    let mut console = ConsoleMemory::after([all_run()]);
    let one = waits(survivor(), MEMBERS[1], &registered("d3"), "d3", &recovered);
    let one = closed(one, MEMBERS[2], &registered("d2"));
    console.observe(one);
    let silent =
        closed(survivor(), MEMBERS[1], &registered("d3")).fails(MEMBERS[2], 4.0, timed_out());
    assert_eq!(console.verdict(silent), VerdictState::Unknown);
}

/// A client of etcd that is no member claims that the member's data are elsewhere.
#[test]
fn i44_an_unconfirmed_node_relocates_no_data() {
    let mut console = ConsoleMemory::after([all_run()]);
    let old = waits(
        survivor(),
        MEMBERS[1],
        &registered("old2"),
        "old2",
        &format!("{HISTORY}:7"),
    );
    let old = closed(old, MEMBERS[2], &registered("d3")).fails(MEMBERS[2], 4.0, timed_out());
    assert_eq!(console.clone().verdict(old.clone()), VerdictState::Unknown);
    let fields = [
        ("phase", "running"),
        ("registered", r#"{"id":"d2"}"#),
        ("data_id", "d2"),
    ];
    let forged = old.registered("10.6.6.6", 9.0, &fields);
    assert_eq!(console.verdict(forged), VerdictState::Unknown);
    let used = &console.known.address_uses;
    assert!(!used.contains_key(&id("10.6.6.6")), "{used:?}");
    assert_eq!(used[&id(MEMBERS[1])].other.as_deref(), Some("old2"));
}

#[test]
fn absurd_identities_are_not_stored() {
    let long = "x".repeat(100_000);
    for data in ["", "../../founder", "\u{0}\u{202e}", long.as_str()] {
        let mut console = ConsoleMemory::after([all_run()]);
        let fixture = waits_empty(survivor(), MEMBERS[1], &registered("d2"), data);
        let fixture = waits_empty(fixture, MEMBERS[2], &registered("d3"), data);
        console.observe(fixture);
        let used = &console.known.address_uses[&id(MEMBERS[1])];
        assert_eq!(used.other.as_deref(), Some(""), "{data:.20}");
        assert_eq!(used.member.as_deref(), Some("d2"));
        assert_eq!(console.verdict(ports_closed()), VerdictState::Unknown);
    }
}

/// The clock of the replica that saw the members was an hour ahead.
#[test]
fn i43_of_two_replicas_the_later_one_counts_whatever_their_clocks() {
    let mut ahead = ConsoleMemory::after([all_run()]);
    for used in ahead.known.address_uses.values_mut() {
        used.at = at(3_600.0);
    }
    let mut console = ConsoleMemory::default();
    console.known.merge(&ahead.known);
    console.observe(containers());
    console.known.merge(&ahead.known);
    assert_eq!(console.verdict(ports_closed()), VerdictState::Unknown);
    ahead.known.merge(&console.known);
    assert_eq!(ahead.verdict(ports_closed()), VerdictState::Unknown);
}

#[test]
fn what_is_forgotten_of_a_node_includes_the_use_of_its_address() {
    let mut console = ConsoleMemory::after([all_run(), containers()]);
    let reset = PositionReset {
        histories: Default::default(),
        nodes: [id(MEMBERS[1])].into(),
    };
    let until = console.known.last_seen(&reset).unwrap();
    let before = console.known.clone();
    let mut corrections = PositionCorrections::default();
    corrections.add(&reset, until);
    console.known.correct(&corrections);
    console.known.merge(&before);
    let known: Vec<_> = console.known.address_uses.keys().cloned().collect();
    assert_eq!(known, [id(MEMBERS[0]), id(MEMBERS[2])]);
}

/// One thing that happens at the addresses of n2 and n3, or to the consoles.
#[derive(Clone, Copy, Debug)]
enum MemoryEvent {
    Members,
    Containers,
    Closed,
    Restart,
    /// A replica that was paused since the beginning continues, and both share what they know.
    Merge,
}

proptest! {
    /// Closed ports show a stop exactly where the members were there last.
    #[test]
    fn i43_closed_ports_are_of_what_was_there_last(
        events in prop::collection::vec(
            prop::sample::select(vec![
                MemoryEvent::Members,
                MemoryEvent::Containers,
                MemoryEvent::Closed,
                MemoryEvent::Restart,
                MemoryEvent::Merge,
            ]),
            0..12,
        ),
    ) {
        let paused = ConsoleMemory::after([all_run()]);
        let mut console = paused.clone();
        let mut used_by_others = false;
        for event in events {
            match event {
                MemoryEvent::Members => {
                    console.observe(all_run());
                    used_by_others = false;
                }
                MemoryEvent::Containers => {
                    console.observe(containers());
                    used_by_others = true;
                }
                MemoryEvent::Closed => _ = console.observe(ports_closed()),
                MemoryEvent::Restart => console.restart(),
                MemoryEvent::Merge => {
                    let mut other = paused.clone();
                    other.known.merge(&console.known);
                    console.known.merge(&other.known);
                }
            }
            let expected = match used_by_others {
                true => VerdictState::Unknown,
                false => VerdictState::NoPrimary,
            };
            prop_assert_eq!(console.clone().verdict(ports_closed()), expected);
        }
    }

    /// Replicas that merge in any order know the same.
    #[test]
    fn merges_of_uses_agree(
        records in prop::collection::vec((0..4_i64, "[ab]?", "[ab]?"), 0..8),
        order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let known = |(when, member, other): &(i64, String, String)| {
            let mut known = KnownPositions::default();
            let used = AddressUse {
                member: text(member),
                other: text(other),
                at: at(*when as f64),
            };
            known.address_uses.insert(id(MEMBERS[1]), used);
            known
        };
        let (mut one, mut another) = (KnownPositions::default(), KnownPositions::default());
        records.iter().for_each(|record| one.merge(&known(record)));
        let shuffled = order.iter().filter_map(|index| records.get(*index));
        shuffled.for_each(|record| another.merge(&known(record)));
        prop_assert_eq!(one, another);
    }
}
