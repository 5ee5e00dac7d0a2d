//! Recovery, simulated: [`specification`] says what Galera does, as far as recovery depends on it, without a network, a clock
//! or a process, so that thousands of histories can be played in a minute and a failing one repeats exactly.

pub mod specification;
