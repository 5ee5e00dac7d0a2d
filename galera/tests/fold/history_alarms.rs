//! Alarms about the data that stay until a person acknowledges them (I45).

use std::collections::BTreeMap;

use galera::NodeId;
use galera::judge::history_alarms::{
    AcceptedLoss, HistoryAcknowledgement, HistoryAlarmRecord, HistoryChange, HistoryFinding, detect,
};
use galera::judge::known_positions::{KnownPositions, LastPrimaryView};
use galera::view::{ReasonCode, VerdictState};

use crate::fixture::{FakeServer, FoldFixture, HISTORY, OTHER_HISTORY, at, id, reason, timed_out};

const N1: &str = "10.0.0.1";
const N2: &str = "10.0.0.2";
const N3: &str = "10.0.0.3";

type Views = BTreeMap<NodeId, LastPrimaryView>;

/// A member of a component of `members`, at `seqno` in the view `conf_id`.
fn member(name: &str, members: &[&str], conf_id: &str, seqno: &str) -> FakeServer {
    let own = members.iter().position(|id| id.ends_with(&name[2..]));
    FakeServer::synced(name)
        .view(members, own.unwrap_or_default())
        .conf_id(conf_id)
        .seqno(seqno)
}

fn cluster() -> FoldFixture {
    FoldFixture::expecting(&[N1, N2, N3])
}

/// What the console remembers of `fixture`.
fn known(fixture: &FoldFixture) -> Views {
    let mut positions = KnownPositions::default();
    positions.update(&fixture.evidence, at(fixture.now), &fixture.settings);
    positions.primary
}

fn changes(
    record: &HistoryAlarmRecord,
    before: &Views,
    fixture: &FoldFixture,
) -> Vec<HistoryChange> {
    let (evidence, now) = (&fixture.evidence, at(fixture.now));
    detect(
        record,
        before,
        &fixture.view(),
        evidence,
        now,
        &fixture.settings,
    )
    .changes
}

fn apply(record: &mut HistoryAlarmRecord, before: &Views, fixture: &FoldFixture) {
    for change in changes(record, before, fixture) {
        record.apply(&change, at(fixture.now));
    }
}

fn record_of(history: &str) -> HistoryAlarmRecord {
    HistoryAlarmRecord {
        current: Some(history.parse().unwrap()),
        ..HistoryAlarmRecord::default()
    }
}

fn findings(record: &HistoryAlarmRecord) -> Vec<&HistoryFinding> {
    record.open().map(|alarm| &alarm.finding).collect()
}

fn acknowledgement() -> HistoryAcknowledgement {
    HistoryAcknowledgement {
        by: "ann".to_owned(),
        at: at(60.0),
        reason: "compared".to_owned(),
    }
}

/// n1 was Primary at 134; n2 and n3 were cut off at 66.
fn before_the_fall() -> Views {
    known(&cluster().answers(N1, member("db1", &[N1], "18", "134")))
}

/// n2 and n3 are Primary at `seqno`, in a later view; n1 is out of sight.
fn after_the_fall(seqno: &str) -> FoldFixture {
    let members = [N2, N3];
    cluster()
        .at(30.0)
        .fails(N1, 11.0, timed_out())
        .answers_between(N2, member("db2", &members, "19", seqno), 20.0, 30.0)
        .answers_between(N3, member("db3", &members, "19", seqno), 20.0, 30.0)
}

/// The same with n1 as a Synced member, and the identity of its data.
fn with_n1(seqno: &str, data: &str) -> FoldFixture {
    let members = [N1, N2, N3];
    let mut fixture = cluster().at(90.0);
    for (node, name) in [(N1, "db1"), (N2, "db2"), (N3, "db3")] {
        fixture = fixture.answers_between(node, member(name, &members, "20", seqno), 80.0, 90.0);
    }
    fixture.registered(N1, 89.0, &[("data_id", data)])
}

#[test]
fn i45_a_position_that_falls_is_an_alarm_until_a_person_acknowledges_it() {
    let mut record = record_of(HISTORY);
    let before = before_the_fall();
    let mut fixture = after_the_fall("67");
    apply(&mut record, &before, &fixture);
    let [
        HistoryFinding::PositionFell {
            before: was,
            after,
            ahead,
            members,
            ..
        },
    ] = findings(&record)[..]
    else {
        panic!("{record:#?}");
    };
    assert_eq!((*was, *after), (134, 67));
    assert!(ahead.keys().eq([&id(N1)]), "{ahead:?}");
    assert!(members.iter().eq([&id(N2), &id(N3)]), "{members:?}");

    // It outlives the fall: the cluster has passed the position, and every member is Synced.
    let mut healed = with_n1("500", "a");
    healed.evidence.history_alarms = record.open().cloned().collect();
    let view = healed.view();
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    let shown = reason(&view, ReasonCode::HistoryAlarm).unwrap();
    assert!(shown.message.contains("was at 134"), "{}", shown.message);

    // Another replica finds the same, a little later; acknowledged once, it is not raised again.
    assert_eq!(changes(&record, &before, &fixture), []);
    assert_eq!(record.acknowledge(0, &acknowledgement()), [0; 0]);
    assert_eq!(record.acknowledge(record.newest, &acknowledgement()), [1]);
    fixture = fixture.at(31.0);
    apply(&mut record, &before, &fixture);
    assert!(findings(&record).is_empty(), "{record:#?}");
}

#[test]
fn i45_replicas_that_see_different_numbers_raise_one_alarm() {
    let mut record = record_of(HISTORY);
    let found = changes(&record, &before_the_fall(), &after_the_fall("67"));
    let late = changes(&record, &before_the_fall(), &after_the_fall("80"));
    for change in found.iter().chain(&late) {
        record.apply(change, at(30.0));
    }
    assert_eq!(record.alarms.len(), 1, "{record:#?}");
    record.acknowledge(1, &acknowledgement());
    // One that was late writes what it saw before the acknowledgement.
    record.apply(&late[0], at(61.0));
    assert!(findings(&record).is_empty(), "{record:#?}");
    // A fall from a position that was seen later is another one.
    let again = known(
        &cluster()
            .at(100.0)
            .answers(N2, member("db2", &[N2], "20", "90")),
    );
    let fixture = after_the_fall("70").at(130.0);
    let members = [N3];
    let fixture = fixture.fails(N2, 101.0, timed_out()).answers_between(
        N3,
        member("db3", &members, "21", "70"),
        120.0,
        130.0,
    );
    apply(&mut record, &again, &fixture);
    assert_eq!(findings(&record).len(), 1, "{record:#?}");
}

#[test]
fn i45_a_view_change_a_lagging_member_or_a_stale_answer_is_no_fall() {
    let record = record_of(HISTORY);
    let members = [N1, N2, N3];
    let before = known(&cluster().answers(N1, member("db1", &members, "18", "134")));
    let lagging = |fixture: FoldFixture, conf_id: &str, queue: &str| {
        let server =
            member("db2", &members, conf_id, "120").with_row("wsrep_local_recv_queue", queue);
        fixture.answers_between(N2, server, 20.0, 30.0)
    };
    let fixture = || cluster().at(30.0).fails(N1, 11.0, timed_out());
    // The same view: the member has not applied yet what it received.
    assert_eq!(
        changes(&record, &before, &lagging(fixture(), "18", "0")),
        []
    );
    // A later view, before its queue is empty.
    assert_eq!(
        changes(&record, &before, &lagging(fixture(), "19", "7")),
        []
    );
    // A later view that has not lasted yet.
    let server = member("db2", &members, "19", "120");
    let early = fixture().answers_between(N2, server, 29.5, 30.0);
    assert_eq!(changes(&record, &before, &early), []);
    // A former view, reported by a member that has not noticed the new one.
    assert_eq!(
        changes(&record, &before, &lagging(fixture(), "17", "3")),
        []
    );
    // Nothing is missing.
    let server = member("db2", &members, "19", "135");
    let complete = fixture().answers_between(N2, server, 20.0, 30.0);
    assert_eq!(changes(&record, &before, &complete), []);
}

#[test]
fn i45_a_member_that_returns_from_ahead_is_diverged_unless_its_data_were_replaced() {
    let before = {
        let fixture = cluster().answers(N1, member("db1", &[N1], "18", "134"));
        known(&fixture)
    };
    let mut fall = after_the_fall("67");
    fall = fall.registered(N1, 5.0, &[("data_id", "former")]);
    let mut record = record_of(HISTORY);
    apply(&mut record, &before, &fall);
    record.acknowledge(record.newest, &acknowledgement());

    // It kept its data: an incremental transfer sent only what follows.
    let mut diverged = record.clone();
    let returned = with_n1("500", "former");
    apply(&mut diverged, &Views::new(), &returned);
    let [
        HistoryFinding::MemberDiverged {
            node, first, last, ..
        },
    ] = findings(&diverged)[..]
    else {
        panic!("{diverged:#?}");
    };
    assert_eq!((node, *first, *last), (&id(N1), 68, 134));
    let mut shown = returned.clone();
    shown.evidence.history_alarms = diverged.open().cloned().collect();
    let view = shown.view();
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    let named = reason(&view, ReasonCode::MemberDiverged).unwrap();
    assert_eq!(named.node, Some(id(N1)));
    // Acknowledged, it stays acknowledged.
    diverged.acknowledge(diverged.newest, &acknowledgement());
    apply(&mut diverged, &Views::new(), &returned);
    assert!(findings(&diverged).is_empty(), "{diverged:#?}");

    // It started empty, under a new identity.
    let mut replaced = record.clone();
    apply(&mut replaced, &Views::new(), &with_n1("500", "new"));
    assert!(findings(&replaced).is_empty(), "{replaced:#?}");
    // From then on its agent may be silent.
    let mut silent = with_n1("501", "new");
    silent.evidence.registrations.clear();
    apply(&mut replaced, &Views::new(), &silent);
    assert!(findings(&replaced).is_empty(), "{replaced:#?}");
}

#[test]
fn i45_a_loss_that_was_approved_is_acknowledged_with_the_approval() {
    let loss = AcceptedLoss {
        history: HISTORY.parse().unwrap(),
        from: 66,
        highest: 134,
        acknowledgement: acknowledgement(),
    };
    let fall = after_the_fall("67");
    // Whichever comes first.
    let mut early = record_of(HISTORY);
    early.accept_loss(loss.clone());
    apply(&mut early, &before_the_fall(), &fall);
    let mut late = record_of(HISTORY);
    apply(&mut late, &before_the_fall(), &fall);
    late.accept_loss(loss.clone());
    for record in [early, late] {
        assert_eq!(
            (record.alarms.len(), record.open().count()),
            (1, 0),
            "{record:#?}"
        );
    }
    // It covers no other loss.
    let mut other = record_of(HISTORY);
    other.accept_loss(AcceptedLoss {
        highest: 100,
        ..loss
    });
    apply(&mut other, &before_the_fall(), &fall);
    assert_eq!(other.open().count(), 1, "{other:#?}");
}

#[test]
fn i45_another_history_is_an_alarm_once_it_lasts() {
    let mut record = HistoryAlarmRecord::default();
    let healthy = FoldFixture::healthy();
    apply(&mut record, &Views::new(), &healthy);
    assert_eq!(record, record_of(HISTORY));
    let before = known(&healthy);

    let founded = |since: f64| {
        let server = member("db1", &[N1], "1", "3").history(OTHER_HISTORY);
        cluster().at(40.0).answers_between(N1, server, since, 40.0)
    };
    assert_eq!(changes(&record, &before, &founded(39.0)), []);
    apply(&mut record, &before, &founded(30.0));
    let [HistoryFinding::HistoryReplaced { last_seen, .. }] = findings(&record)[..] else {
        panic!("{record:#?}");
    };
    assert_eq!(*last_seen, Some(2881));
    // A replica that still sees the former one does not raise it in turn.
    apply(&mut record, &Views::new(), &healthy);
    assert_eq!(record.alarms.len(), 1, "{record:#?}");
}

#[test]
fn i45_a_decommissioned_cluster_may_be_founded_again_without_an_alarm() {
    let mut record = record_of(OTHER_HISTORY);
    apply(&mut record, &before_the_fall(), &after_the_fall("67"));
    record.end_history();
    let open = record.open().count();
    apply(&mut record, &Views::new(), &FoldFixture::healthy());
    assert_eq!(record.current, record_of(HISTORY).current);
    assert_eq!(record.open().count(), open, "{record:#?}");
}

#[test]
fn i45_two_primary_components_stay_an_alarm_after_one_of_them_is_gone() {
    let mut record = record_of(HISTORY);
    let split = FoldFixture::expecting(&[N1, N2])
        .answers(N1, member("db1", &[N1], "18", "70"))
        .answers(N2, member("db2", &[N2], "18", "75"));
    assert_eq!(split.verdict(), VerdictState::SplitBrain);
    apply(&mut record, &Views::new(), &split);
    apply(&mut record, &Views::new(), &split);
    let [HistoryFinding::RivalPrimaries { components }] = findings(&record)[..] else {
        panic!("{record:#?}");
    };
    assert_eq!(components.len(), 2);
    let mut healed = FoldFixture::healthy();
    healed.evidence.history_alarms = record.open().cloned().collect();
    assert_eq!(healed.verdict(), VerdictState::Degraded);
}

#[test]
fn what_is_kept_is_bounded_and_survives_its_json() {
    let mut record = record_of(HISTORY);
    for round in 0..200_u32 {
        let finding = HistoryFinding::RivalPrimaries {
            components: Vec::new(),
        };
        record.apply(&HistoryChange::Found(finding), at(f64::from(round)));
        record.acknowledge(record.newest, &acknowledgement());
    }
    assert_eq!((record.newest, record.alarms.len()), (200, 20));
    let mut record = record_of(HISTORY);
    apply(&mut record, &before_the_fall(), &after_the_fall("67"));
    record.acknowledge(1, &acknowledgement());
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(
        serde_json::from_str::<HistoryAlarmRecord>(&json).unwrap(),
        record
    );
}
