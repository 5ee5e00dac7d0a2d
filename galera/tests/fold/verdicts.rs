//! Every verdict, from realistic evidence.

use galera::observe::observation::ProbeErrorKind;
use galera::view::{ReasonCode as R, ReasonCode, VerdictState as V, VerdictState};

use crate::fixture::{
    FakeServer, FoldFixture, RUNNING_FIELDS, denied, failure, reason_codes, refused, timed_out,
};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

fn two_of_three() -> FoldFixture {
    FoldFixture::expecting(&MEMBERS)
        .answers(
            "10.0.0.1",
            FakeServer::synced("db1")
                .view(&["AUTO"; 2], 0)
                .conf_id("18"),
        )
        .answers(
            "10.0.0.2",
            FakeServer::synced("db2")
                .view(&["AUTO"; 2], 1)
                .conf_id("18"),
        )
}

fn no_primary() -> FoldFixture {
    FoldFixture::expecting(&MEMBERS).answers("10.0.0.1", FakeServer::non_primary("db1"))
}

/// The registration of a node whose agent stops it.
const STOPPED_FIELDS: [(&str, &str); 2] = [
    ("phase", "stopping"),
    (
        "recovered_position",
        "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:2881",
    ),
];

/// Applies `add` to every member.
fn every_member(fixture: FoldFixture, add: fn(FoldFixture, &str) -> FoldFixture) -> FoldFixture {
    MEMBERS
        .iter()
        .fold(fixture, |fixture, node| add(fixture, node))
}

/// The situation, the evidence, the verdict, and the codes of its reasons in order.
type Row = (&'static str, FoldFixture, VerdictState, Vec<ReasonCode>);

/// A Primary component with a member that does not answer.
fn with_missing_member() -> Vec<Row> {
    vec![
        (
            "three Synced",
            FoldFixture::healthy(),
            V::Healthy,
            vec![R::AllSynced],
        ),
        (
            "one killed",
            two_of_three()
                .answers_between("10.0.0.3", FakeServer::synced("db3"), 0.0, 3.0)
                .fails("10.0.0.3", 4.0, refused()),
            V::Degraded,
            vec![R::MemberUnreachable],
        ),
        (
            "one hangs",
            two_of_three().fails("10.0.0.3", 4.0, timed_out()),
            V::Degraded,
            vec![R::MemberUnreachable],
        ),
        (
            "one not probed",
            two_of_three(),
            V::Degraded,
            vec![R::MemberAbsent],
        ),
        (
            "one stopped by its agent",
            two_of_three().fails("10.0.0.3", 4.0, refused()).registered(
                "10.0.0.3",
                8.0,
                &STOPPED_FIELDS,
            ),
            V::Degraded,
            vec![
                R::MemberStopped,
                R::NodeWithoutRegistration,
                R::NodeWithoutRegistration,
            ],
        ),
    ]
}

/// A Primary component with a member that answers, but is not Synced, or gives no status.
fn with_member_out_of_sync() -> Vec<Row> {
    vec![
        (
            "one restarted",
            two_of_three().answers("10.0.0.3", FakeServer::non_primary("db3")),
            V::Degraded,
            vec![R::MemberNotPrimary],
        ),
        (
            "one joining",
            FoldFixture::healthy().answers(
                "10.0.0.3",
                FakeServer::synced("db3")
                    .view(&["AUTO"; 3], 2)
                    .state("1", "Joining: receiving State Transfer"),
            ),
            V::Degraded,
            vec![R::MemberNotSynced],
        ),
        (
            "one donor",
            FoldFixture::healthy().answers(
                "10.0.0.3",
                FakeServer::synced("db3")
                    .view(&["AUTO"; 3], 2)
                    .state("2", "Donor/Desynced"),
            ),
            V::Degraded,
            vec![R::MemberNotSynced],
        ),
        (
            "one catching up",
            FoldFixture::healthy().answers(
                "10.0.0.3",
                FakeServer::synced("db3")
                    .view(&["AUTO"; 3], 2)
                    .state("3", "Joined"),
            ),
            V::Degraded,
            vec![R::MemberNotSynced],
        ),
        (
            "one lost a vote",
            two_of_three().answers(
                "10.0.0.3",
                FakeServer::non_primary("db3")
                    .state("5", "Inconsistent")
                    .with_row("wsrep_cluster_status", "Disconnected"),
            ),
            V::Degraded,
            vec![R::MemberInconsistent],
        ),
        (
            "one refuses the account",
            two_of_three().fails("10.0.0.3", 0.0, denied()),
            V::Degraded,
            vec![R::AccessDenied],
        ),
        (
            "one has too many connections",
            two_of_three().fails(
                "10.0.0.3",
                0.0,
                failure(ProbeErrorKind::TooManyConnections, "too many connections"),
            ),
            V::Degraded,
            vec![R::NoEvidence],
        ),
        (
            "one not probed yet",
            two_of_three().pending("10.0.0.3"),
            V::Unknown,
            vec![R::NoEvidence],
        ),
    ]
}

/// Answers, but no Primary.
fn without_primary() -> Vec<Row> {
    vec![
        (
            "quorum lost",
            no_primary()
                .fails("10.0.0.2", 4.0, refused())
                .fails("10.0.0.3", 4.0, refused()),
            V::NoPrimary,
            vec![R::NobodyPrimary, R::MemberUnreachable, R::MemberUnreachable],
        ),
        (
            "a majority out of sight",
            no_primary()
                .fails("10.0.0.2", 4.0, timed_out())
                .fails("10.0.0.3", 4.0, timed_out()),
            V::Unknown,
            vec![
                R::NoPrimaryInSight,
                R::MemberUnreachable,
                R::MemberUnreachable,
            ],
        ),
        (
            "disconnected",
            FoldFixture::expecting(&["10.0.0.1"]).answers(
                "10.0.0.1",
                FakeServer::non_primary("db1").with_row("wsrep_cluster_status", "Disconnected"),
            ),
            V::NoPrimary,
            vec![R::NobodyPrimary],
        ),
        (
            "quorum lost as seen over SQL",
            no_primary()
                .fails("10.0.0.2", 4.0, refused())
                .fails("10.0.0.3", 4.0, timed_out())
                .registered("10.0.0.3", 9.0, &RUNNING_FIELDS),
            V::Unknown,
            vec![
                R::SqlBlind,
                R::MemberUnreachable,
                R::RegistrationWithoutNode,
                R::NodeWithoutRegistration,
            ],
        ),
        (
            "others not probed yet",
            no_primary().pending("10.0.0.2").pending("10.0.0.3"),
            V::Unknown,
            vec![R::NoEvidence, R::NoEvidence, R::NoEvidence],
        ),
    ]
}

/// No answers.
fn without_answers() -> Vec<Row> {
    vec![
        (
            "all refuse",
            every_member(FoldFixture::expecting(&MEMBERS), |fixture, node| {
                fixture.fails(node, 1.0, refused())
            }),
            V::Down,
            vec![
                R::EverybodyDown,
                R::MemberUnreachable,
                R::MemberUnreachable,
                R::MemberUnreachable,
            ],
        ),
        (
            "all stopped",
            every_member(FoldFixture::expecting(&MEMBERS), |fixture, node| {
                fixture
                    .fails(node, 1.0, refused())
                    .registered(node, 8.0, &[("phase", "stopping")])
            }),
            V::Down,
            vec![
                R::EverybodyDown,
                R::MemberStopped,
                R::MemberStopped,
                R::MemberStopped,
            ],
        ),
        (
            "all hang",
            every_member(FoldFixture::expecting(&MEMBERS), |fixture, node| {
                fixture.fails(node, 1.0, timed_out())
            }),
            V::Unknown,
            vec![
                R::MemberUnreachable,
                R::MemberUnreachable,
                R::MemberUnreachable,
                R::NoEvidence,
            ],
        ),
        (
            "two refuse, one hangs",
            FoldFixture::expecting(&MEMBERS)
                .fails("10.0.0.1", 1.0, refused())
                .fails("10.0.0.2", 1.0, refused())
                .fails("10.0.0.3", 1.0, timed_out()),
            V::Unknown,
            vec![
                R::MemberUnreachable,
                R::MemberUnreachable,
                R::MemberUnreachable,
                R::NoEvidence,
            ],
        ),
        (
            "all refuse connections, but are registered as running",
            every_member(FoldFixture::expecting(&MEMBERS), |fixture, node| {
                fixture
                    .fails(node, 1.0, refused())
                    .registered(node, 8.0, &RUNNING_FIELDS)
            }),
            V::Unknown,
            vec![R::SqlBlind, R::SqlBlind, R::SqlBlind],
        ),
        (
            "all refuse the account",
            every_member(FoldFixture::expecting(&MEMBERS), |fixture, node| {
                fixture.fails(node, 1.0, denied())
            }),
            V::Unknown,
            vec![
                R::AccessDenied,
                R::AccessDenied,
                R::AccessDenied,
                R::NoEvidence,
            ],
        ),
        (
            "nothing expected, nothing known",
            FoldFixture::expecting(&[]),
            V::Unknown,
            vec![R::NoEvidence],
        ),
        (
            "first seconds",
            every_member(FoldFixture::expecting(&MEMBERS), |fixture, node| {
                fixture.pending(node)
            }),
            V::Unknown,
            vec![R::NoEvidence; 4],
        ),
        (
            "only old answers",
            FoldFixture::healthy().at(100.0),
            V::Unknown,
            vec![R::NoEvidence; 4],
        ),
    ]
}

#[test]
fn every_verdict() {
    let rows = [
        with_missing_member(),
        with_member_out_of_sync(),
        without_primary(),
        without_answers(),
    ];
    for (what, fixture, verdict, expected) in rows.into_iter().flatten() {
        let view = fixture.view();
        let found: Vec<ReasonCode> = reason_codes(&view)
            .into_iter()
            .map(|(code, _)| code)
            .collect();
        assert_eq!(
            (view.verdict.state, found),
            (verdict, expected),
            "{what}: {:#?}",
            view.verdict
        );
    }
}
