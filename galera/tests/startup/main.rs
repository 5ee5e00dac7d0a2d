//! What a starting node decides, over tables of scenes and over anything a registry may hold.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod fixture;
mod invariants;
mod laws;
