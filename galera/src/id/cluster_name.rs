//! Names of clusters: any that a server accepts, as one segment of keys and URLs.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::{NameError, NameText, is_plain, validate_name};
use crate::invisible::is_invisible;

/// Longest cluster name accepted, in characters: any name that Galera accepts, with every byte escaped.
pub const CLUSTER_NAME_MAX: usize = 3 * GALERA_NAME_MAX;
/// Longest `wsrep_cluster_name` with which nodes can join, in bytes. A longer one founds a cluster of one member.
pub const GALERA_NAME_MAX: usize = 32;
/// Begins an escaped byte of a cluster's name. It has no meaning in URLs, etcd and HTML.
const ESCAPE: char = '~';
/// A cluster's name, as one segment of a registry key and of a URL: `wsrep_cluster_name`, with `~` and two hexadecimal
/// digits for every byte but letters, digits, `.`, `_` and `-` (`my~20cluster`). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(NameText);

impl ClusterName {
    /// The name, escaped.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the cluster whose `wsrep_cluster_name` is `text`. Text that is an escaped name already is taken as such.
    ///
    /// # Errors
    /// [`NameError`] for empty text and text that is too long.
    pub fn from_wsrep_name(text: &str) -> Result<Self, NameError> {
        if let Ok(escaped) = text.parse() {
            return Ok(escaped);
        }
        escape(text).parse()
    }

    /// `wsrep_cluster_name`, as the servers have it.
    #[must_use]
    pub fn wsrep_name(&self) -> Cow<'_, str> {
        unescape(&self.0).map_or_else(|| self.as_str().into(), Into::into)
    }

    /// The name as people read it: `wsrep_cluster_name`, but escaped if characters of it are invisible, so that two names
    /// never look the same because of them. The browser has the same rule (`clusterLabel` in `app/browser/page.js`).
    #[must_use]
    pub fn display_name(&self) -> Cow<'_, str> {
        let name = self.wsrep_name();
        let hidden_space = name.split(' ').any(str::is_empty);
        let visible = |c: char| c == ' ' || !(c.is_whitespace() || is_invisible(c));
        match !hidden_space && name.chars().all(visible) {
            true => name,
            false => self.as_str().into(),
        }
    }
}

/// `text` with every byte escaped that a name must not have.
fn escape(text: &str) -> String {
    let dots = matches!(text, "." | "..");
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match char::from(byte) {
            c if is_plain(c) && !dots => escaped.push(c),
            _ => escaped.push_str(&format!("{ESCAPE}{byte:02X}")),
        }
    }
    escaped
}

/// The text whose escaped form is `name`; `None` if there is none, or nothing is escaped.
fn unescape(name: &str) -> Option<String> {
    let (first, escapes) = name.split_once(ESCAPE)?;
    let mut bytes = first.as_bytes().to_vec();
    for part in escapes.split(ESCAPE) {
        let digits = part.get(..2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(part[2..].bytes());
    }
    let text = String::from_utf8(bytes).ok()?;
    (escape(&text) == name).then_some(text)
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // The browser only gets names that were validated, and is spared the code.
        let escaped = match cfg!(target_family = "wasm") {
            true => text.contains(ESCAPE),
            false => text.len() <= CLUSTER_NAME_MAX && unescape(text).is_some(),
        };
        if !escaped {
            validate_name("cluster name", text, CLUSTER_NAME_MAX)?;
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_server_is_one_segment() {
        for (name, escaped) in [
            ("lab", "lab"),
            ("my cluster", "my~20cluster"),
            ("a/b", "a~2Fb"),
            ("100%", "100~25"),
            ("~", "~7E"),
            ("..", "~2E~2E"),
            ("a..b", "a..b"),
            ("größe", "gr~C3~B6~C3~9Fe"),
            ("\u{202e}evil", "~E2~80~AEevil"),
            ("x=y,z", "x~3Dy~2Cz"),
            ("<script>", "~3Cscript~3E"),
        ] {
            let parsed = ClusterName::from_wsrep_name(name).unwrap();
            assert_eq!((parsed.as_str(), &*parsed.wsrep_name()), (escaped, name));
            assert_eq!(parsed.as_str().parse(), Ok(parsed.clone()));
            // What the console shows can be pasted into its configuration.
            assert_eq!(ClusterName::from_wsrep_name(escaped), Ok(parsed.clone()));
            let json = serde_json::to_string(&parsed).unwrap();
            assert_eq!(serde_json::from_str::<ClusterName>(&json).unwrap(), parsed);
        }
        for (name, shown) in [
            ("lab", "lab"),
            ("my cluster", "my cluster"),
            ("größe", "größe"),
            ("<b>&", "<b>&"),
            ("מסד", "מסד"),
            ("\u{202e}evil", "~E2~80~AEevil"),
            ("la\u{200b}b", "la~E2~80~8Bb"),
            ("lab ", "lab~20"),
            ("a  b", "a~20~20b"),
            ("a\u{a0}b", "a~C2~A0b"),
            ("a\tb", "a~09b"),
            (" ", "~20"),
        ] {
            let parsed = ClusterName::from_wsrep_name(name).unwrap();
            assert_eq!(parsed.display_name(), shown);
        }
        // The longest that Galera takes, all escaped.
        let longest = "é".repeat(GALERA_NAME_MAX / 2);
        assert_eq!(
            *ClusterName::from_wsrep_name(&longest).unwrap().wsrep_name(),
            longest
        );
        // One name has one spelling, and only text has one.
        for text in ["~61b", "~2fb", "a~", "a~2", "a~zz", "~FF", "~~", "a~é1"] {
            assert!(text.parse::<ClusterName>().is_err(), "{text}");
        }
        assert!(ClusterName::from_wsrep_name("").is_err());
        assert!(ClusterName::from_wsrep_name(&"é".repeat(100)).is_err());
    }
}
