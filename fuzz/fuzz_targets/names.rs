//! Names of nodes, clusters and status pages are always one segment of a key and of a URL; origins are always safe in a
//! header.
#![no_main]

use galera::publish::status_pages::{EmbedOrigin, Slug};
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
    if let Ok(slug) = text.parse::<Slug>() {
        assert!(!text.contains(['/', '.', '%']) && text.len() <= 63);
        assert_eq!(slug.as_str(), text);
    }
    if let Ok(origin) = text.parse::<EmbedOrigin>() {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b":/.*-".contains(&b);
        assert!(origin.as_str().bytes().all(safe));
        assert_eq!(origin.as_str().parse(), Ok(origin.clone()));
    }
});
