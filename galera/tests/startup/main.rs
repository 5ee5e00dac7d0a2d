//! The startup decision, over tables of situations and over any registry content.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod fixture;
mod forks;
mod identities;
mod invariants;
mod laws;
mod orders;
mod rejoin;
mod ways_out;
