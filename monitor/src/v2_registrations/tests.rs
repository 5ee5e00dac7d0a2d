//! Reports of the original images' scripts, beside agents and alone.

use super::*;

const PREFIX: &str = "/galera";

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_millis(second * 1_000)
}

fn key(name: &str, value: &str, index: u64, ttl: Option<u64>) -> V2KeyValue {
    V2KeyValue {
        key: format!("/galera/lab/{name}"),
        value: value.to_owned(),
        index,
        ttl,
    }
}

fn read(
    lab: &mut V2Registrations,
    second: i64,
    keys: Vec<V2KeyValue>,
) -> NodeMap<RegistryObservation> {
    lab.reset(at(second), PREFIX, 3306, keys);
    lab.merge_into(NodeMap::new())
}

fn seen<'a>(all: &'a NodeMap<RegistryObservation>, node: &str) -> &'a RegistryObservation {
    all.get(&node.parse().unwrap()).unwrap()
}

#[test]
fn a_live_seqno_is_a_status_and_a_recovered_one_is_not() {
    let mut lab = V2Registrations::default();
    let all = read(
        &mut lab,
        1,
        vec![
            // galera-docker-mariadb, running.
            key("10.0.0.1/wsrep_local_state_comment", "Synced", 5, Some(9)),
            key("10.0.0.1/seqno", "2881", 6, Some(9)),
            // pxc56, whose start script wrote seqno before the server ran.
            key("10.0.0.2/wsrep_local_state_comment", "Synced", 7, Some(29)),
            key("10.0.0.2/wsrep_last_committed", "2881", 8, Some(29)),
            key("10.0.0.2/seqno", "2000", 3, Some(40)),
            // Any image; who wrote it was not seen.
            key("10.0.0.3/seqno", "2500", 4, Some(15)),
        ],
    );
    let meaning = |all: &NodeMap<RegistryObservation>, node| {
        let seen = seen(all, node);
        (
            seen.v2.as_ref().unwrap().seqno.unwrap(),
            seen.fields.status().last_committed,
        )
    };
    use SeqnoMeaning::{LastCommitted, RecoveredPosition, Undetermined};
    assert_eq!(meaning(&all, "10.0.0.1"), (LastCommitted, Some(2881)));
    assert_eq!(meaning(&all, "10.0.0.2"), (RecoveredPosition, Some(2881)));
    assert_eq!(meaning(&all, "10.0.0.3"), (Undetermined, None));
    let all = read(
        &mut lab,
        9,
        vec![
            // Its state expired a moment before.
            key("10.0.0.1/seqno", "2881", 6, Some(1)),
            // Written again while it was watched.
            key("10.0.0.3/seqno", "2500", 20, Some(19)),
        ],
    );
    assert_eq!(meaning(&all, "10.0.0.1"), (LastCommitted, Some(2881)));
    assert_eq!(meaning(&all, "10.0.0.3"), (RecoveredPosition, None));
}

#[test]
fn a_report_ages_with_its_last_write_and_not_with_listings() {
    let mut lab = V2Registrations::default();
    let state = |index, ttl| {
        key(
            "10.0.0.1/wsrep_local_state_comment",
            "Synced",
            index,
            Some(ttl),
        )
    };
    read(&mut lab, 1, vec![state(5, 10)]);
    let all = read(&mut lab, 6, vec![state(5, 5)]);
    let node = seen(&all, "10.0.0.1");
    assert_eq!(
        (node.last_put_at, node.ttl, node.leased),
        (Some(at(1)), Some(10), true)
    );
    // The same value again is a sign of life.
    let all = read(&mut lab, 9, vec![state(8, 10)]);
    let node = seen(&all, "10.0.0.1");
    assert_eq!(
        (node.last_put_at, node.state_changed_at),
        (Some(at(9)), Some(at(1)))
    );
    // The address alone is none.
    let all = read(
        &mut lab,
        20,
        vec![key("10.0.0.1/ipaddress", "10.0.0.1", 2, None)],
    );
    let node = seen(&all, "10.0.0.1");
    assert_eq!((node.last_put_at, node.leased), (None, false));
    assert!(!node.v2.as_ref().unwrap().reported);
}

#[test]
fn the_report_of_an_agent_is_not_mixed_with_that_of_scripts() {
    let mut lab = V2Registrations::default();
    lab.reset(
        at(1),
        PREFIX,
        3306,
        vec![
            key(
                "10.0.0.1:3306/wsrep_local_state_comment",
                "Synced",
                5,
                Some(9),
            ),
            key("10.0.0.2/wsrep_local_state_comment", "Synced", 6, Some(9)),
        ],
    );
    let agent = |leased, fields: &[(&str, &str)]| RegistryObservation {
        fields: fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        leased,
        durable: true,
        ..RegistryObservation::default()
    };
    let v3 = [
        (
            "10.0.0.1",
            agent(true, &[("phase", "waiting"), ("registered", "{}")]),
        ),
        ("10.0.0.2", agent(false, &[("registered", "{}")])),
    ];
    let all = lab.merge_into(
        v3.into_iter()
            .map(|(id, seen)| (id.parse().unwrap(), seen))
            .collect(),
    );
    let waiting = seen(&all, "10.0.0.1");
    assert_eq!(waiting.fields.get(STATE_FIELD), None, "{waiting:?}");
    assert!(waiting.v2.as_ref().unwrap().also_in_v3);
    let moved_back = seen(&all, "10.0.0.2");
    assert_eq!(moved_back.fields.get(STATE_FIELD).unwrap(), "Synced");
    assert!(moved_back.leased && moved_back.durable);
    assert!(!moved_back.v2.as_ref().unwrap().also_in_v3);
}

#[test]
fn forged_and_surplus_keys_are_counted_and_not_used() {
    let mut keys = vec![
        key("bootstrap", r#"{"node":"10.0.0.1"}"#, 1, None),
        key("10.0.0.1/recovered_position", "x", 2, None),
        key(
            "10.0.0.1/wsrep_local_state_comment",
            &"x".repeat(5_000),
            3,
            Some(9),
        ),
        key("10.0.0.1", "a leaf where a directory is expected", 4, None),
    ];
    keys.extend((0..300).map(|number| key(&format!("10.1.{number}.x/seqno"), "1", 9, Some(9))));
    let mut lab = V2Registrations::default();
    let all = read(&mut lab, 1, keys);
    assert_eq!(all.len(), NODES_MAX);
    assert_eq!(lab.unknown_key_count(), 4 + 300 - NODES_MAX);
}
