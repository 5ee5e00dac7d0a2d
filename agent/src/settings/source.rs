//! Where settings come from: a lookup by name, with `NAME_FILE` read in place of `NAME`.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::ErrorKind;
use std::str::FromStr;

/// Largest file that holds one setting, in bytes: more is a wrong file.
const FILE_MAX: usize = 64 * 1024;

/// A setting that cannot be used, in a sentence that names the variable and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {reason}")]
pub struct SettingError {
    /// The variable.
    pub variable: String,
    /// What is wrong and what to do.
    pub reason: String,
    /// Whether the cause is a missing permission rather than a wrong value.
    pub permission_denied: bool,
}

/// Gives the value of a name, when it has one.
type Lookup<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Looks settings up; the process environment or a test's map.
pub struct SettingsSource<'a> {
    lookup: Box<Lookup<'a>>,
}

impl<'a> SettingsSource<'a> {
    /// Settings come from `lookup`.
    pub fn new(lookup: impl Fn(&str) -> Option<OsString> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
        }
    }

    /// The value of `name`, from itself or from the file that `name_FILE` names. Empty is not set.
    ///
    /// # Errors
    /// [`SettingError`] when both are set, the value is no text, or the file cannot be read.
    pub fn optional(&self, name: &str) -> Result<Option<String>, SettingError> {
        let file_name = format!("{name}_FILE");
        match (self.utf8_value(name)?, self.utf8_value(&file_name)?) {
            (Some(_), Some(_)) => {
                Err(self.invalid(name, format!("is set twice, also as {file_name}; drop one")))
            }
            (Some(value), None) => Ok(Some(value)),
            (None, Some(path)) => self.read_value_file(&file_name, &path).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The value of `name`, which must be set to `what`.
    ///
    /// # Errors
    /// [`SettingError`] when it is not set, else as [`SettingsSource::optional`].
    pub fn required(&self, name: &str, what: &str) -> Result<String, SettingError> {
        self.optional(name)?
            .ok_or_else(|| self.invalid(name, format!("is not set; set it to {what}")))
    }

    /// `utf8_value` as a value of its own kind.
    ///
    /// # Errors
    /// [`SettingError`] with the reason that the kind gives.
    pub fn parse<T: FromStr<Err: Display>>(
        &self,
        name: &str,
        text: &str,
    ) -> Result<T, SettingError> {
        text.parse()
            .map_err(|error: T::Err| self.invalid(name, error.to_string()))
    }

    /// A complaint about `name`.
    #[must_use]
    pub fn invalid(&self, name: &str, why: String) -> SettingError {
        SettingError {
            variable: name.to_owned(),
            reason: why,
            permission_denied: false,
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
                format!("{path} has {} bytes; one value was expected", bytes.len()),
            ));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| self.invalid(name, format!("{path} is not UTF-8 text")))?;
        // Editors and `echo` end a file with a newline that is no part of a password.
        let value = text.strip_suffix('\n').unwrap_or(&text);
        let value = value.strip_suffix('\r').unwrap_or(value);
        if value.is_empty() {
            return Err(self.invalid(name, format!("{path} is empty")));
        }
        Ok(value.to_owned())
    }
}
