//! Telling people: what is worth telling becomes a delivery for each target, in etcd; the leader sends them.
//!
//! [`galera::publish::notification`] decides what is told. `dispatcher` follows the chronicle and the audit trail and writes what is to be
//! told in the same transaction that moves its cursor on; `delivery_worker` sends it. Both work on the replica that leads.
//!
//! Invariants: every write of both compares the term, so nothing is told twice because two replicas think they lead, and
//! nothing is lost with one that dies; each target's deliveries go out in order, one at a time, and no target waits for
//! another. A receiver can get the same notice again, with the same identity, when a replica dies between sending and
//! recording it.

mod delivery_worker;
mod dispatcher;
mod egress;
mod outbox;
mod sender;
mod service;
mod target;
mod target_cache;
mod target_request;
mod tls;
mod webhook_client;

use std::path::PathBuf;
use std::sync::Arc;

use accounts::AccountCache;
use console_core::audit::AuditTrail;
use console_core::keyspace::NotifyKeys;
use console_core::leader::Leadership;
use console_core::net::PublicUrl;
use console_core::tasks::Tasks;
use galera::{ClusterName, Timestamp};
use history::EventHistory;
use ipnet::IpNet;
use registry::Registry;
use tokio_util::sync::CancellationToken;

pub use sender::{SmtpConfig, SmtpTls, parse_sender as mail_sender};
pub use service::{DeliveryQuery, NotifyError};
pub use target_request::{InvalidTarget, TargetRequest, parse_email_address};

use delivery_worker::DeliveryWorker;
use dispatcher::Dispatcher;
use egress::EgressPolicy;
use sender::{Mailer, NotificationSender};
use target_cache::TargetCache;
use webhook_client::WebhookClient;

/// Whether a cluster was in maintenance at a moment.
pub type MaintenanceCheck = Arc<dyn Fn(&ClusterName, Timestamp) -> bool + Send + Sync>;

/// How notices leave the console.
#[derive(Clone, Debug, Default)]
pub struct NotifySettings {
    /// Where the console keeps its state.
    pub state_prefix: String,
    /// Address that people use, for links.
    pub public_url: Option<PublicUrl>,
    /// Special addresses that may be reached all the same.
    pub allowed_networks: Vec<IpNet>,
    /// More authorities of receivers' certificates, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The SMTP server; without one there is no e-mail.
    pub smtp: Option<SmtpConfig>,
}

/// What notices rest on.
#[derive(Clone)]
pub struct NotifySources {
    /// Changes of verdicts.
    pub history: EventHistory,
    /// Actions and incidents.
    pub trail: AuditTrail,
    /// Accounts with their addresses.
    pub directory: AccountCache,
    /// Maintenance.
    pub in_maintenance: MaintenanceCheck,
}

/// The notices of one console; clones share it.
#[derive(Clone)]
pub struct NotificationService {
    inner: Arc<NotifyInner>,
}

struct NotifyInner {
    registry: Registry,
    keys: NotifyKeys,
    sources: NotifySources,
    sender: NotificationSender,
    targets: TargetCache,
}

impl std::fmt::Debug for NotificationService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}

impl NotificationService {
    /// Starts to follow the targets, and to tell them while this replica leads.
    ///
    /// # Errors
    /// A sentence about a setting that cannot work.
    pub fn start(
        settings: &NotifySettings,
        registry: Registry,
        sources: NotifySources,
        leadership: Leadership,
        tasks: &Tasks,
    ) -> Result<Self, String> {
        let Tasks { tracker, shutdown } = tasks;
        let keys = NotifyKeys::new(&settings.state_prefix);
        let ca = settings.ca_file.as_deref();
        let mailer = settings
            .smtp
            .as_ref()
            .map(|smtp| Mailer::new(smtp, ca))
            .transpose()?;
        let sender = NotificationSender {
            webhook_client: WebhookClient::new(
                EgressPolicy::new(settings.allowed_networks.clone()),
                ca,
            )?,
            mailer,
            public_url: settings.public_url.clone(),
            directory: sources.directory.clone(),
        };
        let (targets, following) = TargetCache::follow(registry.clone(), &keys, shutdown.clone());
        tracker.spawn(following);
        let inner = Arc::new(NotifyInner {
            registry,
            keys,
            sources,
            sender,
            targets,
        });
        tracker.spawn(run_while_leader(
            Arc::clone(&inner),
            leadership,
            shutdown.clone(),
        ));
        Ok(Self { inner })
    }
}

/// Tells while this replica leads.
async fn run_while_leader(
    inner: Arc<NotifyInner>,
    mut leadership: Leadership,
    shutdown: CancellationToken,
) {
    loop {
        let term = leadership.borrow_and_update().clone();
        let ended = async {
            match &term {
                Some(term) => {
                    let (crier, firing) = Dispatcher::new(Arc::clone(&inner), Arc::clone(term));
                    let courier = DeliveryWorker::new(Arc::clone(&inner), Arc::clone(term), firing);
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
