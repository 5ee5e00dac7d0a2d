//! Registry keys: what is understood is written back the same.
#![no_main]

use galera::observe::registration::{Keys, RegistryKeyKind, parse_key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (prefix, rest) = input;
    let _ = parse_key(prefix, rest);
    let keys = Keys::new(prefix);
    let mut key = keys.root().into_bytes();
    key.extend_from_slice(rest);
    let again = match keys.parse(&key) {
        // A node may be written in several ways (an IPv6 address in brackets), but always means the same.
        RegistryKeyKind::Node {
            cluster,
            node,
            field,
        } => keys.node_key(&cluster, &node, field.word()),
        RegistryKeyKind::Cluster { cluster, field } => keys.cluster_key(&cluster, field),
        RegistryKeyKind::Unknown { reason, .. } => {
            assert!(!reason.is_empty());
            return;
        }
    };
    assert_eq!(keys.parse(again.as_bytes()), keys.parse(&key));
});
