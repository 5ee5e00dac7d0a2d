//! The inputs of a cluster monitor.

use galera::judge::confirmation::MembershipRecord;
use galera::judge::history_alarms::HistoryAlarmRecord;
use galera::judge::known_positions::{KnownPositions, PositionCorrections};
use galera::observe::registration::{V2Access, V2KeyValue};
use registry::{KeyChange, LeaseId, RegistryEntry};

/// A monitor's inputs other than probe reports.
#[derive(Debug)]
pub(super) enum MonitorInput {
    /// Every key of the cluster in etcd v3.
    Reset(Vec<RegistryEntry>),
    /// Every key of the cluster in etcd v2.
    V2Keys(Vec<V2KeyValue>),
    /// The console's access to etcd v2.
    V2Access(V2Access),
    /// Changes of some of those in v3.
    Changes(Vec<KeyChange>),
    /// The recorded members; `None` once the record is gone.
    Membership(Option<Box<MembershipRecord>>),
    /// The recorded positions.
    KnownPositions(Box<KnownPositions>),
    /// The recorded positions are gone, or were changed outside the console.
    KnownPositionsLost,
    /// What is to be forgotten of them.
    PositionCorrections(Box<PositionCorrections>),
    /// The recorded alarms about the data; `None` if there is no record, or none that is authentic.
    HistoryAlarms(Option<Box<HistoryAlarmRecord>>),
    /// The granted time to live of a lease, in seconds.
    LeaseTtl { lease: LeaseId, ttl: u64 },
}
