//! The API token, which is a secret: it is in no error, no log and no argument of the program.

use std::path::Path;

use http::HeaderValue;

/// How every API token begins.
const PREFIX: &str = "gct_";
/// More than any token has, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024;

/// An API token, as a header.
#[derive(Clone)]
pub struct ApiToken(HeaderValue);

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

impl ApiToken {
    /// Checks that `text` can be a token, so that another secret is not sent by mistake.
    ///
    /// # Errors
    /// A sentence without the text, which `origin` names.
    pub fn parse(text: &str, origin: &str) -> Result<Self, String> {
        let text = text.trim();
        let is_token = text
            .strip_prefix(PREFIX)
            .is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_'));
        if !is_token {
            return Err(format!(
                "{origin} has no API token: one begins with {PREFIX} and is a single line; create one with `galera-console token add`"
            ));
        }
        let header = HeaderValue::try_from(format!("Bearer {text}"));
        let mut header = header.map_err(|error| format!("{origin}: {error}"))?;
        header.set_sensitive(true);
        Ok(Self(header))
    }

    /// Reads the token from the first line of a file; `token add` explains it in the second.
    ///
    /// # Errors
    /// A sentence that names the file and the remedy.
    pub fn read(path: &Path) -> Result<Self, String> {
        use std::io::Read;
        let shown = path.display();
        let mut text = String::new();
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| format!("cannot read the token from {shown}: {error}"))?;
        let first = text.trim_start().lines().next().unwrap_or_default();
        Self::parse(first, &format!("the file {shown}"))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_is_accepted_and_none_is_shown() {
        let token = ApiToken::parse(" gct_0123_abcd\n", "x").unwrap();
        assert_eq!(token.header().to_str().unwrap(), "Bearer gct_0123_abcd");
        assert!(!format!("{token:?} {:?}", token.header()).contains("0123"));
        for text in [
            "",
            "hunter2",
            "gct_a\ngct_b",
            "gct_\u{1b}",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            let error = ApiToken::parse(text, "the file t").unwrap_err();
            assert!(error.contains("the file t has no API token"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = ApiToken::read(Path::new("/nonexistent/token")).unwrap_err();
        assert!(error.contains("/nonexistent/token"), "{error}");
    }
}
