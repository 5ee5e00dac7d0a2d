//! Every verdict, from evidence as it looks in real life.

use galera::observe::observation::ProbeFailure;
use galera::view::{ReasonCode, VerdictState};

use crate::scene::{RUNNING, Scene, Server, codes, denied, failure, refused, timed_out};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

fn two_left() -> Scene {
    Scene::expecting(&MEMBERS)
        .answers(
            "10.0.0.1",
            Server::synced("db1").view(&["AUTO"; 2], 0).conf("18"),
        )
        .answers(
            "10.0.0.2",
            Server::synced("db2").view(&["AUTO"; 2], 1).conf("18"),
        )
}

fn nobody_primary() -> Scene {
    Scene::expecting(&MEMBERS).answers("10.0.0.1", Server::non_primary("db1"))
}

/// Every table row: what happens, the evidence, the verdict, and the codes of its reasons in order.
fn table() -> Vec<(&'static str, Scene, VerdictState, Vec<ReasonCode>)> {
    use ReasonCode as R;
    use VerdictState as V;
    let stopped = [
        ("phase", "stopping"),
        (
            "recovered_position",
            "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:2881",
        ),
    ];
    let every = |scene: Scene, add: fn(Scene, &str) -> Scene| {
        MEMBERS.iter().fold(scene, |scene, node| add(scene, node))
    };
    vec![
        (
            "three Synced",
            Scene::healthy(),
            V::Healthy,
            vec![R::AllSynced],
        ),
        (
            "one killed",
            two_left()
                .answers_between("10.0.0.3", Server::synced("db3"), 0.0, 3.0)
                .fails("10.0.0.3", 4.0, refused()),
            V::Degraded,
            vec![R::MemberUnreachable],
        ),
        (
            "one hangs",
            two_left().fails("10.0.0.3", 4.0, timed_out()),
            V::Degraded,
            vec![R::MemberUnreachable],
        ),
        (
            "one not probed",
            two_left(),
            V::Degraded,
            vec![R::MemberAbsent],
        ),
        (
            "one stopped by its agent",
            two_left()
                .fails("10.0.0.3", 4.0, refused())
                .registered("10.0.0.3", 8.0, &stopped),
            V::Degraded,
            vec![
                R::MemberStopped,
                R::NodeWithoutRegistration,
                R::NodeWithoutRegistration,
            ],
        ),
        (
            "one restarted",
            two_left().answers("10.0.0.3", Server::non_primary("db3")),
            V::Degraded,
            vec![R::MemberNotPrimary],
        ),
        (
            "one joining",
            Scene::healthy().answers(
                "10.0.0.3",
                Server::synced("db3")
                    .view(&["AUTO"; 3], 2)
                    .state("1", "Joining: receiving State Transfer"),
            ),
            V::Degraded,
            vec![R::MemberNotSynced],
        ),
        (
            "one donor",
            Scene::healthy().answers(
                "10.0.0.3",
                Server::synced("db3")
                    .view(&["AUTO"; 3], 2)
                    .state("2", "Donor/Desynced"),
            ),
            V::Degraded,
            vec![R::MemberNotSynced],
        ),
        (
            "one catching up",
            Scene::healthy().answers(
                "10.0.0.3",
                Server::synced("db3")
                    .view(&["AUTO"; 3], 2)
                    .state("3", "Joined"),
            ),
            V::Degraded,
            vec![R::MemberNotSynced],
        ),
        (
            "one lost a vote",
            two_left().answers(
                "10.0.0.3",
                Server::non_primary("db3")
                    .state("5", "Inconsistent")
                    .says("wsrep_cluster_status", "Disconnected"),
            ),
            V::Degraded,
            vec![R::MemberInconsistent],
        ),
        (
            "one refuses the account",
            two_left().fails("10.0.0.3", 0.0, denied()),
            V::Degraded,
            vec![R::AccessDenied],
        ),
        (
            "one has no connection left",
            two_left().fails(
                "10.0.0.3",
                0.0,
                failure(ProbeFailure::TooManyConnections, "too many connections"),
            ),
            V::Degraded,
            vec![R::NoEvidence],
        ),
        (
            "one about to be asked",
            two_left().pending("10.0.0.3"),
            V::Unknown,
            vec![R::NoEvidence],
        ),
        (
            "quorum lost",
            nobody_primary()
                .fails("10.0.0.2", 4.0, refused())
                .fails("10.0.0.3", 4.0, timed_out()),
            V::NoPrimary,
            vec![R::NobodyPrimary, R::MemberUnreachable, R::MemberUnreachable],
        ),
        (
            "disconnected",
            Scene::expecting(&["10.0.0.1"]).answers(
                "10.0.0.1",
                Server::non_primary("db1").says("wsrep_cluster_status", "Disconnected"),
            ),
            V::NoPrimary,
            vec![R::NobodyPrimary],
        ),
        (
            "quorum lost as far as SQL sees",
            nobody_primary()
                .fails("10.0.0.2", 4.0, refused())
                .fails("10.0.0.3", 4.0, timed_out())
                .registered("10.0.0.3", 9.0, &RUNNING),
            V::Unknown,
            vec![
                R::SqlBlind,
                R::MemberUnreachable,
                R::RegistrationWithoutNode,
                R::NodeWithoutRegistration,
            ],
        ),
        (
            "others about to be asked",
            nobody_primary().pending("10.0.0.2").pending("10.0.0.3"),
            V::Unknown,
            vec![R::NoEvidence, R::NoEvidence, R::NoEvidence],
        ),
        (
            "all refuse",
            every(Scene::expecting(&MEMBERS), |scene, node| {
                scene.fails(node, 1.0, refused())
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
            every(Scene::expecting(&MEMBERS), |scene, node| {
                scene
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
            every(Scene::expecting(&MEMBERS), |scene, node| {
                scene.fails(node, 1.0, timed_out())
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
            Scene::expecting(&MEMBERS)
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
            "all refuse the console, the registry says they run",
            every(Scene::expecting(&MEMBERS), |scene, node| {
                scene
                    .fails(node, 1.0, refused())
                    .registered(node, 8.0, &RUNNING)
            }),
            V::Unknown,
            vec![R::SqlBlind, R::SqlBlind, R::SqlBlind],
        ),
        (
            "all refuse the account",
            every(Scene::expecting(&MEMBERS), |scene, node| {
                scene.fails(node, 1.0, denied())
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
            Scene::expecting(&[]),
            V::Unknown,
            vec![R::NoEvidence],
        ),
        (
            "first seconds",
            every(Scene::expecting(&MEMBERS), |scene, node| {
                scene.pending(node)
            }),
            V::Unknown,
            vec![R::NoEvidence; 4],
        ),
        (
            "only old answers",
            Scene::healthy().at(100.0),
            V::Unknown,
            vec![R::NoEvidence; 4],
        ),
    ]
}

#[test]
fn every_verdict() {
    for (what, scene, verdict, expected) in table() {
        let view = scene.view();
        let found: Vec<ReasonCode> = codes(&view).into_iter().map(|(code, _)| code).collect();
        assert_eq!(
            (view.verdict.state, found),
            (verdict, expected),
            "{what}: {:#?}",
            view.verdict
        );
    }
}
