//! What is wrong with a configuration, and where it came from.

use std::fmt;
use std::path::{Path, PathBuf};

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
    /// A flag, without its dashes.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// A key of the configuration file; empty for the file as a whole.
    File(PathBuf, String),
    /// Not set anywhere.
    Default,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path, key) if key.is_empty() => write!(f, "{}", path.display()),
            Self::File(path, key) => write!(f, "{}:{key}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One problem: origin, cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    pub origin: SettingOrigin,
    /// What is wrong with the value, and the remedy.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line each, even if a library's error text has several.
        let message = self
            .message
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        write!(f, "{}: {message}", self.origin)
    }
}

/// All problems of a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<ConfigProblem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "the configuration has 1 problem:")?,
            count => writeln!(f, "the configuration has {count} problems:")?,
        }
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|problem| format!("  {problem}"))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads a whole text file.
///
/// # Errors
/// Cause and remedy, without the name of the setting.
pub fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes)
        .map_err(|_| format!("{shown} is not a UTF-8 text file; check the path"))
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound => format!("{shown} does not exist; create it or fix the path"),
        ErrorKind::PermissionDenied => {
            format!(
                "permission denied for {shown}; change its owner or mode, e.g. chmod 0400 and chown"
            )
        }
        ErrorKind::IsADirectory => format!("{shown} is a directory; give a file"),
        _ => format!("cannot read {shown}: {error}; fix the path or the file"),
    }
}

/// Reads a password file: its text without the trailing line break.
///
/// # Errors
/// Cause and remedy.
pub fn read_password(path: &Path) -> Result<registry::Secret, String> {
    const LONGEST: usize = 4096;
    let text = read_file(path)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    let shown = path.display();
    if password.is_empty() {
        return Err(format!("{shown} is empty; it must contain the password"));
    }
    if password.len() > LONGEST || password.contains(['\n', '\0']) {
        return Err(format!(
            "{shown} has more than one line; it must contain only the password"
        ));
    }
    Ok(registry::Secret::new(password))
}

/// The candidate most similar to `text`, if it is similar enough to be a typo.
#[must_use]
pub(super) fn closest_match(
    text: &str,
    candidates: impl Iterator<Item = String>,
) -> Option<String> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(text, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(text.len()) / 6)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
