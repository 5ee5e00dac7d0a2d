//! Rounds of random faults with seeds that once found a bug. `make test-recovery` plays a hundred with new ones.

use std::process::Stdio;
use std::time::Duration;

use acceptance::lab::program;
use anyhow::{Result, ensure};
use tokio::process::Command;

/// What each seed found: members listed as "unspecified" while components merge; an approval without an etcd quorum; an
/// etcd that was never restarted; an agent counted as gone while waiting for an unplugged node.
const SEEDS: [u64; 4] = [
    16_962_726_585_677_468_573,
    10_570_387_819_446_824_549,
    16_595_904_864_730_079_621,
    6_681_566_551_218_578_840,
];

/// Longest time for all of them, on a machine that also runs the other tests; they take about a minute and a half.
const TIMEOUT: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_cause_no_loss_and_no_second_primary() -> Result<()> {
    let mut command = Command::new(program("rounds")?);
    command.args(["--labs", "2", "--rounds", &SEEDS.len().to_string()]);
    for seed in SEEDS {
        command.args(["--seed", &seed.to_string()]);
    }
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
