//! Listings of etcd's v2 keys: the tree of an answer as keys and directories without keys.

use serde::Deserialize;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Entry {
    /// The complete key, with its leading slash.
    pub key: String,
    /// The value; always text.
    pub value: String,
    /// The index of its last write.
    pub modified_index: u64,
    /// Seconds until it expires, or until a directory does that it lies in; `None` without a time to live.
    pub ttl: Option<u64>,
}

/// The keys below a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Listing {
    /// etcd's index when they were read (`X-Etcd-Index`).
    pub index: u64,
    /// The keys in order.
    pub entries: Vec<V2Entry>,
    /// Directories that hold no key and no directory, in order: what an expired key leaves.
    pub empty_directories: Vec<String>,
}

/// A node of the tree as etcd sends it.
#[derive(Deserialize)]
struct V2Node {
    #[serde(default)]
    key: String,
    value: Option<String>,
    #[serde(default)]
    dir: bool,
    #[serde(default)]
    nodes: Vec<V2Node>,
    ttl: Option<i64>,
    #[serde(rename = "modifiedIndex", default)]
    modified_index: u64,
}

#[derive(Deserialize)]
struct V2Answer {
    node: V2Node,
}

impl V2Listing {
    pub(super) fn empty(index: u64) -> Self {
        Self {
            index,
            entries: Vec::new(),
            empty_directories: Vec::new(),
        }
    }

    /// Reads the body of an answer. A key outside `prefix` makes all of it unusable.
    pub(super) fn parse(prefix: &str, index: u64, body: &[u8]) -> Result<Self, String> {
        let answer: V2Answer = serde_json::from_slice(body)
            .map_err(|error| format!("the response is not a key listing ({error})"))?;
        let prefix = format!("/{}", prefix.trim_matches('/'));
        if !answer.node.key.is_empty() && answer.node.key != prefix {
            return Err(format!("the answer is not about {prefix}"));
        }
        let mut listing = Self::empty(index);
        if !answer.node.dir {
            // A key where a directory is expected: shown like every key that is not recognized.
            if answer.node.key != prefix || answer.node.value.is_none() {
                return Err(format!(
                    "the answer has neither keys of {prefix} nor its value"
                ));
            }
            listing.add_key(answer.node, None);
            return Ok(listing);
        }
        let inside = format!("{prefix}/");
        for node in answer.node.nodes {
            listing.add(&inside, node, answer.node.ttl)?;
        }
        listing
            .entries
            .sort_by(|one, other| one.key.cmp(&other.key));
        listing.empty_directories.sort();
        Ok(listing)
    }

    fn add_key(&mut self, node: V2Node, ttl: Option<i64>) {
        self.entries.push(V2Entry {
            value: node.value.unwrap_or_default(),
            modified_index: node.modified_index,
            ttl: ttl.map(|seconds| u64::try_from(seconds).unwrap_or(0)),
            key: node.key,
        });
    }

    /// Adds what lies below `node`, all of which lies inside `parent`. The depth is bounded by the parser of the JSON.
    fn add(&mut self, parent: &str, node: V2Node, ttl: Option<i64>) -> Result<(), String> {
        let name = node.key.strip_prefix(parent).unwrap_or_default();
        if name.is_empty() || name.contains('/') {
            return Err(format!("the answer has a key outside {parent}"));
        }
        let ttl = match (node.ttl, ttl) {
            (Some(own), Some(around)) => Some(own.min(around)),
            (own, around) => own.or(around),
        };
        if !node.dir {
            self.add_key(node, ttl);
            return Ok(());
        }
        if node.nodes.is_empty() {
            self.empty_directories.push(node.key);
            return Ok(());
        }
        let inside = format!("{}/", node.key);
        for child in node.nodes {
            self.add(&inside, child, ttl)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"{"action":"get","node":{"key":"/galera","dir":true,"nodes":[
        {"key":"/galera/lab","dir":true,"ttl":9,"nodes":[
            {"key":"/galera/lab/10.0.0.2","dir":true},
            {"key":"/galera/lab/10.0.0.1","dir":true,"nodes":[
                {"key":"/galera/lab/10.0.0.1/seqno","value":"7","ttl":4,"modifiedIndex":12,"createdIndex":12},
                {"key":"/galera/lab/10.0.0.1/ipaddress","value":"10.0.0.1","modifiedIndex":3,"createdIndex":3}
            ]}
        ]}]}}"#;

    #[test]
    fn keys_and_empty_directories_are_listed_with_the_shortest_life() {
        let listing = V2Listing::parse("/galera", 20, LISTING.as_bytes()).unwrap();
        let entries: Vec<_> = listing
            .entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.ttl, entry.modified_index))
            .collect();
        assert_eq!(
            entries,
            [
                ("/galera/lab/10.0.0.1/ipaddress", Some(9), 3),
                ("/galera/lab/10.0.0.1/seqno", Some(4), 12),
            ]
        );
        assert_eq!(listing.empty_directories, ["/galera/lab/10.0.0.2"]);
        assert_eq!(listing.index, 20);
    }

    #[test]
    fn a_key_where_a_directory_is_expected_is_listed() {
        let body = r#"{"node":{"key":"/galera","value":"x","modifiedIndex":4}}"#;
        let listing = V2Listing::parse("/galera", 9, body.as_bytes()).unwrap();
        assert_eq!(listing.entries[0].key, "/galera");
    }

    #[test]
    fn an_answer_that_is_no_tree_of_the_prefix_is_refused() {
        let deep = format!(
            r#"{{"node":{{"key":"/galera","dir":true,"nodes":{}{}}}}}"#,
            "[{\"nodes\":".repeat(5_000),
            "}]".repeat(5_000)
        );
        for body in [
            "",
            "[]",
            "{}",
            "<html>",
            r#"{"node":{}}"#,
            r#"{"node":{"key":"/galera"}}"#,
            r#"{"node":{"key":"/other","dir":true}}"#,
            r#"{"node":{"key":"/galera","dir":true,"nodes":[{"key":"/etc/x","value":"y"}]}}"#,
            r#"{"node":{"key":"/galera","dir":true,"nodes":[{"key":"/galera/","value":"y"}]}}"#,
            r#"{"node":{"key":"/galera","dir":true,"nodes":[{"key":"/galera/a/b","value":"y"}]}}"#,
            r#"{"node":{"key":"/galera","dir":true,"nodes":[{"key":"/galera/a","value":7}]}}"#,
            &deep,
        ] {
            let read = V2Listing::parse("/galera", 1, body.as_bytes());
            assert!(read.is_err(), "{}", &body[..body.len().min(80)]);
        }
    }
}
