//! The settings by section, and the constraints between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use console_core::audit::AnchorSettings;
use console_core::authority::MigrationPolicy;
use console_core::seen_records;
use console_core::state_secret::{self, StateSecretFileError};
use galera::access::{ClusterLabels, LabelRule};
use galera::{ClusterName, NodeId};
use monitor::mysql::{Tls, TlsSettings, Verify};
use notify::{AnchorWebhookSettings, SmtpConfig, SmtpTls};
use order_signature::OrderSigningKey;
use registry::Secret;

use super::problem::{ConfigProblem, SettingOrigin};
use super::reader::ConfigReader;
use super::report::EffectiveSetting;
use super::settings::{self, Setting};
use super::{
    AuditConfig, EtcdConfig, HistoryConfig, NotifyConfig, RecoveryConfig, RegistryV2Config,
    StateSecretConfig, parse,
};
use crate::telemetry::{self, LogConfig, LogFormat};

impl ConfigReader<'_> {
    pub(super) fn path_or(
        &mut self,
        setting: &'static Setting,
        computed: Option<PathBuf>,
    ) -> Option<PathBuf> {
        if self.is_given(setting) {
            return self.single(setting, parse::path);
        }
        self.effective.push(EffectiveSetting {
            setting,
            value: computed.as_ref().map(|path| path.display().to_string()),
            origin: SettingOrigin::Default,
        });
        computed
    }

    /// The data directory of this host: what it stores outside etcd.
    pub(super) fn data_dir(&mut self) -> Option<PathBuf> {
        self.path_or(&settings::DATA_DIR, None)
    }

    pub(super) fn etcd(&mut self, data_dir: Option<&Path>) -> Option<EtcdConfig> {
        let endpoints = self.list(&settings::ETCD_ENDPOINTS, parse::non_empty_text);
        let user = self.single(&settings::ETCD_USER, parse::non_empty_text);
        let password = self.password_file(&settings::ETCD_PASSWORD_FILE);
        let ca = self.authorities_file(&settings::ETCD_CA);
        let identity = self.client_certificate(&settings::ETCD_CERT, &settings::ETCD_KEY);
        let (cert, key) = identity.map(|files| (files.certificate, files.key)).unzip();
        let in_data_dir = data_dir.map(|directory| directory.join("etcd"));
        let computed = in_data_dir.or_else(|| self.inputs.state_dir.clone());
        let data_dir = self.path_or(&settings::ETCD_DATA_DIR, computed);
        self.requires(&settings::ETCD_USER, &settings::ETCD_PASSWORD_FILE);
        self.requires(&settings::ETCD_PASSWORD_FILE, &settings::ETCD_USER);
        self.requires(&settings::ETCD_CERT, &settings::ETCD_CA);
        if !self.is_given(&settings::ETCD_ENDPOINTS) {
            for setting in [&settings::ETCD_USER, &settings::ETCD_CA] {
                if self.is_given(setting) {
                    self.report(
                        self.origin(setting),
                        "has no effect with the embedded etcd; set --etcd-endpoints or remove it",
                    );
                }
            }
            if data_dir.is_none() {
                self.report(SettingOrigin::Default, "no home directory for the embedded etcd's data; set --etcd-data-dir DIR or --etcd-endpoints URL,…");
            }
            return data_dir.map(EtcdConfig::Embedded);
        }
        let settings = registry::EtcdSettings {
            endpoints,
            user,
            password,
            ca,
            cert,
            key,
            ..registry::EtcdSettings::default()
        };
        // An empty list was reported already, and with an unreadable CA file the check of https endpoints would
        // mislead.
        let judged = !settings.endpoints.is_empty()
            && (settings.ca.is_some() || !self.is_given(&settings::ETCD_CA));
        if judged && let Err(error) = settings.urls() {
            let hint = if settings.ca.is_none() {
                " (set --etcd-ca FILE for https)"
            } else {
                ""
            };
            self.report(
                self.origin(&settings::ETCD_ENDPOINTS),
                format!("{error}{hint}"),
            );
        }
        Some(EtcdConfig::Cluster(Box::new(settings)))
    }

    pub(super) fn expiries(&mut self) -> Option<(Duration, Duration)> {
        let mut read = |setting| {
            self.single(setting, |text| {
                parse::duration_between(text, Duration::from_secs(10), Duration::from_secs(86_400))
            })
        };
        let (request, approval) = (
            read(&settings::REQUEST_EXPIRY),
            read(&settings::APPROVAL_EXPIRY),
        );
        Some((request?, approval?))
    }

    pub(super) fn history(&mut self) -> Option<HistoryConfig> {
        let retention = self.single(&settings::HISTORY_RETENTION, |text| {
            let day = Duration::from_secs(86_400);
            parse::duration_between(text, day, 3_650 * day)
        });
        let changes_max = self.single(&settings::HISTORY_MAX_CHANGES, parse::change_count);
        Some(HistoryConfig {
            retention: retention?,
            changes_max: changes_max?,
        })
    }

    pub(super) fn audit(&mut self) -> Option<AuditConfig> {
        let entries = self.single(&settings::AUDIT_ANCHOR_ENTRIES, parse::limit);
        let interval = self.single(&settings::AUDIT_ANCHOR_INTERVAL, |text| {
            let second = Duration::from_secs(1);
            parse::duration_between(text, second, 7 * 86_400 * second)
        });
        let anchor_file = self.path_or(&settings::AUDIT_ANCHOR_FILE, None);
        let anchor_webhook = self.anchor_webhook();
        self.requires(&settings::AUDIT_RETENTION, &settings::AUDIT_ARCHIVE_DIR);
        self.requires(&settings::AUDIT_ARCHIVE_DIR, &settings::AUDIT_RETENTION);
        let retention = self.single(&settings::AUDIT_RETENTION, |text| {
            let day = Duration::from_secs(86_400);
            parse::duration_between(text, day, 3_650 * day)
        });
        let archive_dir = self.path_or(&settings::AUDIT_ARCHIVE_DIR, None);
        Some(AuditConfig {
            anchors: AnchorSettings {
                entries: u64::try_from(entries?).unwrap_or(u64::MAX),
                interval: interval?,
            },
            anchor_file,
            anchor_webhook,
            retention: retention.zip(archive_dir),
        })
    }

    fn anchor_webhook(&mut self) -> Option<AnchorWebhookSettings> {
        self.requires(
            &settings::AUDIT_ANCHOR_URL,
            &settings::AUDIT_ANCHOR_SECRET_FILE,
        );
        self.requires(
            &settings::AUDIT_ANCHOR_SECRET_FILE,
            &settings::AUDIT_ANCHOR_URL,
        );
        let secret = self.single(&settings::AUDIT_ANCHOR_SECRET_FILE, |text| {
            parse::webhook_secret(&parse::path(text)?)
        });
        let unsigned = Secret::new("");
        self.single(&settings::AUDIT_ANCHOR_URL, |text| {
            AnchorWebhookSettings::new(text, secret.clone().unwrap_or(unsigned.clone()))
        })
    }

    pub(super) fn prefixes(&mut self) -> Option<(String, String)> {
        let registry = self.single(&settings::REGISTRY_PREFIX, parse::prefix);
        let state = self.single(&settings::STATE_PREFIX, parse::prefix);
        let (registry, state) = (registry?, state?);
        let within =
            |outer: &str, inner: &str| inner == outer || inner.starts_with(&format!("{outer}/"));
        if within(&registry, &state) || within(&state, &registry) {
            let message = format!(
                "the registry {registry} and the console's state {state} overlap; use prefixes that do not contain each other"
            );
            let origin = match self.origin(&settings::STATE_PREFIX) {
                SettingOrigin::Default => self.origin(&settings::REGISTRY_PREFIX),
                origin => origin,
            };
            self.report(origin, message);
        }
        Some((registry, state))
    }

    /// The v2 API of etcd, unless `--registry-dialect` excludes it or there is none.
    pub(super) fn registry_v2(&mut self, etcd: Option<&EtcdConfig>) -> Option<RegistryV2Config> {
        let dialect = self.single(&settings::REGISTRY_DIALECT, |text| match text {
            "auto" | "v3" | "v2" => Ok(text.to_owned()),
            _ => Err(format!("unknown dialect {text:?}; expected auto, v3 or v2")),
        })?;
        let separate = self.is_given(&settings::REGISTRY_V2_ENDPOINTS);
        let origin = self.origin(&settings::REGISTRY_V2_ENDPOINTS);
        if dialect == "v3" {
            if separate {
                self.report(
                    origin,
                    "has no effect with --registry-dialect v3; remove one of them",
                );
            }
            return None;
        }
        let required = dialect == "v2";
        let of_state = match etcd? {
            EtcdConfig::Cluster(settings) => Some((**settings).clone()),
            EtcdConfig::Embedded(_) => None,
        };
        if !separate {
            if of_state.is_none() && required {
                let message = "the embedded etcd has no v2 API; name the etcd that has it with --registry-v2-endpoints URL,…";
                self.report(self.origin(&settings::REGISTRY_DIALECT), message);
            }
            return of_state.map(|etcd| RegistryV2Config { etcd, required });
        }
        let endpoints = self.list(&settings::REGISTRY_V2_ENDPOINTS, parse::non_empty_text);
        let plain = registry::EtcdSettings::new(endpoints);
        let etcd = match of_state {
            // Its files are of https only.
            Some(state) if plain.urls().is_err() => registry::EtcdSettings {
                user: None,
                password: None,
                endpoints: plain.endpoints,
                ..state
            },
            _ => plain,
        };
        if !etcd.endpoints.is_empty()
            && let Err(error) = etcd.urls()
        {
            self.report(
                origin,
                format!("{error} (--etcd-ca FILE, beside --etcd-endpoints)"),
            );
        }
        Some(RegistryV2Config { etcd, required })
    }

    /// The secret of the records below the state prefix.
    pub(super) fn state_secret(
        &mut self,
        etcd: Option<&EtcdConfig>,
        data_dir: Option<&Path>,
    ) -> Option<StateSecretConfig> {
        let migration = self.single(&settings::STATE_MIGRATION, |text| match text {
            "once" => Ok(MigrationPolicy::Once),
            "never" => Ok(MigrationPolicy::Never),
            _ => Err(format!("unknown value {text:?}; expected once or never")),
        });
        let embedded = match etcd {
            Some(EtcdConfig::Embedded(embedded)) => Some(embedded),
            _ => None,
        };
        let seen_records = match data_dir {
            Some(directory) => Some(directory.join(seen_records::FILE_NAME)),
            None => embedded.map(|embedded| {
                StateSecretConfig::beside(embedded, &format!(".{}", seen_records::FILE_NAME))
            }),
        };
        let beside_data =
            embedded.map(|embedded| StateSecretConfig::beside(embedded, ".state-secret"));
        let file = self.path_or(&settings::STATE_SECRET_FILE, beside_data);
        if file.is_none() && data_dir.is_some() {
            self.warnings.push(ConfigProblem {
                origin: self.origin(&settings::DATA_DIR),
                message: "an earlier state of etcd is recognized only with sealed records; set --state-secret-file too".to_owned(),
            });
        }
        let file = file?;
        let given = self.is_given(&settings::STATE_SECRET_FILE);
        let secrets = match state_secret::read_file(&file) {
            Ok(secrets) => Some(secrets),
            // Created at the first start.
            Err(StateSecretFileError::Missing(_)) if !given => None,
            Err(error) => {
                self.report(self.origin(&settings::STATE_SECRET_FILE), error.to_string());
                None
            }
        };
        Some(StateSecretConfig {
            file,
            secrets,
            migration: migration?,
            seen_records,
        })
    }

    pub(super) fn clusters(
        &mut self,
        default_port: u16,
    ) -> Option<BTreeMap<ClusterName, BTreeSet<NodeId>>> {
        let Some(given) = self.look_up(&settings::CLUSTER) else {
            return Some(BTreeMap::new());
        };
        match parse::clusters(&given.values, default_port) {
            Ok(clusters) => Some(clusters),
            Err(messages) => {
                for message in messages {
                    self.report(given.origin.clone(), message);
                }
                None
            }
        }
    }

    pub(super) fn cluster_labels(&mut self) -> Option<ClusterLabels> {
        let Some(given) = self.look_up(&settings::CLUSTER_LABEL) else {
            return Some(ClusterLabels::none());
        };
        let rules: Result<Vec<_>, _> = given
            .values
            .iter()
            .map(|text| LabelRule::parse_all(text))
            .collect();
        let labels = rules.and_then(|rules| ClusterLabels::new(rules.concat()));
        labels
            .map_err(|error| self.report(given.origin, error.to_string()))
            .ok()
    }

    pub(super) fn mysql_tls(&mut self) -> Option<Tls> {
        let mode = self.single(&settings::MYSQL_TLS, |text| match text {
            "off" | "preferred" | "required" => Ok(text.to_owned()),
            _ => Err(format!(
                "unknown value {text:?}; expected off, preferred or required"
            )),
        });
        let ca = self.authorities_file(&settings::MYSQL_TLS_CA);
        let verify = self.single(&settings::MYSQL_TLS_VERIFY, |text| match text {
            "ca" => Ok(Verify::Authority),
            "identity" => Ok(Verify::Identity),
            _ => Err(format!("unknown value {text:?}; expected ca or identity")),
        });
        let identity = self.client_certificate(&settings::MYSQL_TLS_CERT, &settings::MYSQL_TLS_KEY);
        self.requires(&settings::MYSQL_TLS_CERT, &settings::MYSQL_TLS_CA);
        self.requires(&settings::MYSQL_TLS_VERIFY, &settings::MYSQL_TLS_CA);
        let off = mode.as_deref() == Some("off");
        if !off {
            self.requires(&settings::MYSQL_TLS, &settings::MYSQL_TLS_CA);
        }
        if off || !self.is_given(&settings::MYSQL_TLS_CA) {
            return Some(Tls::Off);
        }
        if mode.is_none() && self.is_given(&settings::MYSQL_TLS) {
            return None;
        }
        let tls = TlsSettings {
            ca: ca?,
            identity: identity.map(|files| (files.certificate, files.key)),
            verify: verify?,
        };
        match mode.as_deref() {
            Some("preferred") => Some(Tls::Preferred(tls)),
            _ => Some(Tls::Required(tls)),
        }
    }

    pub(super) fn recovery(&mut self, tls: Option<&Tls>) -> Option<RecoveryConfig> {
        let user = self.single(&settings::RECOVERY_USER, parse::non_empty_text);
        let password = self.password_file(&settings::RECOVERY_PASSWORD_FILE);
        let any_transport = self.single(&settings::RECOVERY_TRANSPORT, |text| match text {
            "verified" => Ok(false),
            "any" => Ok(true),
            _ => Err(format!("unknown value {text:?}; expected verified or any")),
        });
        self.requires(&settings::RECOVERY_USER, &settings::RECOVERY_PASSWORD_FILE);
        self.requires(&settings::RECOVERY_PASSWORD_FILE, &settings::RECOVERY_USER);
        let recovery = RecoveryConfig {
            user: user?,
            password: password?,
            any_transport: any_transport?,
        };
        let warning = match (tls, recovery.any_transport) {
            (Some(Tls::Off), false) => Some((
                &settings::RECOVERY_USER,
                "SQL actions are unavailable for nodes on other hosts: the recovery account is used over verified TLS only; set --mysql-tls-ca, or --recovery-transport any to accept unencrypted connections",
            )),
            (Some(Tls::Off | Tls::Preferred(_)), true) => Some((
                &settings::RECOVERY_TRANSPORT,
                "the recovery account is used over connections without verified TLS: an attacker on the network can send statements in its name; set --mysql-tls required",
            )),
            _ => None,
        };
        if let Some((setting, message)) = warning {
            self.warnings.push(ConfigProblem {
                origin: self.origin(setting),
                message: message.to_owned(),
            });
        }
        Some(recovery)
    }

    pub(super) fn order_key(&mut self) -> Option<Arc<OrderSigningKey>> {
        self.single(&settings::ORDER_KEY_FILE, |text| {
            let key = order_signature::read_key_file(&parse::path(text)?);
            key.map(Arc::new).map_err(|error| error.to_string())
        })
    }

    pub(super) fn notify(&mut self) -> NotifyConfig {
        NotifyConfig {
            smtp: self.smtp(),
            allow: self.list(&settings::NOTIFY_ALLOW, parse::network),
            ca: self.authorities_file(&settings::NOTIFY_CA),
            approval_links: self.approval_links(),
        }
    }

    fn approval_links(&mut self) -> bool {
        self.single(&settings::APPROVAL_LINKS, |text| match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err("expected on or off".to_owned()),
        })
        .unwrap_or_default()
    }

    fn smtp(&mut self) -> Option<SmtpConfig> {
        let host = self.single(&settings::SMTP_HOST, parse::non_empty_text);
        let tls = self.single(&settings::SMTP_TLS, |text| match text {
            "starttls" => Ok(SmtpTls::StartTls),
            "implicit" => Ok(SmtpTls::Implicit),
            "none" => Ok(SmtpTls::None),
            _ => Err(format!(
                "unknown encryption {text:?}; expected starttls, implicit or none"
            )),
        });
        let port = self.single(&settings::SMTP_PORT, parse::port);
        let user = self.single(&settings::SMTP_USER, parse::non_empty_text);
        let password = self.password_file(&settings::SMTP_PASSWORD_FILE);
        let from = self.single(&settings::SMTP_FROM, |text| {
            notify::mail_sender(text).map(|sender| sender.to_string())
        });
        self.requires(&settings::SMTP_HOST, &settings::SMTP_FROM);
        for setting in [
            &settings::SMTP_FROM,
            &settings::SMTP_PORT,
            &settings::SMTP_USER,
            &settings::SMTP_PASSWORD_FILE,
        ] {
            if self.is_given(setting) && !self.is_given(&settings::SMTP_HOST) {
                self.report(
                    self.origin(setting),
                    "has no effect without --smtp-host; set that too or remove it",
                );
            }
        }
        self.requires(&settings::SMTP_USER, &settings::SMTP_PASSWORD_FILE);
        self.requires(&settings::SMTP_PASSWORD_FILE, &settings::SMTP_USER);
        if tls == Some(SmtpTls::None) && user.is_some() {
            self.warnings.push(ConfigProblem {
                origin: self.origin(&settings::SMTP_TLS),
                message: "the password of --smtp-user crosses the network unencrypted; use starttls or implicit".to_owned(),
            });
        }
        let tls = tls?;
        Some(SmtpConfig {
            host: host?,
            port: port.unwrap_or_else(|| tls.port()),
            tls,
            account: user.zip(password),
            from: from?,
        })
    }

    pub(super) fn timing(&mut self) -> Option<(Duration, Duration)> {
        let shortest = Duration::from_millis(100);
        let minute = Duration::from_secs(60);
        let poll = self.single(&settings::POLL_INTERVAL, |text| {
            parse::duration_between(text, shortest, minute)
        });
        let timeout = self.single(&settings::PROBE_TIMEOUT, |text| {
            parse::duration_between(text, shortest, minute)
        });
        let (poll, timeout) = (poll?, timeout?);
        // A hanging node would be trusted for that many polls.
        if timeout > poll * 60 {
            let message = format!(
                "{} is more than 60 times the poll interval of {}; shorten it, or increase --poll-interval",
                parse::format_duration(timeout),
                parse::format_duration(poll)
            );
            self.report(self.origin(&settings::PROBE_TIMEOUT), message);
        }
        Some((poll, timeout))
    }

    pub(super) fn log(&mut self) -> Option<LogConfig> {
        let format = self.single(&settings::LOG_FORMAT, |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!(
                "unknown log format {text:?}; expected text or json"
            )),
        });
        let level = self.single(&settings::LOG_LEVEL, |text| {
            telemetry::filter(text)
                .map(|_| text.to_owned())
                .map_err(|error| format!("{text:?} is not a valid log filter ({error}); use e.g. info or info,galera_console=debug"))
        });
        Some(LogConfig {
            format: format?,
            level: level?,
        })
    }
}
