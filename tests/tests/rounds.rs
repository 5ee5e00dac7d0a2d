//! Ten random rounds of faults and recovery; `make test-recovery` plays a hundred.

use std::process::Stdio;
use std::time::Duration;

use acceptance::lab::program;
use anyhow::{Result, ensure};
use tokio::process::Command;

/// Longest time for all of them, on a machine that runs the other tests, too.
const PLAYED: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn ten_random_rounds_of_faults_lose_nothing_and_make_no_second_primary() -> Result<()> {
    let mut command = Command::new(program("rounds")?);
    command.args(["--rounds", "10", "--labs", "3"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let played = command.kill_on_drop(true).spawn()?.wait_with_output();
    let played = tokio::time::timeout(PLAYED, played).await??;
    let said = String::from_utf8_lossy(&played.stdout);
    println!("{said}");
    let failed = String::from_utf8_lossy(&played.stderr);
    ensure!(played.status.success(), "{said}\n{failed}");
    Ok(())
}
