//! `audit verify`.

use crate::etcd::TestEtcd;
use crate::program::PASSWORD;
use crate::program::run;
use crate::program::run_with_stdin;

#[tokio::test]
async fn the_audit_trail_is_compared_with_anchors() {
    let etcd = TestEtcd::process().await;
    let url = etcd.url();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let secret = secret.to_str().unwrap();
    assert_eq!(run(&["secret", "new", secret]).0, 0);
    let settings = ["--etcd-endpoints", &url, "--state-secret-file", secret];
    let add = [
        "user",
        "add",
        "dora",
        "--role",
        "viewer",
        "--password-stdin",
    ];
    let (code, text) = run_with_stdin(&[&add[..], &settings].concat(), PASSWORD);
    assert_eq!(code, 0, "{text}");
    let verify = |arguments: &[&str]| run(&[&["audit", "verify"], arguments, &settings].concat());
    let (code, text) = verify(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("Authenticated by the state secret up to entry 1."),
        "{text}"
    );
    let anchor = text.split_whitespace().find(|word| word.starts_with("1:"));
    let anchor = anchor.unwrap();
    let later = format!("2:{}", "0".repeat(64));
    let other = format!("1:{}", "0".repeat(64));
    let file = folder.path().join("anchors");
    let file = file.to_str().unwrap();
    std::fs::write(file, format!("2026-11-28T09:00:00Z {anchor}\n")).unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    for (arguments, exit, words) in [
        (["--expect", anchor], 0, ["1 anchor matches", ""]),
        (["--anchors", file], 0, ["1 anchor matches", ""]),
        (["--expect", &later], 70, ["cut:", "entry 1"]),
        (["--expect", &other], 70, ["replaced:", "entry 1"]),
        (["--expect", "1"], 64, ["--expect", "SEQ:HASH"]),
        (
            ["--anchors", "/nonexistent/file"],
            64,
            ["--anchors", "/nonexistent/file"],
        ),
        (
            ["--anchors", empty],
            64,
            ["--anchors", "contains no anchor"],
        ),
    ] {
        let (code, text) = verify(&arguments);
        assert_eq!(code, exit, "{arguments:?}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    let archive = folder.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    let archive = archive.to_str().unwrap();
    let export = ["audit", "export", "--archive-dir", archive];
    for _ in 0..2 {
        let (code, text) = run(&[&export[..], &settings].concat());
        assert_eq!(code, 0, "{text}");
        let (code, text) = verify(&["--archive", text.trim()]);
        assert!(code == 0 && text.contains("1 entries verified"), "{text}");
    }
    let (code, text) = run(&[
        &["audit", "export", "--archive-dir", "/nonexistent"][..],
        &settings,
    ]
    .concat());
    assert!(code == 64 && text.contains("/nonexistent"), "{text}");
    let (code, text) = verify(&["--archive", file]);
    assert!(
        code == 64 && text.contains("--archive") && text.contains(file),
        "{text}"
    );
    let (code, text) = run(&["audit", "verify", "--etcd-endpoints", &url]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("--state-secret-file"), "{text}");
}
