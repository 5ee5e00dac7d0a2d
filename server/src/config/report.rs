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
