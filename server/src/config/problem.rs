//! What is wrong with a configuration, and where it came from.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
    /// A flag, without its dashes.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// A key of the configuration file; empty for the file as a whole.
    File(PathBuf, String),
    /// Nobody set it.
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

/// One thing that is wrong: where, what, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where the value came from.
    pub origin: SettingOrigin,
    /// What is wrong with it and what to do.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line each, whatever a library's error text looks like.
        let message = self
            .message
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        write!(f, "{}: {message}", self.origin)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<ConfigProblem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "the configuration has a problem:")?,
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

/// Reads a file whole, or says what is wrong in words that name the remedy.
///
/// # Errors
/// The reason and the remedy; the caller names the setting.
pub fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes)
        .map_err(|_| format!("{shown} is not UTF-8 text; check that it is the right file"))
}

/// Whether a file can be opened for reading.
///
/// # Errors
/// As [`read_file`].
pub(super) fn check_readable(path: &Path) -> Result<(), String> {
    // Opening a directory succeeds, reading it does not.
    let result =
        std::fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut [0; 1]));
    result.map(|_| ()).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound => format!("{shown} does not exist; create it or correct the path"),
        ErrorKind::PermissionDenied => {
            format!(
                "{shown} may not be read by this user; change its owner or mode, e.g. chmod 0400 and chown"
            )
        }
        ErrorKind::IsADirectory => format!("{shown} is a directory; name a file"),
        _ => format!("{shown} cannot be read: {error}; correct the path or the file"),
    }
}

/// Reads a password file: its text without the line break at its end.
///
/// # Errors
/// Why it cannot be used, with the remedy.
pub fn read_password(path: &Path) -> Result<registry::Secret, String> {
    const LONGEST: usize = 4096;
    let text = read_file(path)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    let shown = path.display();
    if password.is_empty() {
        return Err(format!("{shown} is empty; write the password into it"));
    }
    if password.len() > LONGEST || password.contains(['\n', '\0']) {
        return Err(format!(
            "{shown} holds more than one line; it must hold the password alone"
        ));
    }
    Ok(registry::Secret::new(password))
}

/// The candidate that is most like `text`, when one is near enough to be meant.
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
