//! What the API answered.

use serde_json::Value;

use crate::safe_text::safe_line;

/// A successful answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiAnswer {
    /// The document; `null` if the answer has none (204).
    pub document: Value,
}

/// A problem document (RFC 9457), as far as it could be read: a later version may add codes and members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiProblem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code; empty if the document has none.
    pub code: String,
    /// What kind of problem it is.
    pub title: String,
    /// What is wrong, and the remedy.
    pub detail: String,
    /// Identifies the request in the console's log.
    pub request_id: String,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
    /// What the caller can do, beyond the detail.
    pub remedy: Option<String>,
}

impl ApiProblem {
    pub(crate) fn read(status: u16, document: &Value, retry_after: Option<u64>) -> Self {
        let text = |name: &str| {
            let text = document.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Self {
            status,
            code: text("code"),
            title: text("title"),
            detail: text("detail"),
            request_id: text("request_id"),
            retry_after,
            remedy: None,
        }
    }

    /// Adds what the caller can do where the code has an answer that the API cannot give.
    #[must_use]
    pub(crate) fn with_remedy(mut self, page: &str) -> Self {
        self.remedy = match self.code.as_str() {
            "session_required" | "step_up_required" | "service_approval_refused" => Some(format!(
                "a person who is signed in can do it in the browser: {page}"
            )),
            "token_invalid" | "token_revoked" | "token_expired" | "token_ended"
            | "token_malformed" | "token_checksum" => Some(
                "create another token with `galera-console token add`, or on the console's host see `galera-console token list`"
                    .to_owned(),
            ),
            "unauthenticated" => Some(
                "give a token with --token-file or GALERA_CONSOLE_TOKEN_FILE".to_owned(),
            ),
            "tls_required" => Some("use https:// in --url".to_owned()),
            "host_not_allowed" => Some(
                "use the console's --public-url as --url, or add this host to its --allowed-hosts"
                    .to_owned(),
            ),
            _ => None,
        };
        self
    }
}

impl std::fmt::Display for ApiProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let title = if self.title.is_empty() {
            "refused"
        } else {
            &self.title
        };
        write!(
            f,
            "{} {}: {}",
            self.status,
            safe_line(title),
            safe_line(&self.detail)
        )?;
        write!(f, " (code {}", safe_line(&self.code))?;
        if !self.request_id.is_empty() {
            write!(f, ", request {}", safe_line(&self.request_id))?;
        }
        f.write_str(")")?;
        if let Some(seconds) = self.retry_after {
            write!(f, "\ntry again in {seconds} s")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n{}", safe_line(remedy))?;
        }
        Ok(())
    }
}
