//! The server that figures of long ranges are queried from.

use super::*;
use crate::metrics_server::QueryCredentials;

#[test]
fn a_metrics_server_gets_a_password_or_a_token_only_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let section = |url: &str, more: &str| format!("[metrics_query]\nurl = \"{url}\"\n{more}");
    let https = "https://metrics.example.org/prometheus";
    let user = "user = \"console\"\n";
    let password = format!("password_file = \"{}\"\n", secret.display());
    let token = format!("token_file = \"{}\"\n", secret.display());
    let load_section = |url: &str, more: &str| load(&file(&section(url, more)).inputs()).unwrap();

    let with_password = load_section(https, &format!("{user}{password}"));
    let server = with_password.metrics_server.as_ref().unwrap();
    assert_eq!(server.url.as_str(), https);
    assert!(matches!(server.credentials, QueryCredentials::Password(..)));
    assert!(!with_password.report().contains("s3cret"));
    let local = load_section("http://127.0.0.1:9090", &token).metrics_server;
    let credentials = local.unwrap().credentials;
    assert!(matches!(credentials, QueryCredentials::Token(_)));
    let plain = load_section("http://metrics.example.org:9090", "");
    let warnings: Vec<String> = plain.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.join("\n").contains("unencrypted"), "{warnings:?}");

    for (text, words) in [
        (section("http://m.example.org", &token), "is not encrypted"),
        (section("https://m.example.org/?a=b", ""), "has a query"),
        (
            section("https://u:p@m.example.org", ""),
            "user name or password",
        ),
        (section("m.example.org", ""), "does not begin with"),
        (
            section(https, user),
            "requires --metrics-query-password-file",
        ),
        (section(https, &password), "requires --metrics-query-user"),
        (
            section(https, &format!("{user}{password}{token}")),
            "cannot be combined",
        ),
        (
            format!("[metrics_query]\n{token}"),
            "requires --metrics-query-url",
        ),
    ] {
        let problems = file(&text).problems().join("\n");
        assert!(problems.contains(words), "{text}: {problems}");
    }
}
