//! Names of clusters, nodes and replicas and ids of actions, validated once where they enter.

mod cluster_name;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::timestamp::Timestamp;

pub use cluster_name::{CLUSTER_NAME_MAX, ClusterName, GALERA_NAME_MAX};

/// Longest host name accepted, in characters (RFC 1035).
pub const HOST_MAX: usize = 253;
/// Longest record id accepted, in bytes.
const RECORD_ID_MAX: usize = 40;

/// An invalid cluster or node name; the message states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty text.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// Longer than the limit, in characters.
    #[error("the {what} has {length} characters; at most {limit} are allowed")]
    TooLong {
        /// The kind of name, for the message.
        what: &'static str,
        /// Its length in characters.
        length: usize,
        /// The limit in characters.
        limit: usize,
    },
    /// A character that is not allowed.
    #[error("the {what} contains {character:?}; use letters, digits, '.', '_' and '-' only")]
    Character {
        /// The kind of name, for the message.
        what: &'static str,
        /// The first offending character.
        character: char,
    },
    /// An invalid port after the colon.
    #[error("{0:?} is not a port; use a number from 1 to 65535")]
    Port(String),
    /// Brackets without an IPv6 address in them.
    #[error("{0:?} is not an IPv6 address in brackets")]
    Ipv6(String),
}

fn validate_name(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty(what));
    }
    let length = text.chars().count();
    if length > limit {
        return Err(NameError::TooLong {
            what,
            length,
            limit,
        });
    }
    match text.chars().find(|&c| !is_plain(c)) {
        Some(character) => Err(NameError::Character { what, character }),
        None if text == "." || text == ".." => Err(NameError::Character {
            what,
            character: '.',
        }),
        None => Ok(()),
    }
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The text of a name. Shared where views are copied at every fold; the browser copies little, and pays for every byte of code.
#[cfg(feature = "decide")]
type NameText = std::sync::Arc<str>;
#[cfg(not(feature = "decide"))]
type NameText = String;

/// A node's identity: its registry key, `host` or `host:port` (an IPv6 host with a port is bracketed).
///
/// Without a port the node listens on the console's `--mysql-port`; [`NodeId::normalized`] unifies the two spellings.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    host: NameText,
    port: Option<u16>,
}

impl NodeId {
    /// A node on `host`, at `port` or at the console's default port.
    ///
    /// # Errors
    /// [`NameError`] if the host is neither a host name nor an IP address, or the port is 0.
    pub fn new(host: &str, port: Option<u16>) -> Result<Self, NameError> {
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            validate_name("node name", host, HOST_MAX)?;
        }
        if port == Some(0) {
            return Err(NameError::Port("0".to_owned()));
        }
        Ok(Self {
            host: host.into(),
            port,
        })
    }

    /// The host name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if the identity has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The same node in one spelling: without its port if that is `default_port`, an IPv6 address as RFC 5952 writes it, an
    /// IPv4 address mapped to IPv6 as that IPv4 address, a host name in lower case and without the dot of the root.
    ///
    /// Keys of the registry keep the spelling of their writer; compare ids only in this form.
    #[must_use]
    pub fn normalized(mut self, default_port: u16) -> Self {
        if self.port == Some(default_port) {
            self.port = None;
        }
        if let Some(host) = canonical_host(&self.host) {
            self.host = NameText::from(host.as_str());
        }
        self
    }
}

/// The canonical spelling of `host`; `None` if it has that already.
fn canonical_host(host: &str) -> Option<String> {
    if host.contains(':') {
        let address: std::net::Ipv6Addr = host.parse().ok()?;
        let canonical = match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => address.to_string(),
        };
        return (canonical != host).then_some(canonical);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let spelled_otherwise =
        name.len() != host.len() || name.bytes().any(|b| b.is_ascii_uppercase());
    (spelled_otherwise && !name.is_empty()).then(|| name.to_ascii_lowercase())
}

impl FromStr for NodeId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse_port = |port: &str| match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
            _ => Err(NameError::Port(port.to_owned())),
        };
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Self::new(text, None);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let bad = || NameError::Ipv6(text.to_owned());
            let (host, tail) = rest.split_once(']').ok_or_else(bad)?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(bad());
            }
            return match tail.strip_prefix(':') {
                Some(port) => Self::new(host, Some(parse_port(port)?)),
                None if tail.is_empty() => Self::new(host, None),
                None => Err(bad()),
            };
        }
        match text.rsplit_once(':') {
            Some((host, port)) => Self::new(host, Some(parse_port(port)?)),
            None => Self::new(text, None),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

macro_rules! serialize_as_string {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }
    };
}

serialize_as_string!(ClusterName);
serialize_as_string!(NodeId);

/// A new id of a record in etcd. It starts with the time, so that ids sort by it; `random` distinguishes records that
/// are created in the same millisecond.
#[must_use]
pub fn new_record_id(created_at: Timestamp, random: u32) -> String {
    format!("{:012x}-{random:08x}", created_at.unix_millis())
}

/// Whether `text` has the form of a record id, which is one segment of a key and of a URL.
#[must_use]
pub fn is_record_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= RECORD_ID_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Text that cannot be the id of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an action: use 1 to 40 hexadecimal digits and hyphens")]
pub struct ActionIdError;

/// The id of an action; ids sort by the time of the request.
///
/// Parsing validates text of a request. Deserializing accepts any text, so that every stored action stays readable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct ActionId(String);

impl ActionId {
    /// A new id; see [`new_record_id`].
    #[must_use]
    pub fn new(requested_at: Timestamp, random: u32) -> Self {
        Self(new_record_id(requested_at, random))
    }

    /// An id that was stored before, as it is.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ActionId {
    type Err = ActionIdError;

    fn from_str(text: &str) -> Result<Self, ActionIdError> {
        if is_record_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ActionIdError)
        }
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a running replica of the console, unique to its process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct ReplicaId(String);

impl ReplicaId {
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_ids_sort_by_time_and_are_valid() {
        let early = ActionId::new(Timestamp::from_unix_millis(1_795_000_000_000), u32::MAX);
        let late = ActionId::new(Timestamp::from_unix_millis(1_795_000_000_001), 0);
        assert!(early < late);
        assert_eq!(late.as_str(), "01a1ee565e01-00000000");
        assert_eq!(late.as_str().parse(), Ok(late));
        for bad in ["", "a/b", "../x", "<script>", "auto-1", &"a".repeat(41)] {
            assert_eq!(bad.parse::<ActionId>(), Err(ActionIdError), "{bad}");
        }
    }

    #[test]
    fn node_ids_round_trip() {
        for text in [
            "db1",
            "127.0.0.1:3307",
            "::1",
            "[::1]:3306",
            "n1.example-a.org",
        ] {
            assert_eq!(text.parse::<NodeId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn default_port_is_omitted() {
        let with: NodeId = "h:3306".parse().unwrap();
        assert_eq!(with.normalized(3306), "h".parse().unwrap());
    }

    #[test]
    fn spellings_of_one_address_are_one_node() {
        for (spelling, canonical) in [
            ("::0001", "::1"),
            ("2001:DB8:0:0:0:0:0:A", "2001:db8::a"),
            ("[2001:0db8::000a]:3306", "2001:db8::a"),
            ("[2001:0db8::000a]:3307", "[2001:db8::a]:3307"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[::ffff:a00:1]:3306", "10.0.0.1"),
            ("DB1.Example.org", "db1.example.org"),
            ("db1.example.org.", "db1.example.org"),
            ("Db1:3306", "db1"),
            ("10.0.0.1", "10.0.0.1"),
            ("db_1", "db_1"),
        ] {
            let id: NodeId = spelling.parse().unwrap();
            assert_eq!(id.to_string(), spelling, "the registry's spelling is kept");
            assert_eq!(id.normalized(3306).to_string(), canonical);
        }
        let mapped: NodeId = "[::ffff:10.0.0.1]:3307".parse().unwrap();
        assert_eq!(mapped.normalized(3306).to_string(), "10.0.0.1:3307");
    }

    #[test]
    fn rejects_names_that_are_not_a_single_path_segment() {
        let long = "x".repeat(300);
        for text in [
            "", "a/b", "a b", "<script>", "..", &long, "h:", "h:0", "h:99999", "h:+1", "[::1",
        ] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?}");
        }
        for text in ["", "a/b", "a b", "<script>", "..", &long, "a:1"] {
            assert!(text.parse::<ClusterName>().is_err(), "{text:?}");
        }
    }
}
