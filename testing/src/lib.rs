//! Fixtures that the tests of several packages share. They panic where a test would fail.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

pub mod certificates;
pub mod documents;
pub mod etcd;
#[cfg(test)]
mod images;
pub mod manifests;
pub mod process;
pub mod source_commands;
pub mod v2;
