//! `state export|import` between two etcds.

use std::io::Write;
use std::path::Path;

use console_core::state_secret::read_file;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::earlier_state::{Host, request, sign_in};

/// A host with the state secret of `host`, on another etcd.
async fn another(host: &Host) -> Host {
    let other = Host::new().await;
    std::fs::copy(host.path("secret"), other.path("secret")).unwrap();
    other
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exported_state_is_imported_into_an_empty_etcd() {
    let host = Host::new().await;
    host.add("ada", "admin");
    host.add("otto", "operator");
    let serving = host.serve().await;
    let cookie = sign_in(&serving, "ada").unwrap();
    let pause = r#"{"enabled":false,"reason":"before the move"}"#;
    let paused = request(&serving, "PUT /api/v1/recovery", &cookie, pause);
    assert!(paused.starts_with("HTTP/1.1 200"), "{paused}");
    let file = host.path("state.export");
    // While the console runs, and without its session.
    let printed = host.succeed(&["state", "export", text(&file)]);
    assert!(printed.contains("Not exported: "), "{printed}");
    assert_eq!(serving.stop(), 0);
    let (code, again) = host.run(&["state", "export", text(&file)]);
    assert!(
        code == 64 && again.contains("does not exist yet"),
        "{again}"
    );
    let bytes = std::fs::read(&file).unwrap();
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    assert!(
        !contains(b"otto") && !contains(b"argon2"),
        "it is encrypted"
    );
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let restored = another(&host).await;
    let printed = restored.succeed(&["state", "import", text(&file)]);
    assert!(printed.starts_with("Imported "), "{printed}");
    let serving = restored.serve().await;
    let old = request(&serving, "GET /api/v1/clusters", &cookie, "");
    assert!(
        old.starts_with("HTTP/1.1 401"),
        "sessions are not exported: {old}"
    );
    let cookie = sign_in(&serving, "ada").unwrap();
    let accounts = request(&serving, "GET /api/v1/accounts", &cookie, "");
    assert!(
        accounts.contains("otto") && accounts.contains("operator"),
        "{accounts}"
    );
    let recovery = request(&serving, "GET /api/v1/recovery", &cookie, "");
    assert!(recovery.contains("before the move"), "{recovery}");
    let audit = request(&serving, "GET /api/v1/audit", &cookie, "");
    assert!(
        audit.contains("state_imported") && audit.contains("account_added"),
        "{audit}"
    );
    let clusters = request(&serving, "GET /api/v1/clusters", &cookie, "");
    assert!(!clusters.contains("ignored"), "{clusters}");
    assert_eq!(serving.stop(), 0);
    assert!(restored.succeed(&["audit", "verify"]).contains("verified"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_imported_is_named_and_changes_nothing() {
    let host = Host::new().await;
    host.add("ada", "admin");
    let file = host.path("state.export");
    host.succeed(&["state", "export", text(&file)]);
    let (code, refused) = host.run(&["state", "import", text(&file)]);
    assert!(
        code == 64 && refused.contains("etcdctl del --prefix /galera-console/"),
        "{refused}"
    );

    let empty = another(&host).await;
    let bytes = std::fs::read(&file).unwrap();
    let variant = |name: &str, bytes: &[u8]| {
        let path = empty.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let header_end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let replaced = |from: &str, to: &str| {
        let header = String::from_utf8(bytes[..header_end].to_vec()).unwrap();
        assert!(header.contains(from), "{header}");
        [header.replace(from, to).as_bytes(), &bytes[header_end..]].concat()
    };
    let mut flipped = bytes.clone();
    let last = flipped.len() - 40;
    flipped[last] ^= 1;
    for (name, content, expected) in [
        ("flipped", flipped, "was changed or cut"),
        (
            "cut",
            bytes[..bytes.len() - 7].to_vec(),
            "was changed or cut",
        ),
        (
            "header",
            replaced("\"records\":", "\"records\":1"),
            "was changed or cut",
        ),
        (
            "version",
            replaced("\"version\":1", "\"version\":2"),
            "import it with a console of version",
        ),
        (
            "newer",
            replaced("\"needs\":2", "\"needs\":3"),
            "in format 3, and this version",
        ),
        (
            "prefix",
            replaced("/galera-console", "/other"),
            "--state-prefix /other",
        ),
        (
            "empty",
            Vec::new(),
            "is not a file of galera-console state export",
        ),
        (
            "other",
            b"{\"format\":\"x\"}\n".to_vec(),
            "is not a file of galera-console state export",
        ),
    ] {
        let path = variant(name, &content);
        let (code, refused) = empty.run(&["state", "import", text(&path)]);
        assert!(
            code == 64 && refused.contains(expected),
            "{name}: {refused}"
        );
    }
    let (code, missing) = empty.run(&["state", "import", text(&empty.path("nowhere"))]);
    assert!(code == 64 && missing.contains("cannot read"), "{missing}");
    let stranger = Host::new().await;
    let (code, refused) = stranger.run(&["state", "import", text(&file)]);
    assert!(
        code == 64 && refused.contains("set the secret that was used then"),
        "{refused}"
    );
    for host in [&empty, &stranger] {
        assert_eq!(host.stored().await.len(), 0);
    }
    // A secret that was rotated since is still known.
    let rotated = another(&host).await;
    rotated.succeed_without_settings(&["secret", "rotate", text(&rotated.path("secret"))]);
    rotated.succeed(&["state", "import", text(&file)]);
}

/// Makes of an exported file one of a development version from before the format of the records had a number.
fn without_format(host: &Host, bytes: &[u8]) -> Vec<u8> {
    let secrets = read_file(&host.path("secret")).unwrap();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let mut header: Value = serde_json::from_slice(&bytes[..end]).unwrap();
    let kid = header["secret"].as_str().unwrap();
    let content = secrets.decrypt_export(kid, &bytes[..end], &bytes[end + 1..]);
    let mut records: Vec<(String, String)> =
        serde_json::from_reader(GzDecoder::new(&content.unwrap()[..])).unwrap();
    let all = records.len();
    records.retain(|(key, _)| key != "format");
    assert_eq!(records.len() + 1, all);
    header["records"] = records.len().into();
    assert!(header.as_object_mut().unwrap().remove("state").is_some());
    let line = serde_json::to_vec(&header).unwrap();
    let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
    compressed
        .write_all(&serde_json::to_vec(&records).unwrap())
        .unwrap();
    let encrypted = secrets
        .encrypt_export(&line, compressed.finish().unwrap())
        .unwrap();
    [&line[..], b"\n", &encrypted].concat()
}

/// The table of docs/releasing.md; what is refused is in `what_cannot_be_imported_is_named_and_changes_nothing`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_before_the_format_had_a_number_is_imported() {
    let host = Host::new().await;
    host.add("ada", "admin");
    let file = host.path("state.export");
    host.succeed(&["state", "export", text(&file)]);
    let bytes = std::fs::read(&file).unwrap();
    let restored = another(&host).await;
    let file = restored.path("state.export");
    std::fs::write(&file, without_format(&host, &bytes)).unwrap();
    let printed = restored.succeed(&["state", "import", text(&file)]);
    assert!(printed.starts_with("Imported "), "{printed}");
    let keys = restored.stored().await;
    let created = keys
        .iter()
        .any(|entry| entry.key == b"/galera-console/format");
    assert!(created, "the number is created: {keys:?}");
    let serving = restored.serve().await;
    sign_in(&serving, "ada").unwrap();
    assert_eq!(serving.stop(), 0);
}

/// After a disaster on the host that ran last, which has seen later records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_has_seen_more_reports_it_until_it_is_accepted() {
    let host = Host::new().await;
    host.add("ada", "admin");
    let file = host.path("state.export");
    host.succeed(&["state", "export", text(&file)]);
    host.add("otto", "operator");
    host.empty_etcd().await;
    let printed = host.succeed(&["state", "import", text(&file)]);
    assert!(printed.contains("galera-console state show"), "{printed}");
    let shown = host.succeed(&["state", "show"]);
    assert!(
        shown.contains("/accounts/") || shown.contains("otto"),
        "{shown}"
    );
    host.succeed(&["state", "accept", "--confirm", "--reason", "etcd was lost"]);
    let serving = host.serve().await;
    sign_in(&serving, "ada").unwrap();
    sign_in(&serving, "otto").unwrap_err();
    assert_eq!(serving.stop(), 0);
}
