//! Which notifications are sent about verdicts and actions, and which are not.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod audit_trail;
mod properties;
mod verdicts;
