//! Names of nodes and clusters: always one segment of a key and of a URL.
#![no_main]

use galera::{ClusterName, NodeId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(node) = text.parse::<NodeId>() {
        assert!(!node.to_string().contains('/'));
        assert_eq!(node.to_string().parse(), Ok(node.clone()));
        assert_eq!(
            node.clone().normalized(3306).normalized(3306),
            node.normalized(3306)
        );
    }
    if let Ok(cluster) = text.parse::<ClusterName>() {
        assert!(!text.contains('/') && text.len() <= 64);
        assert_eq!(cluster.as_str(), text);
    }
});
