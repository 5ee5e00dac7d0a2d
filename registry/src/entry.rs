//! Entries of etcd: keys with values, revisions and leases.

use etcd_client::KeyValue;

/// The id of a lease; 0 for no lease.
pub type LeaseId = i64;

/// One key with its value, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEntry {
    /// The key; any bytes.
    pub key: Vec<u8>,
    /// The value; any bytes.
    pub value: Vec<u8>,
    /// The revision at which the key was created.
    pub create_revision: i64,
    /// The revision of the last change; what an update compares.
    pub mod_revision: i64,
    /// How many times the key was written since it was created.
    pub version: i64,
    /// The lease the key lives under; 0 when it is durable.
    pub lease: LeaseId,
}

impl From<&KeyValue> for RegistryEntry {
    fn from(kv: &KeyValue) -> Self {
        Self {
            key: kv.key().to_vec(),
            value: kv.value().to_vec(),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            version: kv.version(),
            lease: kv.lease(),
        }
    }
}

/// Every entry under a prefix, all as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The revision that the entries were read at.
    pub revision: i64,
    /// The entries in key order.
    pub entries: Vec<RegistryEntry>,
}
