//! Commands and consoles with another state secret file than the one in use.

use crate::earlier_state::Host;

/// Puts the file `from` of the host in the place of its secret.
fn use_file(host: &Host, from: &str) {
    std::fs::copy(host.path(from), host.path("secret")).unwrap();
}

fn keep_file(host: &Host, name: &str) {
    std::fs::copy(host.path("secret"), host.path(name)).unwrap();
}

#[tokio::test]
async fn an_older_file_is_refused_by_commands_and_at_the_start() {
    let host = Host::new().await;
    host.add("root", "admin");
    keep_file(&host, "older");
    let secret = host.path("secret").display().to_string();
    host.succeed_without_settings(&["secret", "rotate", &secret]);
    keep_file(&host, "newer");
    // No console uses the new secret yet: those that run can read what a command writes.
    host.add("ada", "viewer");
    use_file(&host, "older");
    let (code, text) = host.run_on("other", &["user", "list"]);
    assert!(code == 0 && text.contains("ada"), "{text}");
    use_file(&host, "newer");
    assert_eq!(host.serve().await.stop(), 0);
    host.add("bob", "viewer");
    use_file(&host, "older");
    let site = crate::program::site();
    let site = site.path().to_str().unwrap();
    for command in [
        &["user", "list"][..],
        &["user", "remove", "ada"],
        &["state", "show"],
        &["serve", "--listen", "127.0.0.1:0", "--site-root", site],
    ] {
        let (code, text) = host.run_on("other", command);
        assert_eq!(code, 64, "{command:?}: {text}");
        assert!(
            text.contains("older than the one in use")
                && text.contains("copy the file of the other replicas"),
            "{command:?}: {text}"
        );
    }
    use_file(&host, "newer");
    let text = host.succeed(&["user", "list"]);
    assert!(text.contains("ada") && text.contains("bob"), "{text}");
    let text = host.succeed(&["audit", "export"]);
    assert!(
        text.contains("state_secret_replaced") && !text.contains("tampered"),
        "{text}"
    );
}
