//! Recovery, seen from outside: plans with their checks and invariants, the life of an action, clean-up.

#[cfg(test)]
mod action;
#[cfg(test)]
mod action_laws;
#[cfg(test)]
mod cleanup;
#[cfg(test)]
mod cleanup_action;
#[cfg(test)]
mod damaged;
#[cfg(test)]
mod dialect;
#[cfg(test)]
mod execution;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod life;
#[cfg(test)]
mod running;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod stopped;
mod verified;
