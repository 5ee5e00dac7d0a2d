//! Reads settings one by one; collects every problem, and records every value for the report.

use std::path::PathBuf;

use registry::Secret;

use super::parse;
use super::problem::{ConfigError, ConfigProblem, SettingOrigin, check_readable, read_password};
use super::report::EffectiveSetting;
use super::settings::{Setting, SettingDefault};
use super::sources::{self, ConfigInputs, SettingValue, SettingValues};

/// The inputs while they are read, with everything found so far.
pub(super) struct ConfigReader<'a> {
    pub(super) inputs: &'a ConfigInputs,
    pub(super) sources: SettingValues,
    pub(super) problems: Vec<ConfigProblem>,
    pub(super) warnings: Vec<ConfigProblem>,
    pub(super) effective: Vec<EffectiveSetting>,
}

impl<'a> ConfigReader<'a> {
    pub(super) fn new(inputs: &'a ConfigInputs) -> Self {
        let mut problems = Vec::new();
        let sources = sources::merge(inputs, &mut problems);
        Self {
            inputs,
            sources,
            problems,
            warnings: Vec::new(),
            effective: Vec::new(),
        }
    }

    pub(super) fn finish<T>(
        mut self,
        build: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, ConfigError> {
        if self.problems.is_empty()
            && let Some(config) = build(&mut self)
        {
            return Ok(config);
        }
        Err(ConfigError(self.problems))
    }

    pub(super) fn report(&mut self, origin: SettingOrigin, message: impl Into<String>) {
        self.problems.push(ConfigProblem {
            origin,
            message: message.into(),
        });
    }

    pub(super) fn origin(&self, setting: &Setting) -> SettingOrigin {
        self.sources
            .get(setting.flag)
            .map_or(SettingOrigin::Default, |given| given.origin.clone())
    }

    pub(super) fn is_given(&self, setting: &Setting) -> bool {
        self.sources.contains_key(setting.flag)
    }

    /// The value given for `setting`, else its default; recorded for the report.
    pub(super) fn look_up(&mut self, setting: &'static Setting) -> Option<SettingValue> {
        let given = self
            .sources
            .get(setting.flag)
            .cloned()
            .or_else(|| match setting.default {
                SettingDefault::Value(text) => Some(SettingValue {
                    values: vec![text.to_owned()],
                    origin: SettingOrigin::Default,
                }),
                SettingDefault::Computed(_) | SettingDefault::Absent(_) => None,
            });
        let (value, origin) = match &given {
            Some(given) => (
                Some(
                    given
                        .values
                        .join(if setting.key == "clusters" { " " } else { "," }),
                ),
                given.origin.clone(),
            ),
            None => (None, SettingOrigin::Default),
        };
        self.effective.push(EffectiveSetting {
            setting,
            value,
            origin,
        });
        given
    }

    pub(super) fn single<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.look_up(setting)?;
        let [value] = given.values.as_slice() else {
            self.report(given.origin, "is given more than once; give it once");
            return None;
        };
        match parse(value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.report(given.origin, message);
                None
            }
        }
    }

    pub(super) fn list<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(given) = self.look_up(setting) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for part in given
            .values
            .iter()
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match parse(part) {
                Ok(value) => values.push(value),
                Err(message) => self.report(given.origin.clone(), message),
            }
        }
        if values.is_empty()
            && self
                .problems
                .iter()
                .all(|problem| problem.origin != given.origin)
        {
            self.report(
                given.origin,
                format!("is empty; use {} or omit it", setting.value),
            );
        }
        values
    }

    pub(super) fn password_file(&mut self, setting: &'static Setting) -> Option<Secret> {
        self.single(setting, |text| read_password(&parse::path(text)?))
    }

    pub(super) fn readable_file(&mut self, setting: &'static Setting) -> Option<PathBuf> {
        self.single(setting, |text| {
            let path = parse::path(text)?;
            check_readable(&path).map(|()| path)
        })
    }

    /// Reports a missing `needed` when `given` is present.
    pub(super) fn requires(&mut self, given: &Setting, needed: &Setting) {
        if self.is_given(given) && !self.is_given(needed) {
            let message = format!("requires --{}; give both or neither", needed.flag);
            self.report(self.origin(given), message);
        }
    }
}
