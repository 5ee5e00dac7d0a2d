//! A member is its data, not its address (I34); members that were forgotten are asked for (I36); ties (I39).

use galera::observe::address_use::AddressUse;
use galera::observe::confirmed_nodes::{ConfirmedBy, ConfirmedNode};
use galera::observe::registration::NO_POSITION;
use galera::recover::attestation::AttestedState;
use galera::recover::plan::{CheckCode, CheckStatus, Mechanism};

use crate::fixture::{
    FakeStatusRows, HISTORY, RecoveryFixture, at, check, failing, id, position, status,
};

const REGISTERED: &str = r#"{"id":"d1"}"#;

fn recovered(seqno: u64) -> String {
    format!("{HISTORY}:{seqno}")
}

/// `node` refuses connections; its agent waits on the data `data_id` and reports `position`; `d1` are registered.
fn waits(fixture: RecoveryFixture, node: &str, data_id: &str, position: &str) -> RecoveryFixture {
    let fields = [
        ("phase", "waiting"),
        ("recovered_position", position),
        ("registered", REGISTERED),
        ("data_id", data_id),
        ("order_keys", "k1"),
    ];
    fixture.refuses_connections(node).registered(node, &fields)
}

/// n1 survives alone; empty containers wait under the addresses of n2 and n3, which live on elsewhere.
fn addresses_used_again() -> RecoveryFixture {
    let mut fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100));
    for node in ["n2", "n3"] {
        fixture = waits(fixture, node, "new", NO_POSITION);
    }
    fixture
}

/// The same, after the agents of the empty containers saw a member that was still registered as Primary and joined it: their
/// servers are in its component, n3 without an answer yet.
fn addresses_joined_again() -> RecoveryFixture {
    let members = ["n1", "n2", "n3"];
    let fields = [
        ("phase", "joining"),
        ("registered", REGISTERED),
        ("data_id", "new"),
        ("order_keys", "k1"),
    ];
    RecoveryFixture::expecting(&members)
        .answers("n1", FakeStatusRows::non_primary(&members, 0, 100))
        .answers("n2", FakeStatusRows::non_primary(&members, 1, 100))
        .refuses_connections("n3")
        .registered("n2", &fields)
        .registered("n3", &fields)
}

#[test]
fn i34_other_data_in_the_component_do_not_account_for_the_members_at_their_addresses() {
    let plan = addresses_joined_again().plan();
    assert!(!plan.executable, "{plan:#?}");
    assert!(failing(&plan).contains(&"members_accounted"));
    let accounted = check(&plan, &CheckCode::MEMBERS_ACCOUNTED);
    for node in ["n2", "n3"] {
        let words = format!("The address of {node} is used by other data;");
        assert!(accounted.message.contains(&words), "{}", accounted.message);
    }
    assert_eq!(plan.loss.transactions, None, "{}", plan.loss.explanation);
    let attested = addresses_joined_again()
        .attest("n2", AttestedState::Stopped)
        .attest("n3", AttestedState::Stopped)
        .plan();
    assert_eq!(
        check(&attested, &CheckCode::MEMBERS_ACCOUNTED).status,
        CheckStatus::Attested
    );
    assert_eq!(
        check(&attested, &CheckCode::ATTESTATIONS_HOLD).status,
        CheckStatus::Attested
    );
    assert_eq!(attested.loss.transactions, None);
}

#[test]
fn i34_empty_containers_do_not_account_for_the_members_at_their_addresses() {
    let plan = addresses_used_again().plan();
    assert!(!plan.executable, "{plan:#?}");
    let accounted = check(&plan, &CheckCode::MEMBERS_ACCOUNTED);
    assert_eq!(accounted.status, CheckStatus::Unknown);
    let words = "The address of n2 is used by other, empty data; the data that were registered there have not been \
                 reported stopped.";
    assert!(accounted.message.contains(words), "{}", accounted.message);
    // The registered data, reported by their own agents, need no attestation.
    let mut same = addresses_used_again();
    for node in ["n2", "n3"] {
        same = waits(same, node, "d1", NO_POSITION);
    }
    assert_eq!(
        status(&same.plan(), &CheckCode::MEMBERS_ACCOUNTED),
        CheckStatus::Pass
    );
    let attested = addresses_used_again()
        .attest("n2", AttestedState::Stopped)
        .attest("n3", AttestedState::Fenced)
        .plan();
    assert_eq!(
        status(&attested, &CheckCode::MEMBERS_ACCOUNTED),
        CheckStatus::Attested
    );
}

#[test]
fn i34_without_a_registration_an_empty_container_is_no_member_either() {
    let empty = [
        ("phase", "waiting"),
        ("recovered_position", NO_POSITION),
        ("data_id", "new"),
    ];
    let fixture = RecoveryFixture::expecting(&["n1", "n2"])
        .agent_waiting("n1", 10)
        .refuses_connections("n2")
        .registered("n2", &empty);
    let plan = fixture.plan();
    let blocking = failing(&plan);
    assert!(blocking.contains(&"members_accounted"), "{blocking:?}");
    assert!(blocking.contains(&"positions_known"), "{blocking:?}");
}

#[test]
fn i34_the_position_of_other_data_is_not_the_members() {
    for data in [9, 10, 99] {
        let fixture = RecoveryFixture::all_stopped();
        let fixture = waits(fixture, "n2", "copy", &recovered(data));
        let plan = fixture.plan();
        assert_ne!(plan.target.as_ref().unwrap().node, Some(id("n2")));
        let blocking = failing(&plan);
        assert!(blocking.contains(&"members_accounted"), "{blocking:?}");
        assert!(blocking.contains(&"positions_known"), "{blocking:?}");
        // Stopped and pasted: the registered data count, and no order goes to the others.
        let pasted = fixture
            .clone()
            .attest_with_paste("n2", &recovered(50))
            .plan();
        assert_eq!(pasted.target.as_ref().unwrap().node, Some(id("n2")));
        assert_eq!(pasted.target.unwrap().mechanism, Mechanism::ByHand);
        assert!(pasted.steps.is_empty());
    }
    // The registered data are gone for good: what reports now is the member.
    let mut fixture = waits(RecoveryFixture::all_stopped(), "n2", "copy", &recovered(99));
    fixture.context.order_key = Some("k1".to_owned());
    let plan = fixture.attest("n2", AttestedState::Decommissioned).plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
}

#[test]
fn i34_a_recorded_clean_stop_counts_without_its_agent() {
    let stopped = format!(
        r#"{{"id":"d1","stopped":{{"position":{{"uuid":"{HISTORY}","seqno":9}},"at":null}}}}"#
    );
    let record = [("registered", stopped.as_str())];
    let other = [
        ("registered", stopped.as_str()),
        ("phase", "waiting"),
        ("data_id", "new"),
        ("recovered_position", NO_POSITION),
    ];
    let stopped_with = |fields: &[(&str, &str)]| {
        let mut fixture = RecoveryFixture::all_stopped()
            .refuses_connections("n3")
            .registered("n3", fields);
        let seen = fixture.evidence.registrations.get_mut(&id("n3")).unwrap();
        // Its own keys under a lease are gone.
        seen.leased = fields.len() > 1;
        seen.durable = true;
        fixture.plan()
    };
    for fields in [&record[..], &other] {
        let plan = stopped_with(fields);
        assert!(plan.executable, "{plan:#?}");
        assert_eq!(plan.target.unwrap().node, Some(id("n2")));
        // It is a position: a higher one is not passed over.
        let higher = stopped.replace(":9}", ":90}");
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| match *name {
                "registered" => (*name, higher.as_str()),
                _ => (*name, *value),
            })
            .collect();
        let plan = stopped_with(&fields);
        let target = plan.target.unwrap();
        assert_eq!(
            (target.node, target.mechanism),
            (Some(id("n3")), Mechanism::ByHand)
        );
    }
    // It is void once the agent of these data is back.
    let back = [
        ("registered", stopped.as_str()),
        ("phase", "starting"),
        ("data_id", "d1"),
    ];
    let plan = RecoveryFixture::all_stopped()
        .refuses_connections("n3")
        .registered("n3", &back)
        .plan();
    assert!(failing(&plan).contains(&"positions_known"), "{plan:#?}");
}

#[test]
fn i34_an_older_agent_is_not_believed_more_than_a_newer_one() {
    let position = recovered(8);
    let fields = [
        ("phase", "waiting"),
        ("recovered_position", position.as_str()),
        ("registered", REGISTERED),
    ];
    let fixture = RecoveryFixture::all_stopped()
        .refuses_connections("n3")
        .registered("n3", &fields);
    let plan = fixture.plan();
    let accounted = check(&plan, &CheckCode::MEMBERS_ACCOUNTED);
    assert_eq!(accounted.status, CheckStatus::Unknown);
    assert!(
        accounted.message.contains("The agent of n3 is older"),
        "{}",
        accounted.message
    );
    // Once its node is attested stopped, what it reported counts.
    let plan = fixture.attest("n3", AttestedState::Stopped).plan();
    assert!(plan.executable, "{plan:#?}");
}

/// The members of `fixture`, of which n1's data last had `seen` around them.
fn having_seen(mut fixture: RecoveryFixture, seen: &str) -> RecoveryFixture {
    let position = recovered(9);
    let fields = [
        ("phase", "waiting"),
        ("recovered_position", position.as_str()),
        ("registered", REGISTERED),
        ("data_id", "d1"),
        ("members_seen", seen),
        ("order_keys", "k1"),
    ];
    fixture.context.order_key = Some("k1".to_owned());
    fixture.refuses_connections("n1").registered("n1", &fields)
}

#[test]
fn i36_a_member_that_saw_more_members_than_are_known_blocks() {
    let alone = having_seen(
        RecoveryFixture::expecting(&["n1"]),
        r#"{"count":3,"view":7}"#,
    );
    let plan = alone.plan();
    assert_eq!(failing(&plan), ["members_known"]);
    let known = check(&plan, &CheckCode::MEMBERS_KNOWN);
    assert!(
        known
            .message
            .starts_with("n1: its last view had 3 members, but only 1 is known. Pin every member"),
        "{}",
        known.message
    );
    let configured = having_seen(RecoveryFixture::expecting(&["n1"]), r#"{"configured":3}"#);
    assert_eq!(failing(&configured.plan()), ["members_known"]);
    // Named, they are asked for.
    let named = having_seen(
        RecoveryFixture::expecting(&["n1", "n2", "n3"]),
        r#"{"count":3,"view":7}"#,
    );
    assert_eq!(
        status(&named.plan(), &CheckCode::MEMBERS_KNOWN),
        CheckStatus::Pass
    );
    assert!(failing(&named.plan()).contains(&"members_accounted"));
    // A damaged view shows a lower bound, and nothing about further members.
    let damaged = |members: &[&str]| {
        having_seen(RecoveryFixture::expecting(members), r#"{"count":3}"#).plan()
    };
    let plan = damaged(&["n1"]);
    let known = check(&plan, &CheckCode::MEMBERS_KNOWN);
    assert_eq!(known.status, CheckStatus::Fail);
    assert!(
        known
            .message
            .starts_with("n1: its last view had at least 3 members, but only 1 is known."),
        "{}",
        known.message
    );
    let plan = damaged(&["n1", "n2", "n3"]);
    assert!(plan.check(&CheckCode::MEMBERS_KNOWN).is_none());
    // Garbage is no evidence.
    for garbage in ["", "{", r#"{"count":300}"#, r#"{"count":-1}"#] {
        let plan = having_seen(RecoveryFixture::expecting(&["n1"]), garbage).plan();
        assert!(plan.executable, "{garbage}: {plan:#?}");
    }
}

#[test]
fn i36_after_a_lost_registry_a_person_names_the_members() {
    let lost = |members: &[&str]| {
        let mut fixture = having_seen(RecoveryFixture::expecting(members), r#"{"count":1}"#);
        fixture.context.founder_missing = true;
        fixture
    };
    let plan = lost(&["n1"]).plan();
    assert_eq!(failing(&plan), ["members_known"]);
    let known = check(&plan, &CheckCode::MEMBERS_KNOWN);
    assert!(
        known.message.contains("has no founder key")
            && known.message.contains("--cluster lab=n1,…")
            && known.message.contains("if n1 is the only member"),
        "{}",
        known.message
    );
    let named = lost(&["n1", "n2"]).agent_waiting("n2", 8).plan();
    assert!(named.executable, "{named:#?}");
    // One name of several known members may be a seed.
    let mut seed = lost(&["n1"]).agent_waiting("n2", 8);
    seed.evidence.last_primary_members.clear();
    let plan = seed.plan();
    assert!(failing(&plan).contains(&"members_known"));
    let known = check(&plan, &CheckCode::MEMBERS_KNOWN);
    assert!(
        known.message.contains("--cluster lab=n1,n2,"),
        "{}",
        known.message
    );
    // What the console remembers is not lost with the registry.
    let mut remembered = lost(&["n1"]);
    remembered.evidence.last_primary_members = [id("n1")].into();
    assert!(remembered.plan().executable);
    // Without agents there never is a founder key.
    let mut manual = RecoveryFixture::expecting(&["n1"]).agent_waiting("n1", 9);
    manual.context.founder_missing = true;
    assert!(manual.plan().check(&CheckCode::MEMBERS_KNOWN).is_none());
}

#[test]
fn i36_only_an_admission_by_a_person_names_a_member() {
    let lost = |by: ConfirmedBy| {
        let mut fixture = having_seen(
            RecoveryFixture::expecting(&["n1"]),
            r#"{"count":1,"view":7}"#,
        )
        .agent_waiting("n2", 8);
        fixture.context.founder_missing = true;
        fixture.evidence.first_view = false;
        let node = ConfirmedNode {
            by,
            at: at(-30),
            address: None,
        };
        fixture.evidence.confirmed.insert(id("n2"), node);
        fixture
    };
    let known = |fixture: &RecoveryFixture| status(&fixture.plan(), &CheckCode::MEMBERS_KNOWN);
    assert_eq!(known(&lost(ConfirmedBy::Admitted)), CheckStatus::Pass);
    for by in [ConfirmedBy::FirstView, ConfirmedBy::Listed] {
        assert_eq!(known(&lost(by)), CheckStatus::Unknown, "{by:?}");
    }
    // The admission of a node of which nothing is left shows nothing about others.
    let mut gone = lost(ConfirmedBy::Admitted);
    let admission = gone.evidence.confirmed.remove(&id("n2")).unwrap();
    gone.evidence.confirmed.insert(id("n9"), admission);
    assert_eq!(known(&gone), CheckStatus::Unknown);
}

#[test]
fn i39_of_equals_a_member_of_the_newest_view_gets_the_order() {
    let position = recovered(10);
    let with_view = |fixture: RecoveryFixture, node: &str, seen: &str| {
        let fields = [
            ("phase", "waiting"),
            ("recovered_position", position.as_str()),
            ("members_seen", seen),
        ];
        fixture.refuses_connections(node).registered(node, &fields)
    };
    let fixture = RecoveryFixture::expecting(&["n1", "n2"]);
    let fixture = with_view(fixture, "n1", r#"{"count":2,"view":16}"#);
    let fixture = with_view(fixture, "n2", r#"{"count":2,"view":17}"#);
    assert_eq!(fixture.plan().target.unwrap().node, Some(id("n2")));
}

#[test]
fn i39_of_equals_the_one_that_passes_the_last_primary_check_is_chosen() {
    let members = ["n1", "n2"];
    let mut fixture = RecoveryFixture::expecting(&members)
        .agent_waiting("n1", 100)
        .answers("n2", FakeStatusRows::primary(&["n2"], 0, 100));
    let (now, fold) = (
        crate::fixture::at(fixture.now),
        fixture.settings.fold.clone(),
    );
    fixture.history.update(&fixture.evidence, now, &fold);
    fixture.evidence.probes.clear();
    let fixture = fixture.agent_waiting("n1", 100).agent_waiting("n2", 100);
    let plan = fixture.plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(plan.target.as_ref().unwrap().node, Some(id("n2")));
    assert_eq!(plan.target.unwrap().position, Some(position(100)));
}

/// n3 stopped cleanly at 90, and an empty container waits under its address.
fn stopped_and_emptied() -> RecoveryFixture {
    let stopped = format!(
        r#"{{"id":"d1","stopped":{{"position":{{"uuid":"{HISTORY}","seqno":90}},"at":null}}}}"#
    );
    let fields = [
        ("registered", stopped.as_str()),
        ("phase", "waiting"),
        ("data_id", "new"),
        ("recovered_position", NO_POSITION),
    ];
    RecoveryFixture::all_stopped()
        .refuses_connections("n3")
        .registered("n3", &fields)
}

#[test]
fn i34_data_that_stopped_and_are_gone_are_given_up_by_confirming_that() {
    let fixture = stopped_and_emptied();
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["agent_waits"], "{plan:#?}");
    let message = &check(&plan, &CheckCode::AGENT_WAITS).message;
    assert!(
        message.contains("that of the data that stopped there")
            && message.contains("confirm that n3 is permanently removed"),
        "{message}"
    );
    let plan = fixture.attest("n3", AttestedState::Decommissioned).plan();
    assert_eq!(plan.target.as_ref().unwrap().node, Some(id("n2")));
    assert_eq!(
        status(&plan, &CheckCode::POSITIONS_KNOWN),
        CheckStatus::Attested
    );
    // What is lost is known from the record.
    assert_eq!(plan.loss.transactions, Some(80), "{:?}", plan.loss);
    assert!(!plan.loss.at_least);
}

#[test]
fn i34_a_confirmed_removal_gives_up_no_data_that_their_agent_reports() {
    let fixture = RecoveryFixture::all_stopped();
    let fixture = waits(fixture, "n3", "d1", &recovered(90));
    let plan = fixture.attest("n3", AttestedState::Decommissioned).plan();
    assert_eq!(plan.target.unwrap().node, Some(id("n3")));
}

/// What the console remembers of the address of `node`.
fn remembers(
    mut fixture: RecoveryFixture,
    node: &str,
    member: &str,
    other: Option<&str>,
) -> RecoveryFixture {
    let used = AddressUse {
        member: Some(member.to_owned()),
        other: other.map(str::to_owned),
        at: at(1),
    };
    fixture.evidence.address_uses.insert(id(node), used);
    fixture
}

/// Their agents have ended, or lost etcd, and with the leases nothing reports which data the servers have.
#[test]
fn i34_servers_on_other_data_are_not_the_members_after_their_agents_ended() {
    let members = ["n1", "n2", "n3"];
    let joined = || {
        RecoveryFixture::expecting(&members)
            .answers("n1", FakeStatusRows::non_primary(&members, 0, 100))
            .answers("n2", FakeStatusRows::non_primary(&members, 1, 100))
            .answers("n3", FakeStatusRows::non_primary(&members, 2, 100))
    };
    assert!(!failing(&joined().plan()).contains(&"members_accounted"));
    let fixture = ["n2", "n3"].iter().fold(joined(), |fixture, node| {
        remembers(fixture, node, "d1", Some("new"))
    });
    let plan = fixture.plan();
    assert!(failing(&plan).contains(&"members_accounted"), "{plan:#?}");
    let accounted = check(&plan, &CheckCode::MEMBERS_ACCOUNTED);
    for node in ["n2", "n3"] {
        let words = format!("Other data used the address of {node} since it was last seen there;");
        assert!(accounted.message.contains(&words), "{}", accounted.message);
    }
    assert_eq!(plan.loss.transactions, None, "{}", plan.loss.explanation);
}

/// etcd was restored from a backup, and a container has the volume that was registered then; the member runs elsewhere.
#[test]
fn i34_data_that_only_a_restored_etcd_registers_are_not_the_member() {
    let stopped = || {
        let fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100));
        let fixture = waits(fixture, "n2", "d1", &recovered(100));
        waits(fixture, "n3", "d1", &recovered(100))
    };
    assert!(!failing(&stopped().plan()).contains(&"members_accounted"));
    let plan = remembers(stopped(), "n2", "d2", None).plan();
    assert!(failing(&plan).contains(&"members_accounted"), "{plan:#?}");
    let accounted = check(&plan, &CheckCode::MEMBERS_ACCOUNTED);
    let words = "The agent of n2 reports other data than those that n2 had as a member";
    assert!(accounted.message.contains(words), "{}", accounted.message);
    let attested = remembers(stopped(), "n2", "d2", None)
        .attest("n2", AttestedState::Stopped)
        .plan();
    assert_eq!(
        check(&attested, &CheckCode::MEMBERS_ACCOUNTED).status,
        CheckStatus::Attested
    );
}

/// The record of a stop in a restored etcd is of data that were replaced since.
#[test]
fn i34_a_clean_stop_of_former_data_is_not_the_members() {
    let registered = format!(
        r#"{{"id":"old","stopped":{{"position":{{"uuid":"{HISTORY}","seqno":7}},"at":null}}}}"#
    );
    let fixture = || {
        let mut fixture = RecoveryFixture::expecting(&["n1", "n2"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
            .refuses_connections("n2")
            .registered("n2", &[("registered", registered.as_str())]);
        // Its lease has ended.
        let mut seen = fixture.evidence.registrations[&id("n2")].clone();
        (seen.leased, seen.last_put_at, seen.durable) = (false, None, true);
        fixture.evidence.registrations.insert(id("n2"), seen);
        fixture
    };
    assert!(!failing(&fixture().plan()).contains(&"members_accounted"));
    let restored = remembers(fixture(), "n2", "d2", Some("new")).plan();
    assert!(failing(&restored).contains(&"members_accounted"));
}
