//! Telling people: what is worth telling becomes a delivery for each target, in etcd; the leader sends them.
//!
//! [`galera::publish::notification`] decides what is told. `crier` follows the chronicle and the audit trail and writes what is to be
//! told in the same transaction that moves its cursor on; `courier` sends it. Both work on the replica that leads.
//!
//! Invariants: every write of both compares the term, so nothing is told twice because two replicas think they lead, and
//! nothing is lost with one that dies; each target's deliveries go out in order, one at a time, and no target waits for
//! another. A receiver can get the same notice again, with the same identity, when a replica dies between sending and
//! recording it.

mod courier;
mod crier;
mod desk;
mod draft;
mod keys;
mod outbox;
mod post;
mod reach;
mod send;
mod target;
mod targets;
mod trust;

use std::path::PathBuf;
use std::sync::Arc;

use accounts::Directory;
use console_core::audit::Trail;
use console_core::leader::Leadership;
use console_core::net::PublicUrl;
use galera::{ClusterName, Timestamp};
use history::Chronicle;
use ipnet::IpNet;
use registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use desk::{DeliveryQuery, NotifyError};
pub use draft::{Draft, InvalidTarget, address};
pub use send::{SmtpConfig, SmtpTls, sender as mail_sender};

use courier::Courier;
use crier::Crier;
use keys::Keys;
use post::Poster;
use reach::Reach;
use send::{Mailer, Sender};
use targets::Targets;

/// Whether a cluster was in maintenance at a moment.
pub type Quiet = Arc<dyn Fn(&ClusterName, Timestamp) -> bool + Send + Sync>;

/// How notices leave the console.
#[derive(Clone, Debug, Default)]
pub struct NotifySettings {
    /// Where the console keeps its state.
    pub state_prefix: String,
    /// Address that people use, for links.
    pub public_url: Option<PublicUrl>,
    /// Special addresses that may be reached all the same.
    pub allow: Vec<IpNet>,
    /// More authorities of receivers' certificates, beside the system's.
    pub ca: Option<PathBuf>,
    /// The SMTP server; without one there is no e-mail.
    pub smtp: Option<SmtpConfig>,
}

/// What notices rest on.
#[derive(Clone)]
pub struct Sources {
    /// Changes of verdicts.
    pub chronicle: Chronicle,
    /// Actions and incidents.
    pub trail: Trail,
    /// Accounts with their addresses.
    pub directory: Directory,
    /// Maintenance.
    pub quiet: Quiet,
}

/// The notices of one console; clones share it.
#[derive(Clone)]
pub struct Notify {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    keys: Keys,
    sources: Sources,
    sender: Sender,
    targets: Targets,
}

impl std::fmt::Debug for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}

impl Notify {
    /// Starts to follow the targets, and to tell them while this replica leads.
    ///
    /// # Errors
    /// A sentence about a setting that cannot work.
    pub fn start(
        settings: &NotifySettings,
        registry: Registry,
        sources: Sources,
        leadership: Leadership,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<Self, String> {
        let keys = Keys::new(&settings.state_prefix);
        let ca = settings.ca.as_deref();
        let mailer = settings
            .smtp
            .as_ref()
            .map(|smtp| Mailer::new(smtp, ca))
            .transpose()?;
        let sender = Sender {
            poster: Poster::new(Reach::new(settings.allow.clone()), ca)?,
            mailer,
            public_url: settings.public_url.clone(),
            directory: sources.directory.clone(),
        };
        let (targets, following) = Targets::follow(registry.clone(), &keys, shutdown.clone());
        tracker.spawn(following);
        let inner = Arc::new(Inner {
            registry,
            keys,
            sources,
            sender,
            targets,
        });
        tracker.spawn(lead(Arc::clone(&inner), leadership, shutdown.clone()));
        Ok(Self { inner })
    }
}

/// Tells while this replica leads.
async fn lead(inner: Arc<Inner>, mut leadership: Leadership, shutdown: CancellationToken) {
    loop {
        let term = leadership.borrow_and_update().clone();
        let ended = async {
            match &term {
                Some(term) => {
                    let (crier, firing) = Crier::new(Arc::clone(&inner), Arc::clone(term));
                    let courier = Courier::new(Arc::clone(&inner), Arc::clone(term), firing);
                    tokio::join!(crier.run(), courier.run());
                }
                None => std::future::pending::<()>().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = leadership.changed() => if changed.is_err() {
                return;
            },
            () = ended => {}
        }
    }
}
