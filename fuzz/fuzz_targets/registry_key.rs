//! Registry keys: recognized keys round-trip.
#![no_main]

use galera::observe::registration::{ParsedKey, RegistryKeys, parse_key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (prefix, rest) = input;
    let _ = parse_key(prefix, rest);
    let keys = RegistryKeys::new(prefix);
    let mut key = keys.root_prefix().into_bytes();
    key.extend_from_slice(rest);
    let again = match keys.parse(&key) {
        // A node id has several spellings (an IPv6 address in brackets) of the same meaning.
        ParsedKey::Node {
            cluster,
            node,
            field,
        } => keys.node_key(&cluster, &node, field.as_str()),
        ParsedKey::Cluster { cluster, field } => keys.cluster_key(&cluster, field),
        ParsedKey::Unknown { reason, .. } => {
            assert!(!reason.is_empty());
            return;
        }
    };
    assert_eq!(keys.parse(again.as_bytes()), keys.parse(&key));
});
