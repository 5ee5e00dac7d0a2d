//! The Galera specification that the simulation rests on, held to real servers. `make test-specification` plays every script
//! and random ones.

use std::process::Stdio;
use std::time::Duration;

use acceptance::lab::program;
use anyhow::{Result, ensure};
use tokio::process::Command;

/// Scripts that once differed, and those that recovery rests on most. Six, because they take a minute and a half together.
const SCRIPTS: [&str; 6] = [
    "second_primary_is_not_noticed",
    "ahead_of_a_new_cluster",
    "arbitrator_lost_with_a_node",
    "all_cut_and_the_others_meet_first",
    "locked_survivor",
    "random:14",
];

/// Longest time for all of them, on a machine that also runs the other tests.
const TIMEOUT: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn real_servers_do_what_the_specification_states() -> Result<()> {
    let mut command = Command::new(program("specification")?);
    command.args(["--parallel", "3"]).args(SCRIPTS);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let played = command.kill_on_drop(true).spawn()?.wait_with_output();
    let played = tokio::time::timeout(TIMEOUT, played).await??;
    let printed = String::from_utf8_lossy(&played.stdout);
    println!("{printed}");
    let failed = String::from_utf8_lossy(&played.stderr);
    ensure!(played.status.success(), "{printed}\n{failed}");
    Ok(())
}
