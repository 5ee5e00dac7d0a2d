//! The messages of the API about the settings of a console.

use serde::{Deserialize, Serialize};

/// A setting as a console runs with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingView {
    /// The flag, without its dashes.
    pub flag: String,
    /// The key in the configuration file: `section.key`, or a top-level `key`.
    pub key: String,
    /// Its value as text; `null` if nothing is set. Of a secret it is the name of its file. `(not shown)` if the value itself
    /// may contain a secret.
    pub value: Option<String>,
    /// What is used if nothing is set.
    pub default: String,
    /// Where the value comes from: `--flag`, the name of an environment variable, `file:key`, or `default`.
    pub source: String,
    /// What it will be after the next start: it was changed in its source, and needs a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_restart: Option<String>,
    /// Why it has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_effect: Option<String>,
    /// One sentence about it.
    pub help: String,
}

/// The settings of the replica that responds; others may differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingList {
    /// The version of the console.
    pub version: String,
    /// In the order of the documentation.
    pub settings: Vec<SettingView>,
}
