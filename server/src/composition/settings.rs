//! Settings of the parts, made from a [`Config`].

use console_core::address_policy::AddressPolicy;
use console_core::current_labels::CurrentLabels;
use console_core::resolver::Resolver;
use monitor::mysql::MysqlSettings;
use monitor::{MonitorSettings, V2Settings};
use notify::NotifySettings;
use registry::v2::V2Registry;

use super::{BuildError, probe_networks};
use crate::actions::{RecoveryAccount, RecoveryCredentials};
use crate::config::Config;

/// The account of recovery statements, if one is configured.
pub(super) fn recovery_account(config: &Config, mysql: &MysqlSettings) -> Option<RecoveryAccount> {
    config.recovery.as_ref().map(|account| {
        let credentials = RecoveryCredentials {
            user: account.user.clone(),
            password: account.password.clone(),
            any_transport: account.any_transport,
        };
        credentials.account(mysql)
    })
}

pub(super) fn monitor_settings(
    config: &Config,
    resolver: &Resolver,
    labels: &CurrentLabels,
) -> Result<MonitorSettings, BuildError> {
    let mysql = MysqlSettings {
        user: config.mysql.user.clone(),
        password: config.mysql.password.clone(),
        port: config.mysql.port,
        tls: config.mysql.tls.clone(),
        resolver: resolver.clone(),
        probe_policy: AddressPolicy::new(probe_networks(
            &config.mysql.probe_allow,
            config.etcd.is_local(),
        )),
    };
    let v2 = config.registry_v2.as_ref().map(|v2| {
        Ok::<_, registry::Error>(V2Settings {
            registry: V2Registry::connect(v2.etcd.clone())?,
            required: v2.required,
        })
    });
    Ok(MonitorSettings {
        v2: v2.transpose().map_err(BuildError::RegistryV2)?,
        clusters: config.clusters.clone(),
        labels: labels.clone(),
        registry_prefix: config.registry_prefix.clone(),
        state_prefix: config.state_prefix.clone(),
        reserve: recovery_account(config, &mysql).map(|account| account.reserve()),
        mysql,
        poll_interval: config.poll_interval,
        probe_timeout: config.probe_timeout,
        max_clusters: config.max_clusters,
    })
}

pub(super) fn notify_settings(
    config: &Config,
    resolver: &Resolver,
    receivers: &AddressPolicy,
) -> NotifySettings {
    NotifySettings {
        state_prefix: config.state_prefix.clone(),
        public_url: config.http.public_url.clone(),
        addresses: receivers.clone(),
        ca_file: config.notify.ca.clone(),
        smtp: config.notify.smtp.clone(),
        resolver: resolver.clone(),
        approval_links: None,
    }
}
