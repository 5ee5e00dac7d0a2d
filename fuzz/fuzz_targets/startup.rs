//! What a starting node reads of others: the registry's values and the server's notifications.
#![no_main]

use std::collections::BTreeSet;

use galera::observe::registration::{Keys, RawKey};
use galera::startup::{Data, Event, Own, Settings, Snapshot, decide};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(&[u8], &[u8], bool)>, &[u8])| {
    let (entries, datagram) = input;
    let _ = Event::from_datagram(datagram).local_state();
    let raw: Vec<RawKey> = entries
        .into_iter()
        .map(|(key, value, leased)| RawKey {
            key: [b"/galera/lab/", key].concat(),
            value: value.to_vec(),
            mod_revision: 1,
            lease: i64::from(leased),
            ttl: None,
        })
        .collect();
    let (Ok(cluster), Ok(node)) = ("lab".parse(), "n1".parse()) else {
        return;
    };
    let snapshot = Snapshot::read(&Keys::new("/galera"), &cluster, &raw);
    let own = Own {
        cluster,
        node,
        id: "id".to_owned(),
        data: Data::Empty,
        obeyed: BTreeSet::new(),
    };
    assert!(!decide(&own, &snapshot, &Settings::default()).sentence.is_empty());
});
