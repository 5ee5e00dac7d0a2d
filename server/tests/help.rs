//! The help of every command. The table of settings is in docs/settings.md.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::process::Command;

use insta::assert_snapshot;

/// Standard output of the program without any setting of the environment.
fn output(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_galera-console"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The help of a command up to the settings, and the settings, which many commands share.
fn help(command: &[&str]) -> (String, String) {
    let text = output(&[command, &["--help"]].concat());
    let (own, settings) = text.split_once("\nSettings:\n").unwrap_or((&text, ""));
    (own.to_owned(), settings.to_owned())
}

macro_rules! help_of {
    ($($name:ident: [$($word:literal),*];)*) => {
        $(#[test]
        fn $name() {
            assert_snapshot!(help(&[$($word),*]).0);
        })*
    };
}

help_of! {
    console: [];
    ctl: ["ctl"];
    ctl_actions: ["ctl", "actions"];
    ctl_actions_request: ["ctl", "actions", "request"];
    ctl_plan: ["ctl", "plan"];
    mcp: ["mcp"];
    serve: ["serve"];
    check_config: ["check-config"];
    user: ["user"];
    user_add: ["user", "add"];
    user_list: ["user", "list"];
    user_passwd: ["user", "passwd"];
    user_disable: ["user", "disable"];
    user_email: ["user", "email"];
    user_enable: ["user", "enable"];
    user_remove: ["user", "remove"];
    token: ["token"];
    token_add: ["token", "add"];
    token_list: ["token", "list"];
    token_remove: ["token", "remove"];
    completions: ["completions"];
    man: ["man"];
    state_export: ["state", "export"];
    state_import: ["state", "import"];
    audit: ["audit"];
    audit_verify: ["audit", "verify"];
    audit_export: ["audit", "export"];
    order_key: ["order-key"];
    order_key_new: ["order-key", "new"];
    order_key_show: ["order-key", "show"];
    secret: ["secret"];
    secret_new: ["secret", "new"];
    secret_rotate: ["secret", "rotate"];
    state: ["state"];
    state_show: ["state", "show"];
    state_discard: ["state", "discard"];
    state_accept: ["state", "accept"];
}

#[test]
fn settings_of_serve() {
    let (_, settings) = help(&["serve"]);
    assert_eq!(help(&["check-config"]).1, settings);
    assert_snapshot!(settings);
}

#[test]
fn settings_of_other_commands() {
    let (_, settings) = help(&["audit", "verify"]);
    for command in [
        ["audit", "export"],
        ["user", "add"],
        ["user", "list"],
        ["user", "passwd"],
        ["user", "disable"],
        ["user", "email"],
        ["user", "enable"],
        ["user", "remove"],
    ] {
        assert_eq!(help(&command).1, settings, "{command:?}");
    }
    assert_snapshot!(settings);
}
