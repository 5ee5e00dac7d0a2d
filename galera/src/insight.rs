//! What follows from a view: questions that people ask before they act.

pub mod stop_check;
