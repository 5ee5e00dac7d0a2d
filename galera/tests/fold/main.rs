//! The fold through its public interface: verdicts, node states, invariants, and properties of any input.

#[cfg(test)]
mod address_uses;
#[cfg(test)]
mod arbitrators;
#[cfg(test)]
mod comparison;
mod confirmation;
#[cfg(test)]
mod findings;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod history_alarms;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod json_contract;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod node_states;
#[cfg(test)]
mod observed_bootstraps;
#[cfg(test)]
mod one_process;
#[cfg(test)]
mod quorum;
mod reason_messages;
#[cfg(test)]
mod recorded_servers;
#[cfg(test)]
mod registrations;
#[cfg(test)]
mod rivals;
#[cfg(test)]
mod rolling_restart;
#[cfg(test)]
mod runway;
#[cfg(test)]
mod service;
#[cfg(test)]
mod status_parsing;
#[cfg(test)]
mod stop_check;
#[cfg(test)]
mod transfers;
#[cfg(test)]
mod unseen_bootstraps;
#[cfg(test)]
mod verdicts;
