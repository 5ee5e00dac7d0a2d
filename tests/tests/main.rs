//! Acceptance tests: the real programs on real etcd and real Galera, seen through the interfaces that people use.
//!
//! Tests that leave no lasting mark share one lab (`shared`), one after the other; it is repaired before each.

mod bad_input;
mod command_line;
mod demo;
mod encrypted;
mod events;
mod homogeneous;
mod lab_lifecycle;
mod members;
mod notifications;
mod quorum;
mod recovery;
mod registry_loss;
mod rounds;
mod sessions;
mod shared;
mod sources;
mod split_brain;
mod views;
