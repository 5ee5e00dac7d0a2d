//! A bootstrap by hand is recognized by what the nodes report, and nothing else is taken for one (I46).

use galera::judge::history_alarms::{ObservedBootstrap, QuorumLosses};
use galera::judge::known_positions::KnownPositions;

use crate::fixture::{FakeServer, FoldFixture, HISTORY, at, id, refused, timed_out};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const N1: &str = MEMBERS[0];

/// One replica that watches n1, n2 and n3.
struct ConsoleReplica {
    fixture: FoldFixture,
    known: KnownPositions,
    losses: QuorumLosses,
}

fn server(members: &[&str], conf_id: &str, votes: &str) -> FakeServer {
    FakeServer::synced("db1")
        .view(members, 0)
        .conf_id(conf_id)
        .seqno("66")
        .with_row("wsrep_cluster_weight", votes)
}

fn without_quorum(seqno: &str) -> FakeServer {
    FakeServer::non_primary("db1").view(&[N1], 0).seqno(seqno)
}

impl ConsoleReplica {
    /// All members were Primary in view 17.
    fn new() -> Self {
        let fixture = FoldFixture::expecting(&MEMBERS);
        let mut replica = Self {
            fixture,
            known: KnownPositions::default(),
            losses: QuorumLosses::default(),
        };
        replica.answers(&server(&MEMBERS, "17", "3").seqno("60"), 0.0, 10.0);
        replica
    }

    fn observe(&mut self) -> Option<ObservedBootstrap> {
        let (evidence, now) = (&self.fixture.evidence, at(self.fixture.now));
        let settings = &self.fixture.settings;
        self.known.update(evidence, now, settings);
        let view = self.fixture.view();
        self.losses
            .observe(&self.known, &view, evidence, now, settings)
    }

    /// n1 answers once a second; what is proven first.
    fn answers(&mut self, server: &FakeServer, from: f64, to: f64) -> Option<ObservedBootstrap> {
        let mut proven = None;
        let mut time = from;
        while time <= to {
            self.fixture =
                self.fixture
                    .clone()
                    .at(time)
                    .answers_between(N1, server.clone(), time, time);
            proven = proven.or(self.observe());
            time += 1.0;
        }
        proven
    }

    fn others_are_stopped(mut self) -> Self {
        for node in &MEMBERS[1..] {
            self.fixture = self.fixture.fails(node, 11.0, refused());
        }
        self
    }
}

#[test]
fn i46_the_next_view_without_the_former_quorum_is_a_bootstrap() {
    let mut replica = ConsoleReplica::new().others_are_stopped();
    assert_eq!(replica.answers(&without_quorum("66"), 12.0, 20.0), None);
    let bootstrapped = server(&[N1], "18", "1").seqno("70");
    // Not before a console that ordered it has recorded it.
    assert_eq!(replica.answers(&bootstrapped, 21.0, 26.0), None);
    let proven = replica.answers(&bootstrapped, 27.0, 28.0).unwrap();
    assert_eq!(
        proven,
        ObservedBootstrap {
            history: HISTORY.parse().unwrap(),
            seqno: 66,
            members: [id(N1)].into(),
            unseen: std::collections::BTreeSet::new(),
            complete: true,
            parent: 0,
        }
    );
    assert!(proven.is_recordable());
    assert_eq!(replica.answers(&bootstrapped, 29.0, 60.0), None, "once");
}

/// Containers start again at once: neither views that follow soon nor the end of the process hide the bootstrap.
#[test]
fn i46_a_bootstrap_is_reported_whatever_follows() {
    let alone = || server(&[N1], "18", "1");
    let joined = || server(&MEMBERS[..2], "19", "2");
    let founded = || {
        server(&MEMBERS[..2], "2", "2")
            .history("7c9e6679-7425-40de-944b-e07fc1f90ae7")
            .with_row("wsrep_gcomm_uuid", "11111111-0c2f-11ef-a1b2-c3d4e5f60718")
    };
    // What has ended is not recorded: the others may have their quorum again.
    let cases: [(&str, Option<FakeServer>, bool); 4] = [
        ("the others joined", Some(joined()), true),
        ("another process joined others", Some(founded()), false),
        (
            "it lost its quorum again",
            Some(without_quorum("70")),
            false,
        ),
        ("it stopped", None, false),
    ];
    for (name, later, continues) in cases {
        let mut replica = ConsoleReplica::new().others_are_stopped();
        replica.answers(&without_quorum("66"), 12.0, 20.0);
        assert_eq!(replica.answers(&alone(), 21.0, 24.0), None, "{name}");
        if name.contains("joined") {
            let answer = later.clone().unwrap();
            replica.fixture = replica
                .fixture
                .answers_between(MEMBERS[1], answer, 25.0, 28.0);
        }
        let proven = match later {
            Some(server) => replica.answers(&server, 25.0, 28.0),
            None => {
                replica.fixture = replica.fixture.at(28.0).fails(N1, 28.0, refused());
                replica.observe()
            }
        };
        let proven = proven.unwrap_or_else(|| panic!("{name}"));
        assert_eq!((proven.seqno, proven.members.len()), (66, 1), "{name}");
        assert_eq!(proven.is_recordable(), continues, "{name}: {proven:?}");
    }
}

/// The bootstrap of a minority that ended must not hold back the majority that has its quorum again.
#[test]
fn i46_former_members_that_serve_without_the_bootstrapped_one_are_unseen() {
    let mut replica = ConsoleReplica::new().others_are_stopped();
    replica.answers(&without_quorum("66"), 12.0, 20.0);
    assert_eq!(replica.answers(&server(&[N1], "18", "1"), 21.0, 24.0), None);
    replica.fixture = replica.fixture.at(28.0).fails(N1, 28.0, refused());
    for node in &MEMBERS[1..] {
        let serving = server(&MEMBERS[1..], "18", "2");
        replica.fixture = replica.fixture.answers_between(node, serving, 25.0, 28.0);
    }
    let proven = replica.observe().unwrap();
    assert!(!proven.is_recordable());
    assert_eq!(proven.unseen.len(), 2, "{proven:?}");
}

#[test]
fn i46_the_fork_that_the_members_continued_is_the_parent() {
    let mut replica = ConsoleReplica::new().others_are_stopped();
    replica.fixture = replica.fixture.registered(N1, 10.0, &[("fork_epoch", "4")]);
    replica.answers(&without_quorum("66"), 12.0, 20.0);
    let proven = replica.answers(&server(&[N1], "18", "1"), 21.0, 30.0);
    assert_eq!(proven.unwrap().parent, 4);
}

#[test]
fn i46_members_that_may_be_serving_are_named_and_nothing_is_recorded() {
    let mut replica = ConsoleReplica::new();
    replica.fixture =
        replica
            .fixture
            .fails(MEMBERS[1], 11.0, timed_out())
            .fails(MEMBERS[2], 11.0, refused());
    replica.answers(&without_quorum("66"), 12.0, 20.0);
    let proven = replica
        .answers(&server(&[N1], "18", "1"), 21.0, 30.0)
        .unwrap();
    assert!(!proven.is_recordable());
    assert!(proven.unseen.iter().eq([&id(MEMBERS[1])]), "{proven:?}");
}

#[test]
fn i46_members_without_a_name_and_arbitrators_are_not_passed_over() {
    // Two of four voters have no address in the list.
    let mut replica = ConsoleReplica::new().others_are_stopped();
    let list = [N1, MEMBERS[1], MEMBERS[2], "undefined"];
    replica.answers(&server(&list, "17", "4"), 11.0, 12.0);
    replica = replica.others_are_stopped();
    replica.answers(&without_quorum("66"), 13.0, 20.0);
    let proven = replica
        .answers(&server(&[N1], "18", "1"), 21.0, 30.0)
        .unwrap();
    assert!(!proven.complete && !proven.is_recordable());
}

#[test]
fn i46_what_is_not_proven_is_no_bootstrap() {
    let lost = |replica: &mut ConsoleReplica| replica.answers(&without_quorum("66"), 12.0, 20.0);
    let cases: [(&str, FakeServer); 7] = [
        // n2 is back: with it, the former view has its quorum again.
        ("quorum", server(&MEMBERS[..2], "18", "2")),
        // Views in between were not seen; n2 may have stopped in order in one of them.
        ("a later view", server(&[N1], "19", "1")),
        ("the same view", server(&[N1], "17", "1")),
        ("unknown votes", server(&[N1], "18", "")),
        ("a lock", server(&[N1], "18", "0")),
        (
            "quorum ignored",
            server(&[N1], "18", "1").with_row("wsrep_provider_options", "pc.ignore_sb = true"),
        ),
        (
            "another process",
            server(&[N1], "18", "1")
                .with_row("wsrep_gcomm_uuid", "11111111-0c2f-11ef-a1b2-c3d4e5f60718"),
        ),
    ];
    for (name, server) in cases {
        let mut replica = ConsoleReplica::new().others_are_stopped();
        lost(&mut replica);
        assert_eq!(replica.answers(&server, 21.0, 40.0), None, "{name}");
    }
    // A console that started in the meantime knows nothing of the loss, or nothing of the view before it.
    let mut late = ConsoleReplica::new().others_are_stopped();
    assert_eq!(late.answers(&server(&[N1], "18", "1"), 21.0, 40.0), None);
    let mut blind = ConsoleReplica::new().others_are_stopped();
    blind.known = KnownPositions::default();
    lost(&mut blind);
    assert_eq!(blind.answers(&server(&[N1], "18", "1"), 21.0, 40.0), None);
    // A restored record of another time: its view is not the one before.
    let mut restored = ConsoleReplica::new().others_are_stopped();
    restored.answers(&server(&MEMBERS, "12", "3").seqno("20"), 11.0, 11.0);
    lost(&mut restored);
    assert_eq!(
        restored.answers(&server(&[N1], "18", "1"), 21.0, 40.0),
        None
    );
}
