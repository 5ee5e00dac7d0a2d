//! The etcd adapter shared by the console and the agent: reads, watches, leases and compare-and-act.
//!
//! Invariant: no other crate names the etcd client, so that everything outside speaks of entries, revisions and
//! outcomes only. Every call has a deadline; a read is repeated on the next endpoint, so that one dead or hanging
//! member of several stays invisible; a write compares what was read and is never repeated blindly.

#![cfg_attr(
    not(feature = "memory"),
    allow(
        clippy::infallible_destructuring_match,
        reason = "the enum has a second variant only with the back end in memory"
    )
)]

mod accounts;
mod backoff;
mod connection;
mod endpoints;
mod entry;
mod error;
mod event;
mod lease;
#[cfg(feature = "memory")]
pub mod memory;
mod mirror;
mod permission;
mod read;
mod revisions;
pub mod role_layout;
mod sealing;
mod secret;
mod settings;
pub mod spans;
mod storage;
mod transact;
pub mod v2;
mod watch;

pub use accounts::{AccountChange, EtcdRole};
pub use entry::{LeaseId, Listing, RegistryEntry};
pub use error::Error;
pub use event::{KeyChange, WatchEvent};
pub use lease::{Lease, LeaseInfo, LeaseLostReason};
pub use mirror::KeyMirror;
pub use permission::{KeyAccess, KeyPermission};
pub use read::MemberStatus;
pub use revisions::EtcdRestore;
pub use sealing::{
    OpenedRecord, OutdatedSecret, RecordSealer, RecordToSeal, SealTag, SealedRecord, SeenRecord,
    SeenRecords, TamperCause, TamperedRecord, TamperedRecords,
};
pub use secret::Secret;
pub use settings::EtcdSettings;
pub use storage::{StorageAlarm, StorageStatus};
pub use transact::{
    CreateOutcome, Precondition, Transaction, TransactionOutcome, WriteOp, numbered_key,
};
pub use watch::WatchSubscription;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use endpoints::Endpoints;
use revisions::StoreRevisions;
use sealing::Sealing;

/// What a call returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The connection to an etcd cluster; clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    backend: Backend,
    /// Seals and opens protected records, if there is a secret.
    sealing: Option<Arc<Sealing>>,
    /// While true, protected records cannot be written through this connection and its clones.
    hold: Option<Arc<AtomicBool>>,
    revisions: Arc<StoreRevisions>,
}

#[derive(Clone, Debug)]
enum Backend {
    Etcd(Arc<Endpoints>),
    #[cfg(feature = "memory")]
    Memory(memory::MemoryEtcd),
}

impl Registry {
    /// Prepares connections to `settings.endpoints` without opening one: a cluster that is down is no error here.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that can never work, [`Error::TlsFile`] for a certificate, key or authority that
    /// cannot be used.
    pub fn connect(settings: EtcdSettings) -> Result<Self> {
        Ok(Self {
            backend: Backend::Etcd(Arc::new(Endpoints::new(settings)?)),
            sealing: None,
            hold: None,
            revisions: Arc::default(),
        })
    }

    #[cfg(feature = "memory")]
    pub(crate) fn in_memory(store: memory::MemoryEtcd) -> Self {
        Self {
            backend: Backend::Memory(store),
            sealing: None,
            hold: None,
            revisions: Arc::default(),
        }
    }

    /// The endpoints as one text, for messages.
    #[must_use]
    pub fn endpoints(&self) -> &str {
        match &self.backend {
            Backend::Etcd(endpoints) => endpoints.joined_urls(),
            #[cfg(feature = "memory")]
            Backend::Memory(_) => memory::NAME,
        }
    }
}
