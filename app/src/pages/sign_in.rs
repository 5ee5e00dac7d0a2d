//! The sign-in page: a plain form that works without scripts.

use crate::markup::{El, el};

/// The message for an error code in the URL.
fn error_message(code: &str) -> &'static str {
    match code {
        "invalid_credentials" => "Incorrect name or password. The password is case-sensitive.",
        "account_disabled" => "This account is disabled. Ask an administrator to enable it.",
        "throttled" => "Too many attempts. Wait a minute, then try again.",
        "sign_in_busy" => "Too many people are signing in right now. Try again in a moment.",
        "registry_unavailable" => {
            "Accounts cannot be read because the console cannot reach etcd. Try again later."
        }
        "session_ended" | "session_expired" | "session_invalid" => {
            "Your session has ended. Sign in again to continue."
        }
        "session_not_kept" => {
            "You are not signed in, because this browser did not keep the session cookie. Allow cookies for this site; if the \
             console has an https address, use that one."
        }
        "cross_origin" | "origin_required" => {
            "The request came from another site. Sign in from this page."
        }
        _ => "Sign-in failed. Try again; if the problem persists, check the console's log.",
    }
}

/// Accepts only paths on this site, against open redirects.
fn local_path(next: &str) -> Option<&str> {
    let mut characters = next.chars();
    let is_local = characters.next() == Some('/') && !matches!(characters.next(), Some('/' | '\\'));
    (is_local && !next.chars().any(char::is_control)).then_some(next)
}

/// The section with the form; `error` is a code.
pub(crate) fn sign_in_markup(error: Option<&str>, next: &str) -> El {
    page(error.map(error_message), local_path(next).unwrap_or("/"))
}

/// The section with the form, for a page that the server composes; `error` is a code.
pub fn sign_in_html(error: Option<&str>, next: &str) -> String {
    sign_in_markup(error, next).html()
}

/// The message for the code of an error.
#[must_use]
pub fn sign_in_error(code: &str) -> &'static str {
    error_message(code)
}

fn page(error: Option<&'static str>, next: &str) -> El {
    let described = error.map(|_| "error");
    let field = |id: &'static str, kind: &'static str, complete: &'static str| {
        let input = el("input")
            .attr("id", id)
            .attr("name", id)
            .attr("type", kind)
            .attr("autocomplete", complete);
        input
            .attr("required", "")
            .optional_attr("aria-describedby", described)
    };
    let name = field("username", "text", "username")
        .attr("autocapitalize", "none")
        .attr("spellcheck", "false");
    let form = el("form")
        .attr("method", "post")
        .attr("action", "/sign-in")
        .child(
            el("input")
                .attr("type", "hidden")
                .attr("name", "next")
                .attr("value", next.to_owned()),
        )
        .child(el("label").attr("for", "username").child("Name"))
        .child(name.attr("autofocus", ""))
        .child(el("label").attr("for", "password").child("Password"))
        .child(field("password", "password", "current-password"))
        .child(el("button").attr("type", "submit").child("Sign in"));
    el("section")
        .class("sign-in")
        .child(el("h1").child("Sign in"))
        .child(error.map(|text| {
            el("p")
                .class("error")
                .attr("id", "error")
                .attr("role", "alert")
                .child(text)
        }))
        .child(form)
        .child(
            el("p")
                .class("quiet")
                .child("No account? Ask your administrator."),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_local_redirects() {
        assert_eq!(local_path("/clusters/lab?q=x"), Some("/clusters/lab?q=x"));
        for next in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/a\nb",
        ] {
            assert_eq!(local_path(next), None, "{next:?}");
        }
    }

    #[test]
    fn the_form_works_without_scripts_and_shows_the_error() {
        let html = page(Some(error_message("throttled")), "/clusters/\"x").html();
        for expected in [
            "method=\"post\" action=\"/sign-in\"",
            "name=\"username\"",
            "Wait a minute",
            "value=\"/clusters/&quot;x\"",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }
}
