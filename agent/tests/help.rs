//! The help of every command.

use std::process::Command;

use insta::assert_snapshot;

macro_rules! help_of {
    ($($name:ident: [$($word:literal),*];)*) => {
        $(#[test]
        fn $name() {
            let output = Command::new(env!("CARGO_BIN_EXE_galera-agent"))
                .args(["help", $($word),*])
                .env_clear()
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            assert_snapshot!(String::from_utf8(output.stdout).unwrap());
        })*
    };
}

help_of! {
    agent: [];
    report: ["report"];
    run: ["run"];
    arbitrator: ["arbitrator"];
    notify: ["notify"];
    check: ["check"];
    may_stop: ["may-stop"];
    completions: ["completions"];
    man: ["man"];
}
