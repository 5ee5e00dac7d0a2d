//! `order-key`.

use std::os::unix::fs::PermissionsExt;

use crate::program::console_command;
use crate::program::run;

#[test]
fn an_order_key_is_created_private_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("order.key");
    let file = path.to_str().unwrap();
    let created = console_command(&["order-key", "new", file])
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
    let public = String::from_utf8(created.stdout).unwrap();
    assert!(
        public.starts_with("-----BEGIN PUBLIC KEY-----\n"),
        "{public}"
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = console_command(&["order-key", "show", file])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), public);
    let before = std::fs::read(&path).unwrap();
    let (code, text) = run(&["order-key", "new", file]);
    assert_eq!(code, 64, "{text}");
    assert!(
        text.contains(file) && text.contains("not overwritten"),
        "{text}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn an_unusable_order_key_exits_64_and_names_file_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let key = path("order.key");
    let public = console_command(&["order-key", "new", &key])
        .output()
        .unwrap()
        .stdout;
    let write = |name: &str, text: &[u8], mode: u32| {
        std::fs::write(path(name), text).unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path(name), permissions).unwrap();
    };
    write("public", &public, 0o600);
    write("garbage", b"garbage", 0o600);
    write("readable", &std::fs::read(&key).unwrap(), 0o644);
    let other = b"-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----\n";
    write("other", other, 0o600);
    for (name, words) in [
        ("missing", "order-key new"),
        ("public", "contains a public key"),
        ("garbage", "contains no key"),
        ("readable", "chmod 0600"),
        ("other", "not a valid Ed25519 key"),
    ] {
        let file = path(name);
        let data = path("etcd");
        for arguments in [
            &["order-key", "show", &file][..],
            &[
                "check-config",
                "--etcd-data-dir",
                &data,
                "--order-key-file",
                &file,
            ],
        ] {
            let (code, text) = run(arguments);
            assert_eq!(code, 64, "{text}");
            assert!(text.contains(&file) && text.contains(words), "{text}");
        }
    }
}
