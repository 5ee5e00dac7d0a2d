//! The console that tests start, and its options.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accounts::UserRecord;
use accounts::store::AccountStore;
use axum::Router;
use console_core::audit::AnchorSettings;
use console_core::keyspace::AccountKeys;
use console_core::net::PublicUrl;
use console_core::resolver::Resolver;
use galera::access::{ClusterLabels, Role, RoleGrant};
use galera::publish::accounts::AccountKind;
use galera::recover::action::{ActionLimits, ClusterApprovals};
use galera::recover::plan::ActionKind;
use galera::{ReplicaId, Timestamp};
use galera_console::actions::ClusterAccess;
use galera_console::allowed_hosts::HostPattern;
use galera_console::assets::Site;
use galera_console::authority::SealedState;
use galera_console::composition::{Console, Overrides};
use galera_console::config::{
    ApprovalPolicy, AuditConfig, Config, EtcdConfig, HistoryConfig, HttpConfig, LimitsConfig,
    MysqlConfig, NotifyConfig, RecoveryConfig, RegistryV2Config, StateSecretConfig,
};
use galera_console::etcd_storage::DefragmentationPolicy;
use galera_console::finding_records::FindingSchedule;
use galera_console::http::{AppState, router};
use galera_console::metrics_server::MetricsServerConfig;
use galera_console::sign_on::SignOnConfig;
use galera_console::telemetry::{ExportMetrics, LogConfig, LogFormat};
use ipnet::IpNet;
use monitor::mysql::Tls;
use notify::AnchorWebhookSettings;
use order_signature::OrderSigningKey;
use registry::{CreateOutcome, EtcdSettings, Registry, Secret};
use tempfile::TempDir;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use crate::client::TestClient;
use crate::etcd::{DEADLINE, TestEtcd, eventually, registry_at};

pub(crate) const PASSWORD: &str = "correct horse battery";
/// [`PASSWORD`] at argon2's lowest cost. Verification has the cost of the stored hash.
pub(crate) const CHEAP_HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$Z2F0ZXdheS1maXh0dXJlcw$VTMSw76aCLcdR4qAX257OjTwJgx4/4roLixXNk6OL9w";
pub(crate) const STATE_PREFIX: &str = "/state";
pub(crate) const NOW: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);

/// Options of a test console.
pub(crate) struct ConsoleOptions {
    pub(crate) session_lifetime: Duration,
    pub(crate) session_idle_timeout: Option<Duration>,
    pub(crate) step_up_interval: Option<Duration>,
    pub(crate) second_factor_roles: Vec<Role>,
    pub(crate) service_approval: bool,
    pub(crate) https: bool,
    /// What actions act on; by default the real nodes, of which there are none.
    pub(crate) cluster_access: Option<Arc<dyn ClusterAccess>>,
    pub(crate) replica: ReplicaId,
    pub(crate) approvals: BTreeMap<ActionKind, u32>,
    pub(crate) cluster_approvals: Vec<ClusterApprovals>,
    pub(crate) labels: ClusterLabels,
    pub(crate) limits: ActionLimits,
    pub(crate) lock_ttl: Duration,
    /// Addresses to which notifications may be sent; the tests' receivers are on loopback.
    pub(crate) allowed_networks: Vec<IpNet>,
    /// An etcd endpoint other than the direct one, such as a proxy.
    pub(crate) endpoint: Option<String>,
    /// Deadline of a call to an etcd process.
    pub(crate) etcd_deadline: Option<Duration>,
    /// The members of `lab`; by default one that refuses connections.
    pub(crate) members: Vec<String>,
    /// Other clusters than `lab`, without members that answer.
    pub(crate) more_clusters: Vec<&'static str>,
    /// The endpoint of the registry in etcd v2, and whether it has to be there; by default it is not read.
    pub(crate) registry_v2: Option<(String, bool)>,
    /// What looks up host names; by default the system.
    pub(crate) resolver: Option<Resolver>,
    pub(crate) limits_of_clients: LimitsConfig,
    /// What records in etcd are sealed with; by default nothing.
    pub(crate) state_secret: Option<StateSecretConfig>,
    /// Whether there is a database account for recovery statements.
    pub(crate) recovery: bool,
    /// The key that signs bootstrap orders.
    pub(crate) order_key: Option<Arc<OrderSigningKey>>,
    /// Where anchors of the audit trail are written.
    pub(crate) anchor_file: Option<PathBuf>,
    /// Entries after which an anchor is taken.
    pub(crate) anchor_entries: u64,
    /// The webhook that anchors are sent to.
    pub(crate) anchor_webhook: Option<AnchorWebhookSettings>,
    /// How long entries of the audit trail stay in etcd, and where they are moved to.
    pub(crate) audit_retention: Option<(Duration, PathBuf)>,
    /// Hosts beside that of the public URL.
    pub(crate) allowed_hosts: Vec<HostPattern>,
    /// The token that /metrics requires.
    pub(crate) metrics_token: Option<Secret>,
    /// Where figures are recorded; by default they are not.
    pub(crate) data_directory: Option<PathBuf>,
    /// Counts of an export by OTLP.
    pub(crate) export: ExportMetrics,
    /// The server that figures of long ranges are queried from; by default none.
    pub(crate) metrics_server: Option<MetricsServerConfig>,
    pub(crate) metrics_nodes: monitor::MetricsNodes,
    /// When findings open and end; by default as in production.
    pub(crate) finding_schedule: Option<FindingSchedule>,
    /// When etcd's database is defragmented; by default never.
    pub(crate) defragmentation: Option<DefragmentationPolicy>,
    /// The identity provider; by default none.
    pub(crate) sign_on: Option<SignOnConfig>,
    /// Whether accounts with a password may sign in.
    pub(crate) local_accounts: bool,
    /// Whether the console has a public URL also without https.
    pub(crate) public_url: bool,
    /// Whether notifications of requests have a link for approvers.
    pub(crate) approval_links: bool,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        Self {
            session_lifetime: Duration::from_secs(3600),
            session_idle_timeout: None,
            step_up_interval: Some(Duration::from_secs(900)),
            second_factor_roles: Vec::new(),
            service_approval: false,
            https: false,
            cluster_access: None,
            replica: ReplicaId::new("r1"),
            approvals: BTreeMap::new(),
            cluster_approvals: Vec::new(),
            labels: ClusterLabels::none(),
            limits: ActionLimits::default(),
            lock_ttl: Duration::from_secs(10),
            allowed_networks: vec![IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))],
            endpoint: None,
            etcd_deadline: None,
            members: vec!["127.0.0.1:1".to_owned()],
            more_clusters: Vec::new(),
            registry_v2: None,
            resolver: None,
            limits_of_clients: LimitsConfig::default(),
            state_secret: None,
            recovery: true,
            order_key: None,
            anchor_file: None,
            anchor_entries: 100,
            anchor_webhook: None,
            audit_retention: None,
            allowed_hosts: Vec::new(),
            metrics_token: None,
            data_directory: None,
            export: ExportMetrics::default(),
            metrics_server: None,
            metrics_nodes: monitor::MetricsNodes::All,
            finding_schedule: None,
            defragmentation: None,
            sign_on: None,
            local_accounts: true,
            public_url: false,
            approval_links: false,
        }
    }
}

/// A running console.
pub(crate) struct TestConsole {
    pub(crate) router: Router,
    pub(crate) state: AppState,
    pub(crate) registry: Registry,
    pub(crate) store: AccountStore,
    _site: TempDir,
    _stop: DropGuard,
}

impl TestConsole {
    /// A console on `etcd`, once it is ready.
    pub(crate) async fn start(etcd: &TestEtcd) -> Self {
        Self::start_with(etcd, ConsoleOptions::default()).await
    }

    pub(crate) async fn start_with(etcd: &TestEtcd, options: ConsoleOptions) -> Self {
        let console = Self::start_unready(etcd, &options);
        eventually("the console is ready", async || {
            console.anonymous().get("/readyz").await.status == 200
        })
        .await;
        console
    }

    /// A console that has not read anything yet.
    pub(crate) fn start_unready(etcd: &TestEtcd, options: &ConsoleOptions) -> Self {
        let registry = match (options.endpoint.clone(), options.etcd_deadline) {
            (Some(endpoint), deadline) => registry_at(endpoint, deadline.unwrap_or(DEADLINE)),
            (None, Some(deadline)) => registry_at(etcd.url(), deadline),
            (None, None) => etcd.registry(),
        };
        let state = SealedState::new(registry, STATE_PREFIX, options.state_secret.as_ref(), "r1");
        let registry = state.unwrap().registry;
        let site = site();
        let overrides = Overrides {
            replica: Some(options.replica.clone()),
            cluster_access: options.cluster_access.clone(),
            action_limits: Some(options.limits.clone()),
            lock_ttl: Some(options.lock_ttl),
            resolver: options.resolver.clone(),
            finding_schedule: options.finding_schedule,
            defragmentation: options.defragmentation,
            export: options.export.clone(),
        };
        let Console { state, tasks } = Console::build(
            &config(options, &site),
            Site::load(site.path()).unwrap(),
            registry.clone(),
            overrides,
        )
        .unwrap();
        Self {
            router: router(state.clone()),
            state,
            store: AccountStore::new(registry.clone(), STATE_PREFIX),
            registry,
            _site: site,
            _stop: tasks.shutdown.drop_guard(),
        }
    }

    /// Adds an account whose password is verified without the cost of a real hash.
    pub(crate) async fn add_user(&self, name: &str, roles: &[Role]) {
        self.add_user_with_grants(name, roles, Vec::new()).await;
    }

    pub(crate) async fn add_user_with_grants(
        &self,
        name: &str,
        roles: &[Role],
        grants: Vec<RoleGrant>,
    ) {
        let record = UserRecord {
            kind: AccountKind::Person,
            grants,
            groups: Vec::new(),
            external: None,
            password_hash: CHEAP_HASH.to_owned(),
            credential: Uuid::new_v4(),
            roles: roles.to_vec(),
            email: None,
            factor: None,
            disabled: false,
            created_at: NOW,
            changed_at: NOW,
        };
        let created = self
            .registry
            .create(
                AccountKeys::new(STATE_PREFIX).user(name),
                serde_json::to_vec(&record).unwrap(),
                None,
            )
            .await
            .unwrap();
        assert!(matches!(created, CreateOutcome::Created { .. }), "{name}");
    }

    /// Adds an account as the command line does, for tests of signing in.
    pub(crate) async fn add_user_with_real_hash(&self, name: &str, roles: &[Role]) {
        self.store
            .add(&name.parse().unwrap(), PASSWORD, roles.to_vec(), NOW)
            .await
            .unwrap();
    }

    pub(crate) fn anonymous(&self) -> TestClient {
        TestClient {
            router: self.router.clone(),
            cookie: None,
            bearer: None,
        }
    }

    pub(crate) fn with_token(&self, token: &str) -> TestClient {
        TestClient {
            router: self.router.clone(),
            cookie: Some(format!("galera_console_session={token}")),
            bearer: None,
        }
    }

    /// A program with an API token, which sends no `Origin`.
    pub(crate) fn with_bearer(&self, token: &str) -> TestClient {
        TestClient {
            router: self.router.clone(),
            cookie: None,
            bearer: Some(token.to_owned()),
        }
    }

    /// Signs in and keeps the cookie.
    pub(crate) async fn sign_in(&self, name: &str) -> TestClient {
        let answer = self.anonymous().sign_in(name, PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.with_token(answer.token())
    }
}

fn config(options: &ConsoleOptions, site: &TempDir) -> Config {
    let anywhere = (Ipv4Addr::LOCALHOST, 0).into();
    let public_url = PublicUrl {
        https: options.https,
        authority: "console.test".to_owned(),
    };
    let members = options.members.iter().map(|member| member.parse().unwrap());
    Config {
        http: HttpConfig {
            listen: anywhere,
            public_url: (options.https || options.public_url || options.sign_on.is_some())
                .then_some(public_url),
            site_root: site.path().to_owned(),
            metrics_listen: None,
            trusted_proxies: Vec::new(),
            session_lifetime: options.session_lifetime,
            tls: None,
            allowed_hosts: options.allowed_hosts.clone(),
            metrics_token: options.metrics_token.clone(),
            metrics_nodes: options.metrics_nodes,
            session_idle_timeout: options.session_idle_timeout,
            step_up_interval: options.step_up_interval,
            second_factor_roles: options.second_factor_roles.clone(),
            token_lifetime_max: accounts::TOKEN_LIFETIME_MAX,
            service_approval: options.service_approval,
            sign_on: options.sign_on.clone(),
            local_accounts: options.local_accounts,
        },
        limits: options.limits_of_clients,
        etcd: EtcdConfig::Cluster(Box::default()),
        etcd_quota: 64 << 20,
        data_directory: options.data_directory.clone(),
        metrics_server: options.metrics_server.clone(),
        otlp: None,
        registry_prefix: "/galera".to_owned(),
        registry_v2: options
            .registry_v2
            .clone()
            .map(|(endpoint, required)| RegistryV2Config {
                etcd: EtcdSettings {
                    deadline: DEADLINE,
                    grace: Duration::from_millis(200),
                    ..EtcdSettings::new([endpoint])
                },
                required,
            }),
        state_prefix: STATE_PREFIX.to_owned(),
        state_secret: options.state_secret.clone(),
        labels: options.labels.clone(),
        clusters: options
            .more_clusters
            .iter()
            .map(|name| {
                (
                    name.parse().unwrap(),
                    ["127.0.0.2:1".parse().unwrap()].into(),
                )
            })
            .chain([("lab".parse().unwrap(), members.collect())])
            .collect(),
        mysql: MysqlConfig {
            user: "console".to_owned(),
            password: Secret::new(""),
            port: 3306,
            tls: Tls::Off,
            probe_allow: Vec::new(),
        },
        recovery: options.recovery.then(|| RecoveryConfig {
            user: "recovery".to_owned(),
            password: Secret::new(""),
            any_transport: true,
        }),
        order_key: options.order_key.clone(),
        poll_interval: Duration::from_secs(1),
        probe_timeout: Duration::from_secs(3),
        max_clusters: 2_000,
        approvals: ApprovalPolicy {
            default_count: options.limits.approvals_needed,
            per_kind: options.approvals.clone(),
            clusters: options.cluster_approvals.clone(),
        },
        request_expiry: options.limits.pending_timeout,
        approval_expiry: options.limits.approved_timeout,
        history: HistoryConfig {
            retention: Duration::from_secs(90 * 86_400),
            changes_max: 200_000,
        },
        audit: AuditConfig {
            anchors: AnchorSettings {
                entries: options.anchor_entries,
                interval: Duration::from_secs(600),
            },
            anchor_file: options.anchor_file.clone(),
            anchor_webhook: options.anchor_webhook.clone(),
            retention: options.audit_retention.clone(),
        },
        notify: NotifyConfig {
            smtp: None,
            allow: options.allowed_networks.clone(),
            ca: None,
            approval_links: options.approval_links,
        },
        log: LogConfig {
            format: LogFormat::Text,
            level: "info".to_owned(),
        },
        effective: Vec::new(),
        warnings: Vec::new(),
    }
}

fn site() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &str| std::fs::write(root.path().join(name), content).unwrap();
    std::fs::create_dir(root.path().join("pkg")).unwrap();
    write(
        "manifest.json",
        r#"{"js":"/pkg/c.1.js","wasm":"/pkg/c.1.wasm","css":"/pkg/c.1.css","status_js":"/pkg/s.1.js","status_css":"/pkg/s.1.css"}"#,
    );
    write("favicon.svg", "<svg/>");
    for name in [
        "pkg/c.1.js",
        "pkg/c.1.wasm",
        "pkg/c.1.css",
        "pkg/s.1.js",
        "pkg/s.1.css",
    ] {
        write(name, "content");
    }
    write("pkg/c.1.css.br", "brotli");
    root
}
