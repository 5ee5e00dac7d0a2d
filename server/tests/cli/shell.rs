//! Completion scripts and manual pages.

use std::io::Write;
use std::process::Command;

use crate::program::run;

/// What bash offers for `words`, with the script of the program.
fn completed(words: &[&str]) -> Vec<String> {
    let (code, script) = run(&["completions", "bash"]);
    assert_eq!(code, 0, "{script}");
    let last = words.len() - 1;
    let asked = format!(
        "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={last}\n_galera__console galera-console '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words[last],
        words[last - 1],
    );
    // Longer than an argument may be.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(asked.as_bytes()).unwrap();
    let output = Command::new("bash").arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let offered = String::from_utf8(output.stdout).unwrap();
    offered.lines().map(str::to_owned).collect()
}

#[test]
fn a_shell_completes_commands_and_flags() {
    assert_eq!(completed(&["galera-console", "etcd-r"]), ["etcd-roles"]);
    let user = completed(&["galera-console", "user", "a"]);
    assert_eq!(user, ["add"]);
    let ctl = completed(&["galera-console", "ctl", "actions", "req"]);
    assert_eq!(ctl, ["request"]);
    let flags = completed(&["galera-console", "serve", "--data-d"]);
    assert_eq!(flags, ["--data-dir"]);
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let (code, script) = run(&["completions", shell]);
        assert!(code == 0 && script.contains("etcd-roles"), "{shell}");
    }
    let (code, refused) = run(&["completions", "tcsh"]);
    assert!(
        code == 64 && refused.contains("possible values"),
        "{refused}"
    );
}

#[test]
fn each_command_has_a_manual_page() {
    let (code, page) = run(&["man"]);
    assert!(code == 0 && page.contains(".TH galera-console 1"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    assert_eq!(run(&["man", "--directory", pages.to_str().unwrap()]).0, 0);
    for (name, contained) in [
        ("galera-console.1", "Monitor and recover"),
        ("galera-console-ctl-actions-request.1", "digest"),
        ("galera-console-mcp.1", "allow\\-requests"),
        ("galera-console-serve.1", "data\\-dir"),
        ("galera-console-state-export.1", "encrypted"),
        ("galera-console-user-add.1", "role"),
    ] {
        let page = std::fs::read_to_string(pages.join(name)).unwrap();
        assert!(page.contains(contained), "{name}: {page}");
    }
    let (code, refused) = run(&["man", "--directory", "/dev/null/x"]);
    assert!(code == 64 && refused.contains("/dev/null/x"), "{refused}");
}
