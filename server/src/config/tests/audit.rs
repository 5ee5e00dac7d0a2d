//! Anchors of the audit trail.

use super::*;

#[test]
fn anchors_are_sent_to_a_valid_url_with_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("anchor_secret_file = \"{}\"", path.display())
    };
    let secret = write("secret", "0123456789abcdef\n");
    let short = write("short", "0123456789\n");
    let missing = secret.replace("secret\"", "missing\"");
    let url = r#"anchor_url = "https://loghost.example.org/anchors""#;
    let audit = |text: String| file(&format!("[audit]\n{text}"));
    let config = load(&audit(format!("{url}\n{secret}")).inputs()).unwrap();
    assert!(config.audit.anchor_webhook.is_some());
    for (text, words) in [
        (url.to_owned(), "requires --audit-anchor-secret-file"),
        (secret.clone(), "requires --audit-anchor-url"),
        (format!("{url}\n{short}"), "16 to 256 printable characters"),
        (format!("{url}\n{missing}"), "missing"),
        (
            format!("anchor_url = \"syslog://loghost\"\n{secret}"),
            "does not begin with https:// or http://",
        ),
        (
            format!("anchor_url = \"https://user:word@loghost/\"\n{secret}"),
            "contains a user name or password",
        ),
    ] {
        let problems = audit(text.clone()).problems();
        assert!(problems[0].contains(words), "{text}: {problems:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
