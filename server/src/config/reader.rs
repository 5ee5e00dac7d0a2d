//! Reads settings one by one; collects every problem, and records every value for the report.

use std::path::PathBuf;

use console_core::clock::now;
use registry::Secret;
use tls_files::{CertificateFiles, CertificatePair, read_authorities};

use super::parse;
use super::problem::{ConfigError, ConfigProblem, SettingOrigin, read_password};
use super::report::EffectiveSetting;
use super::settings::{Setting, SettingDefault};
use super::sources::{self, ConfigInputs, SettingValue, SettingValues};
use crate::tls::EXPIRY_WARNING;

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

    /// A file of authorities to trust.
    pub(super) fn authorities_file(&mut self, setting: &'static Setting) -> Option<PathBuf> {
        self.single(setting, |text| {
            let path = parse::path(text)?;
            let read = read_authorities(&path);
            read.map(|_| path).map_err(|error| error.to_string())
        })
    }

    /// The files of a client certificate, if both are given and can be used.
    pub(super) fn client_certificate(
        &mut self,
        certificate: &'static Setting,
        key: &'static Setting,
    ) -> Option<CertificateFiles> {
        self.requires(certificate, key);
        self.requires(key, certificate);
        let paths = [certificate, key].map(|setting| self.single(setting, parse::path));
        let [Some(certificate_file), Some(key_file)] = paths else {
            return None;
        };
        let files = CertificateFiles {
            certificate: certificate_file,
            key: key_file,
        };
        match CertificatePair::load(&files, now()) {
            Ok(pair) => {
                self.warn_about_dates(certificate, &files, &pair);
                Some(files)
            }
            Err(error) => {
                let setting = if error.concerns_key() {
                    key
                } else {
                    certificate
                };
                self.report(self.origin(setting), error.to_string());
                None
            }
        }
    }

    /// Warns of a certificate that is not valid yet, or soon no longer.
    pub(super) fn warn_about_dates(
        &mut self,
        setting: &Setting,
        files: &CertificateFiles,
        pair: &CertificatePair,
    ) {
        let file = files.certificate.display();
        let mut messages = Vec::new();
        if let Some(from) = pair.valid_from {
            messages.push(format!("the certificate in {file} is not valid before {from}: it is refused until then; check the clock of this machine"));
        }
        if let Some(at) = pair.expires_at
            && pair
                .remaining(now())
                .is_some_and(|remaining| remaining < EXPIRY_WARNING)
        {
            messages.push(format!(
                "the certificate in {file} expires at {at}; renew it"
            ));
        }
        let origin = self.origin(setting);
        self.warnings
            .extend(messages.into_iter().map(|message| ConfigProblem {
                origin: origin.clone(),
                message,
            }));
    }

    /// Reports a missing `needed` when `given` is present.
    pub(super) fn requires(&mut self, given: &Setting, needed: &Setting) {
        if self.is_given(given) && !self.is_given(needed) {
            let message = format!("requires --{}; give both or neither", needed.flag);
            self.report(self.origin(given), message);
        }
    }
}
