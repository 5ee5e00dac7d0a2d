//! The settings that this console runs with, as administrators see them.

use std::sync::{PoisonError, RwLock};

use galera::publish::settings::SettingView;

use crate::config::{Config, EffectiveSetting, settings};

/// Every setting with its value and source. A reload changes some of them.
#[derive(Debug)]
pub struct RunningSettings(RwLock<Vec<SettingView>>);

impl RunningSettings {
    /// Those of `config`.
    pub(crate) fn of(config: &Config) -> Self {
        let running = Self(RwLock::new(config.effective.iter().map(view).collect()));
        if let Some(why) = config.approval_links_missing() {
            running.change(settings::APPROVAL_LINKS.flag, |setting| {
                setting.without_effect = Some(why.to_owned());
            });
        }
        running
    }

    /// All settings, in the order of the documentation.
    pub(crate) fn list(&self) -> Vec<SettingView> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The console runs with the setting `flag` of `config` now.
    pub(crate) fn apply(&self, flag: &str, config: &Config) {
        let effective = config.effective.iter();
        let applied = effective
            .filter(|effective| effective.setting.flag == flag)
            .map(view);
        for new in applied {
            self.change(flag, |setting| *setting = new.clone());
        }
    }

    /// The setting `flag` will be `value` after a restart.
    pub(crate) fn wait_for_restart(&self, flag: &str, value: &str) {
        self.change(flag, |setting| {
            setting.after_restart = Some(value.to_owned());
        });
    }

    /// Removes what waits for a restart, before a reload determines it again.
    pub(crate) fn forget_waiting(&self) {
        let mut settings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for setting in settings.iter_mut() {
            setting.after_restart = None;
        }
    }

    fn change(&self, flag: &str, change: impl Fn(&mut SettingView)) {
        let mut settings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        settings
            .iter_mut()
            .filter(|setting| setting.flag == flag)
            .for_each(change);
    }
}

fn view(effective: &EffectiveSetting) -> SettingView {
    let setting = effective.setting;
    SettingView {
        flag: setting.flag.to_owned(),
        key: setting.key.to_owned(),
        value: effective.shown_value(),
        default: setting.default_text().to_owned(),
        source: effective.origin.to_string(),
        after_restart: None,
        without_effect: None,
        help: setting.help.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::SettingOrigin;

    fn effective(
        setting: &'static settings::Setting,
        value: Option<&str>,
        origin: SettingOrigin,
    ) -> EffectiveSetting {
        EffectiveSetting {
            setting,
            value: value.map(str::to_owned),
            origin,
        }
    }

    #[test]
    fn a_value_that_can_contain_a_secret_is_not_shown() {
        let file = SettingOrigin::File(PathBuf::from("console.toml"), "audit.anchor_url".into());
        let url = Some("https://hooks.example.org/secret");
        let shown = view(&effective(&settings::AUDIT_ANCHOR_URL, url, file));
        assert_eq!(shown.value.as_deref(), Some("(not shown)"));
        assert_eq!(shown.source, "console.toml:audit.anchor_url");
        let none = view(&effective(
            &settings::ETCD_USER,
            None,
            SettingOrigin::Default,
        ));
        assert_eq!((none.value, none.source.as_str()), (None, "default"));
        assert_eq!(none.default, "no authentication");
    }

    #[test]
    fn what_waits_for_a_restart_is_determined_at_each_reload() {
        let flag = SettingOrigin::Flag("listen");
        let listen = view(&effective(&settings::LISTEN, Some("127.0.0.1:1"), flag));
        let running = RunningSettings(RwLock::new(vec![listen]));
        running.wait_for_restart("listen", "127.0.0.1:2");
        running.wait_for_restart("unknown", "x");
        let waiting = running.list();
        assert_eq!(waiting[0].after_restart.as_deref(), Some("127.0.0.1:2"));
        assert_eq!(waiting[0].value.as_deref(), Some("127.0.0.1:1"));
        running.forget_waiting();
        assert_eq!(running.list()[0].after_restart, None);
    }
}
