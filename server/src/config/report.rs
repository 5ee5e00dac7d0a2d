//! Reports the effective configuration: every setting with its value and origin. Secrets are never read here.

use super::Config;
use super::problem::SettingOrigin;
use super::settings::{self, Setting};

/// One setting in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveSetting {
    pub setting: &'static Setting,
    /// The value as text; `None` if nothing is set. For a password, the file's path.
    pub value: Option<String>,
    pub origin: SettingOrigin,
}

/// Settings whose value can contain a secret, such as the path of a webhook.
const HIDDEN: [&str; 2] = ["audit-anchor-url", "metrics-query-url"];

impl EffectiveSetting {
    /// The value as it may be shown; `None` if nothing is set.
    pub(crate) fn shown_value(&self) -> Option<String> {
        let value = self.value.clone()?;
        match HIDDEN.contains(&self.setting.flag) {
            true => Some("(not shown)".to_owned()),
            false => Some(value),
        }
    }
}

impl Config {
    /// The effective configuration, one setting per line, in the order of the table.
    #[must_use]
    pub fn report(&self) -> String {
        let mut rows: Vec<[String; 3]> = Vec::new();
        for setting in settings::ALL {
            let Some(effective) = self
                .effective
                .iter()
                .find(|effective| effective.setting == *setting)
            else {
                continue;
            };
            let value = match &effective.value {
                Some(value) if setting.flag.ends_with("password-file") => {
                    format!("{value} (the password is not shown)")
                }
                Some(value) => value.clone(),
                None => format!("({})", setting.default_text()),
            };
            rows.push([setting.flag.to_owned(), value, effective.origin.to_string()]);
        }
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        rows.iter()
            .map(|[flag, value, origin]| format!("{flag:first$}  {value:second$}  {origin}\n"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hidden_setting_exists() {
        let known = |flag: &str| settings::ALL.iter().any(|setting| setting.flag == flag);
        assert!(HIDDEN.into_iter().all(known));
    }
}
