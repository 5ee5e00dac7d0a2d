//! The source of settings: a lookup by name, with `NAME_FILE` read in place of `NAME`.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::ErrorKind;
use std::str::FromStr;

/// Largest file with a setting, in bytes.
const FILE_MAX: usize = 64 * 1024;

/// A setting that is missing or invalid, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {reason}")]
pub struct SettingError {
    pub variable: String,
    /// What is wrong and how to fix it.
    pub reason: String,
    /// Whether the cause is a missing permission rather than an invalid value.
    pub permission_denied: bool,
}

type Lookup<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Reads settings from the process environment or a test's map.
pub struct SettingsSource<'a> {
    lookup: Box<Lookup<'a>>,
}

impl<'a> SettingsSource<'a> {
    pub fn new(lookup: impl Fn(&str) -> Option<OsString> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
        }
    }

    /// The value of `name`, from the variable itself or from the file that `name_FILE` names. An empty variable counts
    /// as not set.
    ///
    /// # Errors
    /// [`SettingError`] if both are set, the value is not UTF-8, or the file cannot be read.
    pub fn optional(&self, name: &str) -> Result<Option<String>, SettingError> {
        let file_name = format!("{name}_FILE");
        match (self.utf8_value(name)?, self.utf8_value(&file_name)?) {
            (Some(_), Some(_)) => Err(self.invalid(
                name,
                format!("is set twice, also as {file_name}; remove one"),
            )),
            (Some(value), None) => Ok(Some(value)),
            (None, Some(path)) => self.read_value_file(&file_name, &path).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The value of `name`, which must be set; `what` describes it for the error.
    ///
    /// # Errors
    /// [`SettingError`] if it is not set, or as [`SettingsSource::optional`].
    pub fn required(&self, name: &str, what: &str) -> Result<String, SettingError> {
        self.optional(name)?
            .ok_or_else(|| self.invalid(name, format!("is not set; set it to {what}")))
    }

    /// Parses `text`, the value of `name`.
    ///
    /// # Errors
    /// [`SettingError`] with the parser's message.
    pub fn parse<T: FromStr<Err: Display>>(
        &self,
        name: &str,
        text: &str,
    ) -> Result<T, SettingError> {
        text.parse()
            .map_err(|error: T::Err| self.invalid(name, error.to_string()))
    }

    /// An error about `name`.
    #[must_use]
    pub fn invalid(&self, name: &str, why: String) -> SettingError {
        SettingError {
            variable: name.to_owned(),
            reason: why,
            permission_denied: false,
        }
    }

    /// An error about files that `names` name.
    #[must_use]
    pub fn unusable_file(&self, names: &str, error: &registry::Error) -> SettingError {
        SettingError {
            permission_denied: matches!(error, registry::Error::TlsFile(file) if file.is_permission_denied()),
            ..self.invalid(names, error.to_string())
        }
    }

    fn utf8_value(&self, name: &str) -> Result<Option<String>, SettingError> {
        match (self.lookup)(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value).filter(|value| !value.is_empty())),
            Some(Err(_)) => Err(self.invalid(name, "is not UTF-8 text".to_owned())),
        }
    }

    fn read_value_file(&self, name: &str, path: &str) -> Result<String, SettingError> {
        let bytes = std::fs::read(path).map_err(|error| SettingError {
            permission_denied: error.kind() == ErrorKind::PermissionDenied,
            ..self.invalid(name, format!("cannot read {path}: {error}"))
        })?;
        if bytes.len() > FILE_MAX {
            return Err(self.invalid(
                name,
                format!("{path} has {} bytes; expected a single value", bytes.len()),
            ));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| self.invalid(name, format!("{path} is not UTF-8 text")))?;
        // Editors and `echo` append a newline that is not part of a password.
        let value = text.strip_suffix('\n').unwrap_or(&text);
        let value = value.strip_suffix('\r').unwrap_or(value);
        if value.is_empty() {
            return Err(self.invalid(name, format!("{path} is empty")));
        }
        Ok(value.to_owned())
    }
}
