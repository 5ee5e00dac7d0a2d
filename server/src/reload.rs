//! Reads the configuration again on SIGHUP, and applies what can change while the console runs.
//!
//! An invalid configuration changes nothing. What needs a restart is logged with both values, again on each reload until it
//! is restarted. Contents of files with secrets are compared by digest and never logged. The audit trail has the names of the
//! settings.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use console_core::clock::now;
use galera::record::audit::{AuditEvent, AuditRecord};
use tokio::signal::unix::Signal;
use tokio::time::sleep;

use crate::composition::probe_networks;
use crate::config::{Config, settings};
use crate::http::AppState;
use crate::telemetry;

/// Reads the configuration as at the start: the same flags and environment, and the file as it is now.
pub type ConfigLoader = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// When a changed setting, or a changed file that it names, counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChangeEffect {
    /// Once the configuration is read again.
    Reload,
    /// The file is read again without a reload; the name of another file needs a restart.
    Automatic,
    /// Once the console is started again.
    Restart,
}

fn effect_of(flag: &str) -> ChangeEffect {
    match flag {
        LOG_LEVEL | "probe-allow" | "notify-allow" | "oidc-roles" | "cluster-label" => {
            ChangeEffect::Reload
        }
        "tls-cert" | "tls-key" | "etcd-ca" | "etcd-cert" | "etcd-key" | "mysql-tls-ca"
        | "mysql-tls-cert" | "mysql-tls-key" | "audit-anchor-file" => ChangeEffect::Automatic,
        _ => ChangeEffect::Restart,
    }
}

/// Time between two attempts to record reloads in the audit trail.
const RECORD_INTERVAL: Duration = Duration::from_secs(5);
/// Reloads that wait for etcd to be recorded; of more the oldest are left out.
const UNRECORDED_MAX: usize = 100;
/// The setting that is applied after the others.
const LOG_LEVEL: &str = "log-level";
/// A setting as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReadSetting {
    /// Its value as it is logged.
    shown: String,
    value: Option<String>,
    /// Digest of the file that it names.
    content: Option<Vec<u8>>,
}

/// Every setting as it was read, by flag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ReadSettings(BTreeMap<&'static str, ReadSetting>);

impl ReadSettings {
    fn of(config: &Config) -> Self {
        let all = config.effective.iter().map(|effective| {
            let setting = effective.setting;
            let shown = effective.shown_value();
            let shown = shown.unwrap_or_else(|| format!("({})", setting.default_text()));
            let content = effective.value.as_ref();
            let content = content
                .filter(|_| setting.value == "FILE")
                .and_then(|path| std::fs::read(Path::new(path)).ok())
                .map(|bytes| digest(&SHA256, &bytes).as_ref().to_vec());
            let read = ReadSetting {
                shown,
                value: effective.value.clone(),
                content,
            };
            (setting.flag, read)
        });
        Self(all.collect())
    }
}

/// A difference between what the console runs with and what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SettingChange {
    flag: &'static str,
    from: String,
    to: String,
    /// Only the content of the file differs.
    is_content: bool,
    effect: ChangeEffect,
}

/// What differs, and concerns a reload.
fn changes(running: &ReadSettings, read: &ReadSettings) -> Vec<SettingChange> {
    let all = read.0.iter().filter_map(|(flag, now)| {
        let before = running.0.get(flag)?;
        let is_content = before.value == now.value;
        let effect = match (effect_of(flag), is_content) {
            (ChangeEffect::Automatic, true) => return None,
            (ChangeEffect::Automatic, false) => ChangeEffect::Restart,
            (effect, _) => effect,
        };
        (before != now).then(|| SettingChange {
            flag,
            from: before.shown.clone(),
            to: now.shown.clone(),
            is_content,
            effect,
        })
    });
    all.collect()
}

/// Names of the changed settings, as the audit trail has them; `None` if nothing changed.
fn audit_detail(outcomes: &[(SettingChange, bool)]) -> Option<BTreeMap<String, String>> {
    let names = |kept: &dyn Fn(&SettingChange, bool) -> bool| {
        let kept = outcomes
            .iter()
            .filter(|(change, applied)| kept(change, *applied));
        kept.map(|(change, _)| change.flag)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let detail = [
        ("applied", names(&|_, applied| applied)),
        ("restart", names(&|_, applied| !applied)),
        ("content", names(&|change, _| change.is_content)),
    ];
    let named = detail.into_iter().filter(|(_, names)| !names.is_empty());
    let detail: BTreeMap<_, _> = named
        .map(|(name, names)| (name.to_owned(), names))
        .collect();
    (!detail.is_empty()).then_some(detail)
}

/// Applies configurations to a running console.
pub(crate) struct ConfigReload {
    load: ConfigLoader,
    running: ReadSettings,
    /// Whether the etcd in use is on this host, which decides where probes may connect to.
    etcd_is_local: bool,
    app: AppState,
    /// The replica, as the audit trail names it.
    actor: String,
    /// Reloads that are not in the audit trail yet, oldest first.
    unrecorded: VecDeque<AuditRecord>,
}

impl ConfigReload {
    /// For the console `app`, which was built from `config`, as the replica `actor`.
    pub(crate) fn new(load: ConfigLoader, config: &Config, app: AppState, actor: String) -> Self {
        Self {
            actor,
            unrecorded: VecDeque::new(),
            load,
            running: ReadSettings::of(config),
            etcd_is_local: config.etcd.is_local(),
            app,
        }
    }

    /// Reloads at each `hangup`, forever.
    pub(crate) async fn run(mut self, mut hangup: Signal) {
        loop {
            let may_record = !self.unrecorded.is_empty();
            tokio::select! {
                received = hangup.recv() => match received {
                    Some(()) => {
                        self.reload().await;
                        self.record().await;
                    }
                    None => return,
                },
                () = sleep(RECORD_INTERVAL), if may_record => self.record().await,
            }
        }
    }

    async fn reload(&mut self) {
        let load = Arc::clone(&self.load);
        let read = tokio::task::spawn_blocking(move || {
            load().map(|config| (ReadSettings::of(&config), config))
        });
        match read.await {
            Ok(Ok((read, config))) => {
                let outcomes = self.apply(&read, &config);
                if let Some(detail) = audit_detail(&outcomes) {
                    self.unrecorded.push_back(AuditRecord {
                        at: now(),
                        actor: self.actor.clone(),
                        event: AuditEvent::CONFIGURATION_RELOADED,
                        cluster: None,
                        subject: None,
                        detail,
                    });
                }
            }
            Ok(Err(problems)) => tracing::error!(
                "SIGHUP: the configuration is not valid, nothing was changed: {problems}"
            ),
            Err(error) => {
                tracing::error!(%error, "SIGHUP: the configuration could not be read");
            }
        }
    }

    /// Writes what is not in the audit trail yet. A reload never waits for etcd: what cannot be written is tried again.
    async fn record(&mut self) {
        while self.unrecorded.len() > UNRECORDED_MAX {
            self.unrecorded.pop_front();
        }
        let trail = self.app.actions.trail();
        while let Some(record) = self.unrecorded.front() {
            if let Err(error) = trail.record(record.clone()).await {
                tracing::warn!(%error, "The reload is not in the audit trail yet: {error}");
                return;
            }
            self.unrecorded.pop_front();
        }
    }

    /// Applies what can be applied. Returns the changes, each with whether it counts now.
    fn apply(&mut self, read: &ReadSettings, config: &Config) -> Vec<(SettingChange, bool)> {
        if let Some(certificate) = &self.app.certificate {
            certificate.look_now();
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let changes = changes(&self.running, read);
        self.app.settings.forget_waiting();
        let mut outcomes = Vec::new();
        for change in changes {
            let SettingChange { flag, from, to, .. } = &change;
            let applied = change.effect == ChangeEffect::Reload && self.apply_one(flag, config);
            if applied && let Some(now) = read.0.get(flag) {
                self.running.0.insert(flag, now.clone());
                self.app.settings.apply(flag, config);
            } else {
                self.app.settings.wait_for_restart(flag, to);
            }
            match (applied, change.is_content) {
                (true, true) => tracing::info!(
                    setting = flag,
                    "--{flag}: the changed content of {to} is in use"
                ),
                (true, false) => tracing::info!(
                    setting = flag,
                    from,
                    to,
                    "--{flag} is now {to} (before: {from})"
                ),
                (false, true) => tracing::warn!(
                    setting = flag,
                    "--{flag}: the content of {to} changed; it needs a restart of the console"
                ),
                (false, false) => tracing::warn!(
                    setting = flag,
                    from,
                    to,
                    "--{flag} needs a restart of the console: it stays {from} until then, and is {to} afterwards"
                ),
            }
            outcomes.push((change, applied));
        }
        let waiting = outcomes.iter().filter(|(_, applied)| !applied).count();
        tracing::info!(
            changed = outcomes.len(),
            waiting,
            "SIGHUP: the configuration was read again; changed settings: {}, of which {waiting} need a restart",
            outcomes.len()
        );
        // Last, so that no level hides the lines above.
        if outcomes.iter().any(|(change, _)| change.flag == LOG_LEVEL)
            && !telemetry::set_level(&config.log.level)
        {
            tracing::error!("--log-level could not be changed; it needs a restart of the console");
        }
        outcomes
    }

    /// Applies one setting of `config`; `false` if this console cannot.
    fn apply_one(&self, flag: &str, config: &Config) -> bool {
        let app = &self.app;
        match flag {
            LOG_LEVEL => true,
            "probe-allow" => {
                let networks = probe_networks(&config.mysql.probe_allow, self.etcd_is_local);
                app.probe_policy.replace(networks);
                true
            }
            "notify-allow" => {
                app.receiver_policy.replace(config.notify.allow.clone());
                true
            }
            "cluster-label" => {
                app.replace_labels(&config.labels);
                true
            }
            "oidc-roles" => match (&app.sign_on, &config.http.sign_on) {
                (Some(running), Some(read)) => {
                    running.replace_rules(read.rules.clone());
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// The table of what a reload does with each setting, for the documentation.
#[must_use]
pub fn reloaded_flags() -> Vec<&'static str> {
    let all = settings::ALL.iter().map(|setting| setting.flag);
    all.filter(|flag| effect_of(flag) == ChangeEffect::Reload)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flag: &'static str, value: &str, content: &[u8]) -> ReadSettings {
        let setting = ReadSetting {
            shown: value.to_owned(),
            value: Some(value.to_owned()),
            content: Some(content.to_vec()),
        };
        ReadSettings([(flag, setting)].into())
    }

    fn effect(flag: &'static str, value: &str, content: &[u8]) -> Option<ChangeEffect> {
        let running = read(flag, "a", b"1");
        let changes = changes(&running, &read(flag, value, content));
        changes.first().map(|change| change.effect)
    }

    #[test]
    fn a_changed_file_counts_as_its_setting_does() {
        use ChangeEffect::{Reload, Restart};
        assert_eq!(effect("oidc-roles", "a", b"1"), None);
        assert_eq!(effect("oidc-roles", "a", b"2"), Some(Reload));
        assert_eq!(effect("oidc-roles", "b", b"1"), Some(Reload));
        assert_eq!(effect("mysql-password-file", "a", b"2"), Some(Restart));
        assert_eq!(
            effect("etcd-cert", "a", b"2"),
            None,
            "it is read again anyway"
        );
        assert_eq!(effect("etcd-cert", "b", b"1"), Some(Restart));
        assert_eq!(effect("listen", "b", b"1"), Some(Restart));
    }

    #[test]
    fn every_flag_that_is_named_here_exists() {
        assert_eq!(
            reloaded_flags(),
            [
                "oidc-roles",
                "cluster-label",
                "probe-allow",
                "notify-allow",
                "log-level"
            ]
        );
    }
}
