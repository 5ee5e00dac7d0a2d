//! Acceptance tests: the real programs on real etcd and real Galera, used through their public interfaces.
//!
//! Tests without lasting effects share labs (`shared`), one after the other; a lab is repaired before each test.

mod arbitrators;
mod bad_input;
mod command_line;
mod demo;
mod documents;
mod encrypted;
mod events;
mod findings;
mod homogeneous;
mod identities;
mod lab_lifecycle;
mod members;
mod notifications;
mod other_release;
mod prometheus;
mod quorum;
mod recovery;
mod registry_loss;
mod rounds;
mod secured_etcd;
mod series;
mod sessions;
mod shared;
mod sources;
mod specification;
mod split_brain;
mod stop_check;
mod transfers;
mod views;
