//! Recovery, simulated: [`galera_specification`] states what Galera does, as far as recovery depends on it, without a network, a
//! clock or a process, and [`schedule`] plays random faults on it while a console with its real decisions observes and two people
//! recover. Thousands of schedules take a minute, and a failing one repeats exactly.

pub mod access;
pub mod agent;
pub mod clock;
pub mod console;
pub mod order_key;
pub mod registry;
pub mod replica;
pub mod schedule;
