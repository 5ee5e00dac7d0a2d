//! The Galera specification that the simulation rests on, held to real servers. `make test-specification` plays every script
//! and random ones.

use std::time::Duration;

use acceptance::lab::run_program;
use anyhow::Result;

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
    let arguments: Vec<&str> = ["--parallel", "3"].into_iter().chain(SCRIPTS).collect();
    run_program("specification", &arguments, TIMEOUT).await
}
