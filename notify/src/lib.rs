//! Notifications by webhook, Slack, Alertmanager and e-mail.
//!
//! An event passes these in order, all on the leader: `Dispatcher` reads the event history and the audit trail, lets
//! [`galera::publish::notification`] decide what to notify of, and writes a delivery per target into the outbox, in the
//! transaction that advances its cursor; `DeliveryWorker` takes deliveries from the outbox into `TargetQueues` and hands
//! each to `NotificationSender`, which attempts it over the target's channel; the result moves the delivery to the log.
//! `TargetCache` mirrors the targets; [`NotificationService`] is what the API calls.
//!
//! Invariants: every write of both compares the leader's term, so two replicas that believe they lead do not notify twice,
//! and a replica that dies loses nothing; each target's deliveries are sent in order, one at a time, and no target waits
//! for another. When a replica dies between sending a notification and recording that, the receiver gets it again with the
//! same ID.

mod anchor_webhook;
mod approval_links;
mod delivery_worker;
mod dispatcher;
mod egress;
mod outbound;
mod outbox;
mod queue_numbers;
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
use console_core::address_policy::AddressPolicy;
use console_core::audit::AuditTrail;
use console_core::delivery_seal::DeliverySeals;
use console_core::keyspace::NotifyKeys;
use console_core::leader::Leadership;
use console_core::net::PublicUrl;
use console_core::resolver::Resolver;
use console_core::tasks::Tasks;
use galera::{ClusterName, Timestamp};
use history::EventHistory;
use registry::Registry;
use tokio_util::sync::CancellationToken;

pub use anchor_webhook::{AnchorWebhook, AnchorWebhookSettings};
pub use approval_links::{ApprovalLinkSource, RequestToApprove};
pub use outbound::{OutboundClient, OutboundError, OutboundUrl};
pub use sender::{SmtpConfig, SmtpTls, parse_sender as mail_sender};
pub use service::{DeliveryQuery, NotifyError};
pub use target_request::{InvalidTarget, TargetRequest, is_webhook_secret, parse_email_address};

use approval_links::ApprovalLinkMaker;
use delivery_worker::DeliveryWorker;
use dispatcher::Dispatcher;
use egress::EgressPolicy;
use sender::{Mailer, NotificationSender};
use target_cache::TargetCache;
use webhook_client::WebhookClient;

/// Returns whether a cluster was in maintenance at a time.
pub type MaintenanceCheck = Arc<dyn Fn(&ClusterName, Timestamp) -> bool + Send + Sync>;

/// How notifications are sent.
#[derive(Clone, Default)]
pub struct NotifySettings {
    /// Prefix of the console's keys in etcd.
    pub state_prefix: String,
    /// The console's public URL, for links.
    pub public_url: Option<PublicUrl>,
    /// Where receivers may be.
    pub addresses: AddressPolicy,
    /// CA certificates in PEM that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The SMTP server; without one, e-mail targets fail.
    pub smtp: Option<SmtpConfig>,
    /// Where requests that wait for approval are read for their links; without one, notifications have none.
    pub approval_links: Option<Arc<dyn ApprovalLinkSource>>,
    /// Looks up the names of receivers.
    pub resolver: Resolver,
}

/// What notifications are made from.
#[derive(Clone)]
pub struct NotifySources {
    /// Verdict changes.
    pub history: EventHistory,
    /// Actions and incidents.
    pub trail: AuditTrail,
    /// Accounts with their e-mail addresses.
    pub directory: AccountCache,
    pub in_maintenance: MaintenanceCheck,
}

/// Manages targets and deliveries; clones share it.
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
    seals: DeliverySeals,
}

impl std::fmt::Debug for NotificationService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NotificationService")
            .finish_non_exhaustive()
    }
}

impl NotificationService {
    /// Starts the target cache and, while this replica leads, the dispatcher and the delivery worker.
    ///
    /// # Errors
    /// When a setting cannot work, such as an unreadable CA file.
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
                EgressPolicy::new(settings.addresses.clone(), settings.resolver.clone()),
                ca,
            )?,
            mailer,
            public_url: settings.public_url.clone(),
            approval_links: ApprovalLinkMaker::new(settings, &registry),
            directory: sources.directory.clone(),
        };
        let (targets, follow_targets) =
            TargetCache::follow(registry.clone(), &keys, shutdown.clone());
        tracker.spawn(follow_targets);
        let inner = Arc::new(NotifyInner {
            seals: DeliverySeals::of(&registry),
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

    /// The name of the target `id`; `None` if there is no such target any longer.
    ///
    /// # Errors
    /// When etcd fails.
    pub async fn target_name(&self, id: &str) -> Result<Option<String>, NotifyError> {
        match self.require_target(id).await {
            Ok((target, _)) => Ok(Some(target.name)),
            Err(NotifyError::UnknownTarget(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Runs the dispatcher and the delivery worker while this replica leads.
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
                    let (dispatcher, firing) =
                        Dispatcher::new(Arc::clone(&inner), Arc::clone(term));
                    let worker = DeliveryWorker::new(Arc::clone(&inner), Arc::clone(term), firing);
                    tokio::join!(dispatcher.run(), worker.run());
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
