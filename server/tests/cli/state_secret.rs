//! `secret`, and what a console does with a state secret that it cannot use.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::etcd::TestEtcd;
use crate::program::{PASSWORD, run, run_with_stdin};

fn secret_in(folder: &Path, name: &str) -> String {
    let file = folder.join(name).display().to_string();
    assert_eq!(run(&["secret", "new", &file]).0, 0);
    file
}

fn set_mode(file: &str, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_secret_is_created_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_in(folder.path(), "secret");
    let before = std::fs::read(&file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, text) = run(&["secret", "new", &file]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains(&file), "{text}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(run(&["secret", "rotate", &file]).0, 0);
    let rotated = String::from_utf8(std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        rotated.lines().nth(1),
        Some(String::from_utf8(before).unwrap().trim())
    );
}

#[tokio::test]
async fn an_unusable_secret_exits_64_and_names_file_and_remedy() {
    let etcd = TestEtcd::process().await;
    let url = etcd.url();
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short").display().to_string();
    std::fs::write(&short, "too-short\n").unwrap();
    set_mode(&short, 0o600);
    let exposed = secret_in(folder.path(), "exposed");
    set_mode(&exposed, 0o644);
    let three = secret_in(folder.path(), "three");
    let line = std::fs::read_to_string(&three).unwrap();
    std::fs::write(&three, line.repeat(3)).unwrap();
    let missing = folder.path().join("missing").display().to_string();
    for (file, remedy) in [
        (
            &short,
            "shorter than 32 characters; use a secret of `galera-console secret new`".to_owned(),
        ),
        (&exposed, format!("run chmod 0600 {exposed}")),
        (
            &three,
            "keep the newest secret and the one before".to_owned(),
        ),
        (
            &missing,
            format!("create it with `galera-console secret new {missing}`"),
        ),
    ] {
        let settings = ["--etcd-endpoints", &url, "--state-secret-file", file];
        for command in [&["user", "list"][..], &["check-config"]] {
            let (code, text) = run(&[command, &settings].concat());
            assert_eq!(code, 64, "{file}: {text}");
            assert!(
                text.contains(file.as_str()) && text.contains(&remedy),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn sealed_records_need_the_secret_that_sealed_them() {
    let etcd = TestEtcd::process().await;
    let url = etcd.url();
    let folder = tempfile::tempdir().unwrap();
    let secret = secret_in(folder.path(), "secret");
    let wrong = secret_in(folder.path(), "wrong");
    let with = |file: &str| -> Vec<String> {
        ["--etcd-endpoints", &url, "--state-secret-file", file]
            .map(str::to_owned)
            .into()
    };
    let invoke = |command: &[&str], settings: &[String]| {
        let settings = settings.iter().map(String::as_str);
        let arguments: Vec<&str> = command.iter().copied().chain(settings).collect();
        run_with_stdin(&arguments, PASSWORD)
    };
    let add = ["user", "add", "ada", "--role", "admin", "--password-stdin"];
    let (code, text) = invoke(&add, &with(&secret));
    assert_eq!(code, 0, "{text}");
    let remedy = "give the file of the other replicas with --state-secret-file";
    let (code, text) = invoke(&["user", "list"], &with(&wrong));
    assert_eq!(code, 64, "{text}");
    assert!(text.contains(remedy), "{text}");
    let (code, text) = invoke(&["user", "list"], &with(&secret)[..2]);
    assert_eq!(code, 64, "{text}");
    let missing = "are sealed with the state secret ";
    assert!(
        text.contains(missing) && text.contains("give its file with --state-secret-file"),
        "{text}"
    );
    // Rotated: the one before stays valid, until a second rotation removes it.
    assert_eq!(run(&["secret", "rotate", &secret]).0, 0);
    let (code, text) = invoke(&["user", "list"], &with(&secret));
    assert!(code == 0 && text.contains("ada"), "{text}");
    assert_eq!(run(&["secret", "rotate", &secret]).0, 0);
    let (code, text) = invoke(&["user", "list"], &with(&secret));
    assert_eq!(code, 64, "a rotated-out key: {text}");
    assert!(text.contains(remedy), "{text}");
}
