//! Rounds of random faults with seeds that once found a bug. `make test-recovery` plays two hundred with new ones.

use std::time::Duration;

use acceptance::lab::run_program;
use anyhow::Result;

/// What each round found: members listed as "unspecified" while components merge; an approval without an etcd quorum; an
/// etcd that was never restarted; an agent counted as gone while waiting for an unplugged node; a survivor whose status a
/// lock kept at Primary.
const ROUNDS: [&str; 5] = [
    "mixed:16962726585677468573",
    "mixed:10570387819446824549",
    "mixed:16595904864730079621",
    "mixed:6681566551218578840",
    "lock:1",
];

/// Longest time for all of them, on a machine that also runs the other tests; they take about a minute and a half.
const TIMEOUT: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_cause_no_loss_and_no_second_primary() -> Result<()> {
    let count = ROUNDS.len().to_string();
    let mut arguments = vec!["--parallel", "2", "--rounds", &count];
    arguments.extend(ROUNDS.iter().flat_map(|round| ["--seed", round]));
    run_program("rounds", &arguments, TIMEOUT).await
}
