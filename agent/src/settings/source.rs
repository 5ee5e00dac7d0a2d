//! Where settings come from: a lookup by name, with `NAME_FILE` read in place of `NAME`.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::ErrorKind;
use std::str::FromStr;

/// Largest file that holds one setting, in bytes: more is a wrong file.
const FILE_MAX: usize = 64 * 1024;

/// A setting that cannot be used, in a sentence that names the variable and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {why}")]
pub struct Wrong {
    /// The variable.
    pub variable: String,
    /// What is wrong and what to do.
    pub why: String,
    /// Whether the cause is a missing permission rather than a wrong value.
    pub forbidden: bool,
}

/// Gives the value of a name, when it has one.
type Lookup<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Looks settings up; the process environment or a test's map.
pub struct Source<'a> {
    lookup: Box<Lookup<'a>>,
}

impl<'a> Source<'a> {
    /// Settings come from `lookup`.
    pub fn new(lookup: impl Fn(&str) -> Option<OsString> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
        }
    }

    /// The value of `name`, from itself or from the file that `name_FILE` names. Empty is not set.
    ///
    /// # Errors
    /// [`Wrong`] when both are set, the value is no text, or the file cannot be read.
    pub fn optional(&self, name: &str) -> Result<Option<String>, Wrong> {
        let file_name = format!("{name}_FILE");
        match (self.text(name)?, self.text(&file_name)?) {
            (Some(_), Some(_)) => {
                Err(self.wrong(name, format!("is set twice, also as {file_name}; drop one")))
            }
            (Some(value), None) => Ok(Some(value)),
            (None, Some(path)) => self.file(&file_name, &path).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The value of `name`, which must be set to `what`.
    ///
    /// # Errors
    /// [`Wrong`] when it is not set, else as [`Source::optional`].
    pub fn required(&self, name: &str, what: &str) -> Result<String, Wrong> {
        self.optional(name)?
            .ok_or_else(|| self.wrong(name, format!("is not set; set it to {what}")))
    }

    /// `text` as a value of its own kind.
    ///
    /// # Errors
    /// [`Wrong`] with the reason that the kind gives.
    pub fn parsed<T: FromStr<Err: Display>>(&self, name: &str, text: &str) -> Result<T, Wrong> {
        text.parse()
            .map_err(|error: T::Err| self.wrong(name, error.to_string()))
    }

    /// A complaint about `name`.
    #[must_use]
    pub fn wrong(&self, name: &str, why: String) -> Wrong {
        Wrong {
            variable: name.to_owned(),
            why,
            forbidden: false,
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, Wrong> {
        match (self.lookup)(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value).filter(|value| !value.is_empty())),
            Some(Err(_)) => Err(self.wrong(name, "is not UTF-8 text".to_owned())),
        }
    }

    fn file(&self, name: &str, path: &str) -> Result<String, Wrong> {
        let bytes = std::fs::read(path).map_err(|error| Wrong {
            forbidden: error.kind() == ErrorKind::PermissionDenied,
            ..self.wrong(name, format!("cannot read {path}: {error}"))
        })?;
        if bytes.len() > FILE_MAX {
            return Err(self.wrong(
                name,
                format!("{path} has {} bytes; one value was expected", bytes.len()),
            ));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| self.wrong(name, format!("{path} is not UTF-8 text")))?;
        // Editors and `echo` end a file with a newline that is no part of a password.
        let value = text.strip_suffix('\n').unwrap_or(&text);
        let value = value.strip_suffix('\r').unwrap_or(value);
        if value.is_empty() {
            return Err(self.wrong(name, format!("{path} is empty")));
        }
        Ok(value.to_owned())
    }
}
