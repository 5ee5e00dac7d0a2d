//! The fold, seen from outside: every verdict, every node state, the invariants of galera.md that concern it, and laws.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod readings;
#[cfg(test)]
mod registrations;
#[cfg(test)]
mod rivals;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod sentences;
#[cfg(test)]
mod states;
#[cfg(test)]
mod verdicts;
