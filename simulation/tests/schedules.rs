//! Random schedules hold, and would not without the safeguards that recovery rests on.

use simulation::schedule::{Mutation, play};

/// Seeds within which a missing safeguard must be noticed. `make simulation ARGS="1000 1 MUTATION"` begins at 1.
const SEEDS: u64 = 60;

fn assert_hold(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err(violation) = play(seed, Mutation::None) {
            panic!("{violation}");
        }
    }
}

fn assert_found(mutation: Mutation, first: u64) {
    let found = (first..first + SEEDS).find_map(|seed| play(seed, mutation).err());
    let violation = found.unwrap_or_else(|| panic!("{mutation:?} was not noticed"));
    assert!(violation.story.len() > 1, "{violation}");
    let again = play(violation.seed, mutation);
    assert_eq!(
        again.err().map(|again| again.to_string()),
        Some(violation.to_string()),
        "a seed plays the same schedule"
    );
}

#[test]
fn random_schedules_keep_one_primary_and_lose_nothing_unnamed() {
    assert_hold(1..=60);
}

/// Empty containers joined the survivor, while the former members lived on out of sight.
#[test]
fn i34_schedules_that_found_a_fault_hold() {
    assert_hold([99]);
}

/// A node that had just joined was bootstrapped before its agent recorded the fork that it had joined, so the new fork
/// did not name that one as its parent.
#[test]
fn i35_a_schedule_that_lost_the_parent_of_a_fork_holds() {
    assert_hold([9944]);
}

#[test]
fn i38_a_statement_without_a_deadline_is_noticed() {
    assert_found(Mutation::NoDeadline, 180);
}

#[test]
fn i35_agents_without_forks_are_noticed() {
    assert_found(Mutation::NoForkCheck, 1);
}

#[test]
fn i34_data_with_a_former_identity_are_noticed() {
    assert_found(Mutation::NoIdentityCheck, 40);
}
