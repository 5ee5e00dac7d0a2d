//! Collects the value of each setting from flags, environment and file, by precedence.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::problem::{ConfigProblem, SettingOrigin};
use super::settings::{self, Setting, VARIABLE_PREFIX};

/// Values given as flags, by flag name.
pub type FlagValues = BTreeMap<&'static str, Vec<String>>;

/// All inputs of the configuration; nothing is read from the process itself.
#[derive(Clone, Debug, Default)]
pub struct ConfigInputs {
    /// Flags by name, without dashes.
    pub flags: FlagValues,
    pub environment: BTreeMap<String, String>,
    /// Path and text of the configuration file.
    pub file: Option<(PathBuf, String)>,
    /// Directory of the running program; the site's default is relative to it.
    pub program_dir: PathBuf,
    /// Default of `--etcd-data-dir`; `None` if the user has no home directory.
    pub state_dir: Option<PathBuf>,
}

/// The value of one setting and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SettingValue {
    pub(super) values: Vec<String>,
    pub(super) origin: SettingOrigin,
}

/// All given values, by flag name.
pub(super) type SettingValues = BTreeMap<&'static str, SettingValue>;

/// Merges the inputs by precedence; invalid ones are added to `problems`.
pub(super) fn merge(inputs: &ConfigInputs, problems: &mut Vec<ConfigProblem>) -> SettingValues {
    let mut sources = from_file(inputs, problems);
    sources.extend(from_environment(inputs, problems));
    for (flag, values) in &inputs.flags {
        let given = SettingValue {
            values: values.clone(),
            origin: SettingOrigin::Flag(flag),
        };
        sources.insert(flag, given);
    }
    sources
}

fn from_environment(inputs: &ConfigInputs, problems: &mut Vec<ConfigProblem>) -> SettingValues {
    let mut sources = SettingValues::new();
    for (name, value) in &inputs.environment {
        if !name.starts_with(VARIABLE_PREFIX)
            || is_service_link(name)
            || console_client::settings::VARIABLES.contains(&name.as_str())
            || *name == settings::CONFIG.variable()
        {
            continue;
        }
        let origin = SettingOrigin::Variable(name.clone());
        let Some(setting) = settings::ALL
            .iter()
            .find(|setting| setting.variable() == *name)
        else {
            let hint = settings::similar_variable(name).map_or_else(
                || "remove it, or see `galera-console check-config --table`".to_owned(),
                |similar| format!("did you mean {similar}?"),
            );
            problems.push(ConfigProblem {
                origin,
                message: format!("unknown variable; {hint}"),
            });
            continue;
        };
        // Compose files and shells pass empty variables for "not set".
        if value.trim().is_empty() {
            continue;
        }
        let values = if setting.key == settings::CLUSTER.key {
            value.split_whitespace().map(str::to_owned).collect()
        } else {
            vec![value.clone()]
        };
        sources.insert(setting.flag, SettingValue { values, origin });
    }
    sources
}

/// Kubernetes sets these in every container if a Service is named `galera-console`; they are not settings.
fn is_service_link(name: &str) -> bool {
    let rest = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
    rest == "PORT"
        || rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn from_file(inputs: &ConfigInputs, problems: &mut Vec<ConfigProblem>) -> SettingValues {
    let mut sources = SettingValues::new();
    let Some((path, text)) = &inputs.file else {
        return sources;
    };
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(1, |span| {
                text[..span.start.min(text.len())].matches('\n').count() + 1
            });
            let message = format!("line {line} is not valid TOML: {}", error.message());
            problems.push(ConfigProblem {
                origin: SettingOrigin::File(path.clone(), String::new()),
                message,
            });
            return sources;
        }
    };
    let mut file = FileReader {
        path,
        problems,
        sources: &mut sources,
    };
    for (key, value) in &table {
        file.top_level(key, value);
    }
    sources
}

struct FileReader<'a> {
    path: &'a PathBuf,
    problems: &'a mut Vec<ConfigProblem>,
    sources: &'a mut SettingValues,
}

impl FileReader<'_> {
    fn top_level(&mut self, key: &str, value: &toml::Value) {
        match value {
            toml::Value::Table(clusters) if key == settings::CLUSTER.key => self.clusters(clusters),
            toml::Value::Table(section) => {
                for (inner, value) in section {
                    self.setting(&format!("{key}.{inner}"), value);
                }
            }
            _ => self.setting(key, value),
        }
    }

    fn setting(&mut self, key: &str, value: &toml::Value) {
        let Some(setting) =
            settings::by_key(key).filter(|setting| setting.key != settings::CLUSTER.key)
        else {
            let hint = settings::similar_key(key).map_or_else(
                || "remove it, or see `galera-console check-config --table`".to_owned(),
                |similar| format!("did you mean {similar}?"),
            );
            self.report(key, format!("unknown key; {hint}"));
            return;
        };
        match string_values(value) {
            Some(values) if setting.repeatable || values.len() == 1 => {
                self.insert(setting, key, values)
            }
            _ if setting.repeatable => self.report(
                key,
                "must be a list of strings, e.g. [\"a\", \"b\"]".to_owned(),
            ),
            _ => self.report(key, "must be a single string or number".to_owned()),
        }
    }

    fn clusters(&mut self, clusters: &toml::Table) {
        let mut values = Vec::new();
        for (name, members) in clusters {
            match string_values(members) {
                Some(members) => values.push(format!("{name}={}", members.join(","))),
                None => self.report(
                    &format!("clusters.{name}"),
                    "must be a list of members, e.g. [\"10.0.0.1\", \"10.0.0.2:3307\"]".to_owned(),
                ),
            }
        }
        if !values.is_empty() {
            self.insert(&settings::CLUSTER, settings::CLUSTER.key, values);
        }
    }

    fn insert(&mut self, setting: &'static Setting, key: &str, values: Vec<String>) {
        let origin = SettingOrigin::File(self.path.clone(), key.to_owned());
        if self
            .sources
            .insert(setting.flag, SettingValue { values, origin })
            .is_some()
        {
            self.report(
                key,
                format!(
                    "is given twice, here and as serve.{}; remove one",
                    setting.key
                ),
            );
        }
    }

    fn report(&mut self, key: &str, message: String) {
        let origin = SettingOrigin::File(self.path.clone(), key.to_owned());
        self.problems.push(ConfigProblem { origin, message });
    }
}

fn string_values(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}
