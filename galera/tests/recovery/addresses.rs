//! Addresses that lead to another server than the member's, or to the same one as another address.

use galera::observe::observation::ProbeErrorKind;
use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap::PlannedServer;
use galera::recover::plan::{CheckCode, CheckStatus};

use crate::fixture::{FakeStatusRows, HISTORY, RecoveryFixture, id};

/// `n2` and `n3` survive without quorum, `n1` was killed.
fn two_survivors() -> RecoveryFixture {
    RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .answers("n2", FakeStatusRows::non_primary(&["n2", "n3"], 0, 100))
        .answers("n3", FakeStatusRows::non_primary(&["n2", "n3"], 1, 100))
}

#[test]
fn i5_the_plan_names_the_process_that_executes_it() {
    let fixture = RecoveryFixture::two_of_three_lost();
    let plan = fixture.plan();
    let target = plan.target.as_ref().unwrap();
    let process = target.process.as_deref().unwrap();
    let status = FakeStatusRows::non_primary(&["n1"], 0, 100).status();
    assert_eq!(
        Some(process),
        status.gcomm_uuid.map(|uuid| uuid.to_string()).as_deref()
    );
    PlannedServer::of(target).check(&status).unwrap();
    let other = FakeStatusRows::non_primary(&["n2"], 0, 100).status();
    let refused = PlannedServer::of(target).check(&other).unwrap_err();
    assert!(
        refused.starts_with("the connection leads to another server"),
        "{refused}"
    );
    // A server that was restarted since then is another process: the digest covers it.
    let restarted = FakeStatusRows::non_primary(&["n1"], 0, 100)
        .with_row("wsrep_gcomm_uuid", "00000009-0001-11ef-a1b2-c3d4e5f60718");
    let later = fixture.answers("n1", restarted).plan();
    assert!(
        later.executable && later.digest != plan.digest,
        "{}",
        later.summary
    );
}

#[test]
fn i4_a_second_address_of_a_survivor_is_no_further_member() {
    let mut fixture = two_survivors()
        .refuses_connections("n1")
        .attest("n1", AttestedState::Stopped)
        .answers("vip", FakeStatusRows::non_primary(&["n2", "n3"], 1, 100));
    fixture.evidence.configured_members.insert(id("vip"));
    let plan = fixture.plan();
    assert!(plan.executable, "{}", plan.summary);
    let target = plan.target.unwrap();
    assert_eq!(target.members, [id("n2"), id("n3")]);
    assert_eq!(target.leaves_out, [id("n1")]);
}

#[test]
fn i2_a_member_whose_address_leads_to_another_is_not_accounted_for() {
    let mut fixture =
        two_survivors().answers("n1", FakeStatusRows::non_primary(&["n2", "n3"], 0, 100));
    fixture.evidence.last_primary_members = ["n1", "n2", "n3"].map(id).into();
    let plan = fixture.plan();
    assert!(!plan.executable, "{}", plan.summary);
    let accounted = plan.check(&CheckCode::MEMBERS_ACCOUNTED).unwrap();
    assert_eq!(
        accounted.status,
        CheckStatus::Unknown,
        "{}",
        accounted.message
    );
    let seen: Vec<&str> = accounted
        .evidence
        .iter()
        .map(|seen| seen.value.as_str())
        .collect();
    assert!(
        seen.iter()
            .any(|seen| seen.contains("leads to the server of")),
        "{seen:?}"
    );
    // An operator who knows where it is can say so.
    let attested = fixture.attest("n1", AttestedState::Fenced).plan();
    let accounted = attested.check(&CheckCode::MEMBERS_ACCOUNTED).unwrap();
    assert!(accounted.status.permits(), "{}", accounted.message);
}

/// A node that ran Percona XtraDB Cluster is started with its commands.
#[test]
fn commands_are_those_of_the_server() {
    let mut fixture = RecoveryFixture::expecting(&["n1", "n2"]);
    for node in ["n1", "n2"] {
        let percona =
            FakeStatusRows::primary(&["n1", "n2"], 0, 100).with_row("version", "8.0.36-28.1");
        fixture = fixture
            .answers(node, percona)
            .refuses_connections(node)
            .attest(node, AttestedState::Stopped);
    }
    let commands = |fixture: &RecoveryFixture| -> Vec<String> {
        let commands = fixture.plan().commands.into_iter();
        commands.map(|line| line.command).collect()
    };
    let recover = commands(&fixture).join("\n");
    assert!(
        recover.contains("mysqld --user=mysql --wsrep-recover"),
        "{recover}"
    );
    fixture.attestations.clear();
    for (node, seqno) in [("n1", 100), ("n2", 99)] {
        let line = format!("Recovered position: {HISTORY}:{seqno}");
        fixture = fixture.attest_with_paste(node, &line);
    }
    let start = commands(&fixture).join("\n");
    for command in [
        "systemctl start mysql@bootstrap.service",
        "mysql -e \"SHOW GLOBAL STATUS",
        "systemctl start mysql",
    ] {
        assert!(start.contains(command), "{start}");
    }
    assert!(
        !start.contains("mariadb") && !start.contains("galera_new_cluster"),
        "{start}"
    );
}

/// Every packet of a server contradicts that it is stopped; only for another cluster's server may an operator say that the
/// member is elsewhere.
#[test]
fn i2_a_server_that_answers_with_an_error_is_not_stopped() {
    let holds = |kind, statement| {
        let plan = two_survivors()
            .fails("n1", kind)
            .attest("n1", statement)
            .plan();
        let check = plan.check(&CheckCode::ATTESTATIONS_HOLD).unwrap();
        (check.status.permits(), plan.executable)
    };
    for kind in ProbeErrorKind::ALL {
        for statement in [
            AttestedState::Stopped,
            AttestedState::Fenced,
            AttestedState::Decommissioned,
        ] {
            let elsewhere =
                kind == ProbeErrorKind::NotAMember && statement != AttestedState::Stopped;
            let expected = !kind.proves_running() || elsewhere;
            let (permitted, executable) = holds(kind, statement);
            assert_eq!(
                permitted,
                expected,
                "{} {}",
                kind.as_str(),
                statement.as_str()
            );
            assert!(
                !executable || expected,
                "{} {}",
                kind.as_str(),
                statement.as_str()
            );
        }
    }
}
