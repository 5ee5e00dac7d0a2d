//! What is told of a cluster's verdicts and of actions, and what never is.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod audit_trail;
mod properties;
mod verdicts;
