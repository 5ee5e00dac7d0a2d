//! The inputs of a startup decision: registry values and `wsrep_notify_cmd` datagrams.
#![no_main]

use std::collections::BTreeSet;

use galera::observe::registration::{RawKeyValue, RegistryKeys};
use galera::startup::{
    DataState, OrderTrust, RegistrySnapshot, StartingNode, StartupSettings, WsrepEvent, decide,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(&[u8], &[u8], bool)>, &[u8])| {
    let (entries, datagram) = input;
    let _ = WsrepEvent::from_datagram(datagram).local_state();
    let raw: Vec<RawKeyValue> = entries
        .into_iter()
        .map(|(key, value, leased)| RawKeyValue {
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
    let snapshot = RegistrySnapshot::from_keys(&RegistryKeys::new("/galera"), &cluster, &raw);
    let own = StartingNode {
        cluster,
        node,
        data_id: "id".to_owned(),
        data: DataState::Empty,
        members_seen: None,
        fork_epoch: 0,
        fork: None,
        founding: false,
        obeyed_orders: BTreeSet::new(),
        orders: OrderTrust::default(),
    };
    assert!(
        !decide(&own, &snapshot, &StartupSettings::default())
            .explanation
            .is_empty()
    );
});
