//! The settings of the export by OTLP, which need a build with the feature `otlp`.

use super::reader::ConfigReader;
use super::settings::{self, Setting};

pub use crate::telemetry::OtlpConfig;

static ALL: [&Setting; 6] = [
    &settings::OTLP_ENDPOINT,
    &settings::OTLP_HEADERS_FILE,
    &settings::OTLP_CA,
    &settings::OTLP_TIMEOUT,
    &settings::OTLP_SAMPLING,
    &settings::OTLP_METRICS_INTERVAL,
];

impl ConfigReader<'_> {
    /// The export by OTLP, if there is one.
    #[cfg(not(feature = "otlp"))]
    pub(super) fn otlp(&mut self) -> Option<OtlpConfig> {
        self.refuse_otlp();
        None
    }

    /// Reports each setting of the export that is given.
    #[cfg(any(test, not(feature = "otlp")))]
    pub(super) fn refuse_otlp(&mut self) {
        for setting in ALL {
            _ = self.look_up(setting);
            if self.is_given(setting) {
                self.report(
                    self.origin(setting),
                    "needs a build with the feature otlp, which this one does not have (galera-console --version lists features); build with --features otlp, or remove the setting",
                );
            }
        }
    }
}

#[cfg(feature = "otlp")]
mod enabled {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use notify::OutboundUrl;
    use otlp_export::{OtlpSettings, ResourceAttributes};
    use percent_encoding::percent_decode_str;

    use super::super::problem::{ConfigProblem, SettingOrigin, read_file};
    use super::*;
    use crate::config::parse;

    /// Standard variables of OpenTelemetry about the process.
    const RESOURCE_VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";
    const SERVICE_VARIABLE: &str = "OTEL_SERVICE_NAME";
    /// The longest deadline: that of every request to a server of a setting.
    const TIMEOUT_MAX: Duration = Duration::from_secs(10);

    impl ConfigReader<'_> {
        /// The export by OTLP, if there is one.
        pub(in crate::config) fn otlp(&mut self) -> Option<OtlpConfig> {
            let endpoint = self.single(&settings::OTLP_ENDPOINT, |text| {
                let url = OutboundUrl::on_trusted_network(text)?;
                match text.contains('?') {
                    true => Err(format!(
                        "{text:?} has a query; leave out ? and what follows"
                    )),
                    false => Ok(url),
                }
            });
            let headers = self.single(&settings::OTLP_HEADERS_FILE, |text| {
                let path = parse::path(text)?;
                OtlpSettings::parse_headers(&read_file(&path)?)
                    .map_err(|error| format!("{}: {error}", path.display()))
            });
            let ca = self.authorities_file(&settings::OTLP_CA);
            let timeout = self.single(&settings::OTLP_TIMEOUT, |text| {
                parse::duration_between(text, Duration::from_millis(100), TIMEOUT_MAX)
            });
            let sampling = self.single(&settings::OTLP_SAMPLING, parse_ratio);
            let metrics_interval = self.single(&settings::OTLP_METRICS_INTERVAL, |text| {
                parse::optional_duration(text, Duration::from_secs(1))
            });
            for given in &ALL[1..] {
                self.requires(given, &settings::OTLP_ENDPOINT);
            }
            let endpoint = endpoint?;
            let origin = self.origin(&settings::OTLP_ENDPOINT);
            match (endpoint.is_exposed(), self.is_given(&settings::OTLP_HEADERS_FILE)) {
                (false, _) => {}
                (true, false) => self.warnings.push(ConfigProblem {
                    origin,
                    message: "traces and metrics cross the network unencrypted; use https".to_owned(),
                }),
                (true, true) => self.report(
                    origin,
                    "is not encrypted: every host on the way could read the headers of --otlp-headers-file; use https",
                ),
            }
            let others = self.resource_attributes();
            Some(OtlpSettings {
                headers: headers.unwrap_or_default(),
                timeout: timeout?,
                sampling: sampling?,
                metrics_interval: metrics_interval?,
                ca,
                ..OtlpSettings::new(
                    endpoint,
                    ResourceAttributes {
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        // Made at the start of the process.
                        instance: String::new(),
                        others,
                    },
                )
            })
        }

        /// The attributes in the standard variables.
        fn resource_attributes(&mut self) -> Vec<(String, String)> {
            let environment = &self.inputs.environment;
            let given = |name: &str| environment.get(name).map(|text| text.trim().to_owned());
            let mut attributes = BTreeMap::new();
            match parse_attributes(&given(RESOURCE_VARIABLE).unwrap_or_default()) {
                Ok(parsed) => attributes.extend(parsed),
                Err(message) => {
                    let origin = SettingOrigin::Variable(RESOURCE_VARIABLE.to_owned());
                    self.report(origin, message);
                }
            }
            if let Some(name) = given(SERVICE_VARIABLE).filter(|name| !name.is_empty()) {
                attributes.insert("service.name".to_owned(), name);
            }
            attributes.into_iter().collect()
        }
    }

    fn parse_ratio(text: &str) -> Result<f64, String> {
        let ratio = text.trim().parse::<f64>().ok();
        ratio
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .ok_or_else(|| format!("{text:?} is not a ratio; use 0 to 1, e.g. 0.1"))
    }

    /// Parses `key=value,…`, where values may be percent-encoded.
    fn parse_attributes(text: &str) -> Result<Vec<(String, String)>, String> {
        let pairs = text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (key, value) = pair.split_once('=')?;
                let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
                let key = key.trim();
                (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| {
                "is not a list of attributes; use KEY=VALUE,…, with other characters percent-encoded".to_owned()
            })
    }
}
