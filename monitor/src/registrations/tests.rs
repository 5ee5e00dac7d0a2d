//! Keys put, deleted, listed again, and superseded before they were folded.

use galera::view::RegistryHealth;

use super::*;

const EARLY: Timestamp = Timestamp::from_unix_millis(1_000);
const LATE: Timestamp = Timestamp::from_unix_millis(60_000);

fn entry(key: &str, value: &str, lease: LeaseId, mod_revision: i64) -> RegistryEntry {
    RegistryEntry {
        key: key.into(),
        value: value.into(),
        create_revision: 1,
        mod_revision,
        version: 1,
        lease,
    }
}

fn lab() -> Registrations {
    Registrations::new("/galera", 3306)
}

fn only_observation(registrations: &Registrations) -> RegistryObservation {
    let all = registrations.observations();
    assert_eq!(all.len(), 1, "{all:?}");
    all.values().next().unwrap().clone()
}

#[test]
fn a_registration_ends_with_its_lease_unless_it_is_durable() {
    let mut lab = lab();
    let registered = r#"{"first_seen":"2026-11-23T08:00:00Z"}"#;
    lab.reset(
        EARLY,
        vec![
            entry("/galera/lab/db1/wsrep_local_state_comment", "Synced", 7, 2),
            entry("/galera/lab/db1/registered", registered, 0, 1),
        ],
    );
    lab.set_lease_ttl(7, 30);
    let observation = only_observation(&lab);
    assert!(observation.leased && observation.durable);
    assert_eq!(
        (observation.ttl, observation.last_put_at),
        (Some(30), Some(EARLY))
    );
    assert_eq!(
        observation.first_seen,
        Timestamp::parse("2026-11-23T08:00:00Z")
    );
    assert!(!lab.mark_folded());
    let key = b"/galera/lab/db1/wsrep_local_state_comment".to_vec();
    lab.apply(LATE, vec![KeyChange::Delete { key, revision: 3 }]);
    let observation = only_observation(&lab);
    assert!(!observation.leased && observation.durable);
    assert_eq!(
        observation.last_put_at,
        Some(EARLY),
        "the time of its last report is kept"
    );
    let key = b"/galera/lab/db1/registered".to_vec();
    lab.apply(LATE, vec![KeyChange::Delete { key, revision: 4 }]);
    assert!(lab.observations().is_empty());
}

#[test]
fn listing_an_unchanged_key_keeps_its_age() {
    let mut lab = lab();
    let old = entry("/galera/lab/db1/wsrep_last_committed", "5", 7, 2);
    lab.reset(EARLY, vec![old.clone()]);
    lab.reset(LATE, vec![old]);
    assert_eq!(only_observation(&lab).last_put_at, Some(EARLY));
    lab.reset(
        LATE,
        vec![entry("/galera/lab/db1/wsrep_last_committed", "6", 7, 3)],
    );
    assert_eq!(only_observation(&lab).last_put_at, Some(LATE));
}

#[test]
fn both_spellings_of_a_node_are_merged_and_the_newer_value_wins() {
    let mut lab = lab();
    lab.apply(
        EARLY,
        vec![KeyChange::Put(entry(
            "/galera/lab/db1:3306/wsrep_last_committed",
            "9",
            0,
            5,
        ))],
    );
    lab.apply(
        EARLY,
        vec![KeyChange::Put(entry(
            "/galera/lab/db1/wsrep_last_committed",
            "4",
            0,
            3,
        ))],
    );
    assert_eq!(only_observation(&lab).fields["wsrep_last_committed"], "9");
}

#[test]
fn unrecognized_keys_are_counted_and_ignored() {
    let mut lab = lab();
    let huge = "x".repeat(2_000_000);
    for (key, value) in [
        ("/galera/lab/<script>/wsrep_ready", "ON"),
        ("/galera/lab/db1/wsrep_ready/deeper", "ON"),
        ("/galera/lab/db1/wsrep_ready", huge.as_str()),
        ("/galera/lab/db1/colour", "red"),
    ] {
        lab.apply(EARLY, vec![KeyChange::Put(entry(key, value, 0, 2))]);
    }
    assert_eq!((lab.unknown_key_count(), lab.observations().len()), (4, 0));
    lab.apply(
        EARLY,
        vec![KeyChange::Put(entry(
            "/galera/lab/db1/wsrep_ready",
            "ON",
            0,
            3,
        ))],
    );
    assert_eq!((lab.unknown_key_count(), lab.observations().len()), (3, 1));
}

#[test]
fn the_number_of_nodes_is_bounded() {
    let mut lab = lab();
    for number in 0..=NODES_MAX {
        let key = format!("/galera/lab/node{number}/wsrep_ready");
        lab.apply(EARLY, vec![KeyChange::Put(entry(&key, "ON", 0, 2))]);
    }
    assert_eq!(
        (lab.unknown_key_count(), lab.observations().len()),
        (1, NODES_MAX)
    );
}

#[test]
fn members_and_nodes_with_a_lease_have_places_before_others() {
    let mut lab = lab();
    let health = RegistryHealth {
        reachable: true,
        since: EARLY,
        error: None,
    };
    let mut evidence = Evidence::new("lab".parse().unwrap(), health);
    let member: NodeId = "zz-member".parse().unwrap();
    evidence.last_primary_members.insert(member.clone());
    lab.set_members(&evidence);
    let gone = (0..NODES_MAX + 10).map(|number| {
        let key = format!("/galera/lab/gone{number}/registered");
        entry(&key, "{}", 0, 1)
    });
    let reporting = [
        entry("/galera/lab/zz-live/phase", "running", 7, 1),
        entry("/galera/lab/zz-live/registered", "{}", 0, 1),
        entry("/galera/lab/zz-member/registered", "{}", 0, 1),
    ];
    lab.reset(EARLY, gone.chain(reporting).collect());
    let state = |lab: &Registrations, id: &NodeId| {
        let all = lab.observations();
        assert_eq!(all.len(), NODES_MAX);
        all.get(id).map(|node| (node.leased, node.durable))
    };
    let live: NodeId = "zz-live".parse().unwrap();
    assert_eq!(state(&lab, &live), Some((true, true)));
    assert_eq!(state(&lab, &member), Some((false, true)));
    assert_eq!(lab.unknown_key_count(), 12);
    // One that registers later has the place of one that does not report.
    let puts = [
        entry("/galera/lab/zz-later/registered", "{}", 0, 2),
        entry("/galera/lab/zz-later/phase", "starting", 8, 2),
    ];
    lab.apply(LATE, puts.map(KeyChange::Put).into());
    let later: NodeId = "zz-later".parse().unwrap();
    assert_eq!(state(&lab, &later), Some((true, true)));
    assert_eq!(state(&lab, &member), Some((false, true)));
    assert_eq!(lab.unknown_key_count(), 13);
    // Another one without a lease has no place.
    let other = entry("/galera/lab/zz-other/registered", "{}", 0, 3);
    lab.apply(LATE, vec![KeyChange::Put(other)]);
    assert_eq!(state(&lab, &"zz-other".parse().unwrap()), None);
}

/// What a node's agent reports in one transaction.
fn report(revision: i64, phase: &str, state: &str) -> Vec<KeyChange> {
    let put = |field: &str, value: &str| {
        let key = format!("/galera/lab/db1/{field}");
        KeyChange::Put(entry(&key, value, 7, revision))
    };
    vec![put("phase", phase), put("wsrep_local_state_comment", state)]
}

/// The states and phases of all folds that are due.
fn fold_all(lab: &mut Registrations) -> Vec<String> {
    let mut folds = Vec::new();
    loop {
        let fields = only_observation(lab).fields;
        let state = fields.get(STATE_FIELD).map_or("none", String::as_str);
        folds.push(format!("{state} {}", fields["phase"]));
        if !lab.mark_folded() {
            return folds;
        }
    }
}

#[test]
fn a_superseded_state_is_folded_with_the_fields_of_its_revision() {
    let mut lab = lab();
    let node: BTreeSet<NodeId> = ["db1".parse().unwrap()].into();
    assert_eq!(lab.apply(EARLY, report(2, "joining", "Joining")), node);
    assert_eq!(fold_all(&mut lab), ["Joining joining"]);
    // Three revisions in one delivery and one in the next, all before the next fold.
    let burst = [
        report(3, "joining", "Joined"),
        report(4, "joining", "Synced"),
        report(5, "running", "Synced"),
    ];
    assert_eq!(lab.apply(LATE, burst.concat()), node);
    lab.apply(LATE, report(6, "running", "Donor/Desynced"));
    assert_eq!(only_observation(&lab).state_changed_at, Some(LATE));
    assert_eq!(
        fold_all(&mut lab),
        ["Joined joining", "Synced running", "Donor/Desynced running"]
    );
    // A report without a state change does not cause an extra fold.
    assert!(
        lab.apply(LATE, report(7, "running", "Donor/Desynced"))
            .is_empty()
    );
    assert_eq!(fold_all(&mut lab), ["Donor/Desynced running"]);
}

#[test]
fn a_state_deleted_before_its_fold_is_still_folded() {
    let mut lab = lab();
    lab.apply(EARLY, report(2, "joining", "Joined"));
    let key = b"/galera/lab/db1/wsrep_local_state_comment".to_vec();
    lab.apply(EARLY, vec![KeyChange::Delete { key, revision: 3 }]);
    assert_eq!(fold_all(&mut lab), ["Joined joining", "none joining"]);
}

#[test]
fn a_flood_of_states_ends_with_the_latest() {
    let mut lab = lab();
    let states = ["Joined", "Synced", "Donor/Desynced"];
    let flood = (0..1_000).flat_map(|number| {
        let state = states[usize::try_from(number).unwrap() % states.len()];
        report(number + 2, "running", state)
    });
    lab.apply(EARLY, flood.collect());
    let folds = fold_all(&mut lab);
    assert_eq!(folds.len(), SUPERSEDED_MAX + 1);
    assert_eq!(folds.last().unwrap(), "Joined running");
    // A listing is the latest state: nothing waits behind it.
    lab.apply(EARLY, report(2_000, "running", "Synced"));
    lab.apply(EARLY, report(2_001, "running", "Joined"));
    lab.reset(
        LATE,
        vec![entry(
            "/galera/lab/db1/wsrep_local_state_comment",
            "Synced",
            7,
            2_002,
        )],
    );
    assert_eq!(only_observation(&lab).fields[STATE_FIELD], "Synced");
}

/// Other data were at the address between two folds: their keys were put under a lease that was revoked.
#[test]
fn i34_data_that_were_there_for_a_moment_are_folded() {
    let registered = entry("/galera/lab/db1/registered", r#"{"id":"d1"}"#, 0, 1);
    let visit = |revision: i64| {
        let key = "/galera/lab/db1/data_id";
        let put = KeyChange::Put(entry(key, "other", 9, revision));
        let delete = KeyChange::Delete {
            key: key.into(),
            revision: revision + 1,
        };
        vec![put, delete]
    };
    let folded = |lab: &mut Registrations| {
        let mut folds = Vec::new();
        for _ in 0..SUPERSEDED_MAX {
            let seen = lab.observations();
            let data = seen.values().map(|seen| {
                let data = seen.fields.get("data_id").cloned();
                (data.unwrap_or_default(), seen.leased)
            });
            folds.extend(data);
            if !lab.mark_folded() {
                break;
            }
        }
        folds
    };
    let mut lab = lab();
    lab.reset(EARLY, vec![registered]);
    assert!(!lab.mark_folded());
    assert!(
        lab.apply(LATE, visit(2)).is_empty(),
        "its state is the same"
    );
    let data = |data: &str, leased| (data.to_owned(), leased);
    assert_eq!(folded(&mut lab), [data("other", true), data("", false)]);
    assert_eq!(folded(&mut lab), [data("", false)]);
    // Nothing is registered at the address.
    let mut empty = Registrations::new("/galera", 3306);
    empty.apply(LATE, visit(2));
    assert_eq!(folded(&mut empty), [data("other", true)]);
    assert!(folded(&mut empty).is_empty());
    // A flood of visits is bounded, and leaves nothing behind.
    empty.apply(LATE, (2..2_000).step_by(2).flat_map(visit).collect());
    assert!(folded(&mut empty).len() <= SUPERSEDED_MAX);
    while empty.mark_folded() {}
    assert!(empty.nodes.is_empty());
}
