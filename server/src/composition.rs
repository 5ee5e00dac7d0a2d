//! Composition root: builds every part of the console from a [`Config`].

mod addresses;
mod people;
mod records;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use accounts::TokenStore;
use accounts::store::AccountStore;
use console_core::address_policy::AddressPolicy;
use console_core::approval_link::ApprovalLinkSeals;
use console_core::audit::{
    AnchorFile, AnchorFileError, AnchorOutputs, ArchiveError, AuditArchive, AuditTrail,
};
use console_core::current_labels::CurrentLabels;
use console_core::leader::{self, Leadership};
use console_core::resolver::Resolver;
use console_core::tasks::Tasks;
use galera::ReplicaId;
use galera::judge::cluster::FoldSettings;
use galera::recover::action::ActionLimits;
use galera::recover::bootstrap::{RecoveryReach, RecoverySettings};
use history::{EventHistory, HistorySettings};
use monitor::Monitor;
use monitor::mysql::MysqlSettings;
use notify::{AnchorWebhook, NotificationService, NotifySettings, NotifySources};
use registry::Registry;

pub(crate) use addresses::probe_networks;
use settings::{monitor_settings, notify_settings, recovery_account};

use crate::actions::{ActionService, ActionSettings, ClusterAccess, MonitorClusterAccess};
use crate::allowed_hosts::AllowedHosts;
use crate::approval_links;
use crate::assets::Site;
use crate::audit_anchors::AnchorDelivery;
use crate::audit_retention;
use crate::authority::{SealedState, StateSecretError, TamperReporter};
use crate::config::{Config, EtcdConfig, password_context};
use crate::etcd_access::EtcdAccess;
use crate::etcd_storage::{DefragmentationPolicy, EtcdStorage, StorageReporter};
use crate::finding_records::{FindingSchedule, FindingService};
use crate::history_alarms::AlarmAcknowledgements;
use crate::http::{AppContext, AppState};
use crate::limits::ClientLimits;
use crate::live::SharedTopics;
use crate::membership::NodeAdmission;
use crate::running_settings::RunningSettings;
use crate::started_bootstraps;
use crate::status_pages::{self, PageAssets, StatusPageConfig, StatusPageDeps, StatusPageService};
use crate::telemetry::ExportMetrics;
use crate::tls::CertificateStore;

/// How long the lock of a crashed replica keeps others from continuing its action.
const LOCK_TTL: Duration = Duration::from_secs(10);
/// Where figures are recorded, below `--data-dir`.
pub(crate) const SERIES_DIRECTORY: &str = "series";
/// Where views are recorded, below `--data-dir`.
pub(crate) const VIEWS_DIRECTORY: &str = "views";
/// Time between two looks at the files of the certificate.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);

/// Why the console cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The file of the state secret, or of what was seen, cannot be used.
    #[error(transparent)]
    StateSecret(#[from] StateSecretError),
    /// The file of audit anchors cannot be used.
    #[error(transparent)]
    AnchorFile(#[from] AnchorFileError),
    /// The directory of audit archives cannot be used.
    #[error("--audit-archive-dir: {0}")]
    Archive(#[from] ArchiveError),
    /// Invalid notification settings.
    #[error("notifications cannot be sent: {0}")]
    Notify(String),
    /// The identity provider cannot be used.
    #[error("--oidc-issuer: {0}")]
    SignOn(String),
    /// The metrics server cannot be used.
    #[error("--metrics-query-url: {0}")]
    MetricsServer(String),
    /// The registry in etcd v2 cannot be used.
    #[error("--registry-v2-endpoints: {0}")]
    RegistryV2(registry::Error),
    /// The export by OTLP cannot be started.
    #[error("--otlp-endpoint: {0}")]
    Otlp(String),
    /// Invalid settings of the webhook of anchors.
    #[error("--audit-anchor-url: {0}")]
    AnchorWebhook(String),
}

/// What a test replaces; by default nothing.
#[derive(Default)]
pub struct Overrides {
    /// Unique name of this process.
    pub replica: Option<ReplicaId>,
    /// Access to the clusters for actions.
    pub cluster_access: Option<Arc<dyn ClusterAccess>>,
    /// Deadlines of actions.
    pub action_limits: Option<ActionLimits>,
    /// Time to live of an action's lock.
    pub lock_ttl: Option<Duration>,
    /// Looks up host names.
    pub resolver: Option<Resolver>,
    /// When findings open and end.
    pub finding_schedule: Option<FindingSchedule>,
    /// Counts of the export by OTLP.
    pub export: ExportMetrics,
    /// When etcd's database is defragmented; by default that of an embedded etcd only.
    pub defragmentation: Option<DefragmentationPolicy>,
}

/// A running console.
pub struct Console {
    /// State of the router.
    pub state: AppState,
    /// Its background tasks.
    pub tasks: Tasks,
}

impl Console {
    /// Starts every part on `registry`, whose records are sealed if `config` has a state secret. Does not wait for etcd or any
    /// database to answer.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(
        config: &Config,
        site: Site,
        registry: Registry,
        overrides: Overrides,
    ) -> Result<Self, BuildError> {
        let replica = overrides.replica.clone().unwrap_or_else(replica_id);
        let sealed = SealedState::new(
            registry,
            &config.state_prefix,
            config.state_secret.as_ref(),
            replica.as_str(),
        )?;
        let anchor_file = config.audit.anchor_file.as_deref();
        let anchor_file = anchor_file.map(AnchorFile::open).transpose()?;
        let retention = config.audit.retention.as_ref();
        let archive = retention.map(|(_, directory)| AuditArchive::open(directory));
        let archive = archive.transpose()?;
        let trail = sealed.audit_trail();
        if let Some(anchor) = anchor_file.as_ref().and_then(AnchorFile::last) {
            trail.remember(anchor);
        }
        let builder = Builder {
            config,
            trail,
            registry: sealed.registry.clone(),
            replica,
            resolver: overrides
                .resolver
                .clone()
                .unwrap_or_else(|| Resolver::new(config.limits.dns_lookups)),
            labels: config.labels.clone().into(),
            tasks: Tasks::default(),
        };
        let state = builder.build(site, overrides, sealed, anchor_file)?;
        if let (Some((keep, _)), Some(archive)) = (retention, archive) {
            let leadership = state.leadership.clone();
            let work = audit_retention::run(builder.trail.clone(), archive, *keep, leadership);
            let shutdown = builder.tasks.shutdown.clone();
            builder
                .tasks
                .spawn(async move { _ = shutdown.run_until_cancelled(work).await });
        }
        Ok(Self {
            state: AppState(Arc::new(state)),
            tasks: builder.tasks,
        })
    }
}

/// Inputs of every part.
struct Builder<'a> {
    config: &'a Config,
    registry: Registry,
    trail: AuditTrail,
    replica: ReplicaId,
    resolver: Resolver,
    /// What a reload replaces for the monitor and for actions.
    labels: CurrentLabels,
    tasks: Tasks,
}

impl Builder<'_> {
    fn build(
        &self,
        site: Site,
        overrides: Overrides,
        sealed: SealedState,
        anchor_file: Option<AnchorFile>,
    ) -> Result<AppContext, BuildError> {
        let config = self.config;
        let finding_schedule = overrides.finding_schedule.unwrap_or_default();
        let defragmentation = overrides.defragmentation;
        let export = overrides.export.clone();
        let authenticator = self.authenticator();
        let sign_on = self.sign_on()?;
        let metrics_server = self.metrics_server()?;
        let monitor_settings = monitor_settings(config, &self.resolver, &self.labels)?;
        let fold = monitor_settings.fold_settings();
        let mysql = monitor_settings.mysql.clone();
        let monitor = Monitor::start(monitor_settings, self.registry.clone(), &self.tasks);
        let series = self.series(&monitor);
        let recorded_views = self.recorded_views(&monitor);
        let leadership = self.leadership();
        let history = self.history(&monitor, &leadership);
        let actions = self.actions(&monitor, &mysql, fold, overrides);
        self.follow_bootstraps(&actions, &monitor);
        let trail = &self.trail;
        let status_pages = self.status_pages(&site, &monitor, &history, trail, &leadership);
        let sources = NotifySources {
            history: history.clone(),
            trail: trail.clone(),
            directory: authenticator.cache().clone(),
            in_maintenance: status_pages::maintenance(&status_pages),
        };
        let receiver_policy = AddressPolicy::new(config.notify.allow.clone());
        let notifications = NotificationService::start(
            &NotifySettings {
                approval_links: approval_links::source(config, &actions),
                ..notify_settings(config, &self.resolver, &receiver_policy)
            },
            self.registry.clone(),
            sources,
            leadership.clone(),
            &self.tasks,
        )
        .map_err(BuildError::Notify)?;
        let reporter = TamperReporter {
            monitor: monitor.clone(),
            trail: trail.clone(),
            leadership: leadership.clone(),
            actor: self.replica.to_string(),
        };
        sealed.warn_if_unsealed(&monitor);
        let anchor_outputs = AnchorOutputs {
            file: anchor_file,
            ..AnchorOutputs::default()
        };
        let anchor_delivery = self.anchor_delivery(&anchor_outputs, &monitor)?;
        self.tasks.spawn(sealed.run(
            reporter,
            config.audit.anchors,
            anchor_outputs,
            self.tasks.shutdown.clone(),
        ));
        let etcd_access = EtcdAccess::default();
        if matches!(config.etcd, EtcdConfig::Cluster(_)) {
            let following = etcd_access.clone();
            let checking = following.follow(self.registry.clone(), monitor.clone());
            self.spawn_until_shutdown(checking);
        }
        let etcd_storage = EtcdStorage::of(config, defragmentation);
        let reporter = StorageReporter::new(&monitor, trail, &leadership, &self.replica);
        let (storage, registry) = (etcd_storage.clone(), self.registry.clone());
        self.spawn_until_shutdown(storage.follow(registry, reporter, actions.gate()));
        self.announce_replica_differences(&actions, &monitor);
        if config.approvals.allows_acting_alone() {
            let notice = "One person can act alone here: --approvals 0 is set.";
            monitor.set_notices("approvals", vec![notice.to_owned()]);
        }
        let accounts = AccountStore::new(self.registry.clone(), config.state_prefix.as_str())
            .audited_in(self.trail.clone())
            .with_password_context(password_context(config.http.public_url.as_ref()))
            .with_hash_threads(authenticator.reserved_hash_threads().clone());
        let admission = NodeAdmission::new(
            monitor.clone(),
            self.registry.clone(),
            trail.clone(),
            &config.state_prefix,
            config.mysql.port,
        );
        let history_alarms = AlarmAcknowledgements::new(
            monitor.clone(),
            self.registry.clone(),
            trail.clone(),
            &config.state_prefix,
        );
        self.announce_alarms(&history_alarms, &leadership);
        let findings = self.findings(&monitor, &leadership, finding_schedule);
        Ok(AppContext {
            admission,
            history_alarms,
            findings,
            export,
            registry: self.registry.clone(),
            accounts,
            tokens: TokenStore::new(
                self.registry.clone(),
                &config.state_prefix,
                self.trail.clone(),
            )
            .with_lifetime_max(config.http.token_lifetime_max),
            public_url: config.http.public_url.clone(),
            allowed_hosts: AllowedHosts::new(
                config.http.public_url.clone(),
                &config.http.allowed_hosts,
            ),
            certificate: self.certificate(),
            etcd_access,
            etcd_storage,
            anchor_delivery,
            state_prefix: config.state_prefix.clone(),
            metrics_token: config.http.metrics_token.clone(),
            metrics_nodes: config.http.metrics_nodes,
            trusted_proxies: config.http.trusted_proxies.clone(),
            settings: Arc::new(RunningSettings::of(config)),
            serves_metrics: config.http.metrics_listen.is_none(),
            authenticator,
            sign_on,
            live_topics: SharedTopics::new(monitor.clone(), Some(actions.clone())),
            monitor,
            actions,
            history,
            series,
            metrics_server,
            recorded_views,
            leadership,
            status_pages,
            notifications,
            approval_links: config
                .notify
                .approval_links
                .then(|| ApprovalLinkSeals::of(&self.registry)),
            metrics: Arc::default(),
            limits: ClientLimits::new(&config.limits),
            resolver: self.resolver.clone(),
            probe_policy: mysql.probe_policy,
            receiver_policy,
            labels: self.labels.clone(),
            site,
            shutdown: self.tasks.shutdown.clone(),
            tracker: self.tasks.tracker.clone(),
        })
    }

    /// Runs `work` in the background until the console stops.
    fn spawn_until_shutdown(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.tasks.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.run_until_cancelled(work).await;
        });
    }

    /// Every page shows that approval settings or clocks of replicas differ.
    fn announce_replica_differences(&self, actions: &ActionService, monitor: &Monitor) {
        let (mut notices, monitor) = (actions.replica_notices(), monitor.clone());
        self.spawn_until_shutdown(async move {
            loop {
                let shown = notices.borrow_and_update().clone();
                monitor.set_notices("replica differences", shown);
                if notices.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Alarms about data reach the audit trail, and from there the notifications.
    fn announce_alarms(&self, alarms: &AlarmAcknowledgements, leadership: &Leadership) {
        let announce = alarms
            .clone()
            .announce(leadership.clone(), self.replica.to_string());
        self.spawn_until_shutdown(announce);
    }

    /// The findings of all clusters, recorded and announced while this replica leads.
    fn findings(
        &self,
        monitor: &Monitor,
        leadership: &Leadership,
        schedule: FindingSchedule,
    ) -> FindingService {
        let (service, following) = FindingService::new(
            monitor.clone(),
            self.registry.clone(),
            self.trail.clone(),
            &self.config.state_prefix,
            self.tasks.shutdown.clone(),
        );
        self.tasks.spawn(following);
        let replica = self.replica.to_string();
        let announcing = service
            .clone()
            .announce(leadership.clone(), replica, schedule);
        self.spawn_until_shutdown(announcing);
        service
    }

    fn certificate(&self) -> Option<Arc<CertificateStore>> {
        let tls = self.config.http.tls.clone()?;
        let store = Arc::new(CertificateStore::new(tls));
        let (following, shutdown) = (Arc::clone(&store), self.tasks.shutdown.clone());
        self.tasks.spawn(async move {
            shutdown
                .run_until_cancelled(following.follow_files(CERTIFICATE_INTERVAL))
                .await;
        });
        Some(store)
    }

    /// Sends anchors to the webhook, if there is one.
    fn anchor_delivery(
        &self,
        outputs: &AnchorOutputs,
        monitor: &Monitor,
    ) -> Result<Option<Arc<AnchorDelivery>>, BuildError> {
        let Some(settings) = self.config.audit.anchor_webhook.clone() else {
            return Ok(None);
        };
        let ca = self.config.notify.ca.as_deref();
        let webhook = AnchorWebhook::new(settings, ca, self.resolver.clone(), self.replica.clone())
            .map_err(BuildError::AnchorWebhook)?;
        let delivery = Arc::new(AnchorDelivery::default());
        let (sending, newest) = (Arc::clone(&delivery), outputs.newest.subscribe());
        let (monitor, shutdown) = (monitor.clone(), self.tasks.shutdown.clone());
        self.tasks.spawn(async move {
            let sending = sending.run(&webhook, newest, &monitor);
            shutdown.run_until_cancelled(sending).await;
        });
        Ok(Some(delivery))
    }

    fn leadership(&self) -> Leadership {
        let (leadership, election) = leader::campaign(
            self.registry.clone(),
            &self.config.state_prefix,
            self.replica.clone(),
            self.tasks.shutdown.clone(),
        );
        self.tasks.spawn(election);
        leadership
    }

    fn history(&self, monitor: &Monitor, leadership: &Leadership) -> EventHistory {
        let settings = HistorySettings {
            state_prefix: self.config.state_prefix.clone(),
            replica: self.replica.clone(),
            retention: self.config.history.retention,
            changes_max: self.config.history.changes_max,
        };
        let (history, recording) = EventHistory::start(
            settings,
            self.registry.clone(),
            monitor.clone(),
            leadership.clone(),
            self.tasks.shutdown.clone(),
        );
        self.tasks.spawn(recording);
        history
    }

    fn actions(
        &self,
        monitor: &Monitor,
        mysql: &MysqlSettings,
        fold: FoldSettings,
        overrides: Overrides,
    ) -> ActionService {
        let config = self.config;
        let recovery = recovery_account(config, mysql);
        let settings = ActionSettings {
            replica: self.replica.clone(),
            registry_prefix: config.registry_prefix.clone(),
            state_prefix: config.state_prefix.clone(),
            plan: RecoverySettings {
                fold,
                ..RecoverySettings::default()
            },
            approvals: config.approvals.per_kind.clone(),
            cluster_approvals: config.approvals.clusters.clone(),
            labels: self.labels.clone(),
            limits: overrides.action_limits.unwrap_or_else(|| ActionLimits {
                approvals_needed: config.approvals.default_count,
                pending_timeout: config.request_expiry,
                approved_timeout: config.approval_expiry,
                ..ActionLimits::default()
            }),
            lock_ttl: overrides.lock_ttl.unwrap_or(LOCK_TTL),
            recovery_reach: recovery
                .as_ref()
                .map_or(RecoveryReach::Nowhere, |account| account.reach),
            order_key: config.order_key.clone(),
        };
        let clusters = overrides.cluster_access.unwrap_or_else(|| {
            let timeout = config.probe_timeout;
            let access = MonitorClusterAccess::new(monitor.clone(), mysql.port, recovery, timeout);
            Arc::new(access)
        });
        let trail = self.trail.clone();
        ActionService::start(
            settings,
            self.registry.clone(),
            trail,
            clusters,
            &self.tasks,
        )
    }

    /// Members that may have been bootstrapped out of sight count as possibly Primary.
    fn follow_bootstraps(&self, actions: &ActionService, monitor: &Monitor) {
        let shutdown = self.tasks.shutdown.clone();
        let follow = started_bootstraps::follow(actions.clone(), monitor.clone());
        self.tasks
            .spawn(async move { _ = shutdown.run_until_cancelled(follow).await });
    }

    fn status_pages(
        &self,
        site: &Site,
        monitor: &Monitor,
        history: &EventHistory,
        trail: &AuditTrail,
        leadership: &Leadership,
    ) -> StatusPageService {
        let public_url = self.config.http.public_url.as_ref();
        let settings = StatusPageConfig {
            state_prefix: self.config.state_prefix.clone(),
            replica: self.replica.clone(),
            assets: PageAssets {
                css: site.status_css.clone(),
                js: site.status_js.clone(),
                console_url: public_url.map(ToString::to_string),
            },
        };
        let deps = StatusPageDeps {
            registry: self.registry.clone(),
            trail: trail.clone(),
            monitor: monitor.clone(),
            labels: self.labels.clone(),
            verdict_history: Arc::new(history.clone()),
            leadership: leadership.clone(),
        };
        StatusPageService::start(settings, deps, &self.tasks)
    }
}

/// Names this process: its host, for people, and a random number, for uniqueness.
pub(crate) fn replica_id() -> ReplicaId {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(63)
        .collect();
    ReplicaId::new(format!("{host}/{:08x}", rand::random::<u32>()))
}
