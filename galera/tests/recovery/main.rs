//! Recovery through its public interface: plans, checks, invariants, actions and clean-up.

#[cfg(test)]
mod action;
#[cfg(test)]
mod action_fixture;
#[cfg(test)]
mod action_overrides;
#[cfg(test)]
mod action_properties;
#[cfg(test)]
mod addresses;
#[cfg(test)]
mod arbitrators;
#[cfg(test)]
mod authority;
mod cleanup;
#[cfg(test)]
mod cleanup_action;
#[cfg(test)]
mod cleanup_members;
#[cfg(test)]
mod damaged_nodes;
#[cfg(test)]
mod dialect;
#[cfg(test)]
mod execution;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod forks;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod json_contract;
mod loss;
#[cfg(test)]
mod positions;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod rejoin;
#[cfg(test)]
mod running;
#[cfg(test)]
mod stopped;
#[cfg(test)]
mod unconfirmed;
#[cfg(test)]
mod verification;
