//! What follows from a view: what is risky besides the verdict, and questions that people ask before they act.

pub mod finding_record;
pub mod findings;
pub mod rolling_restart;
pub mod runway;
pub mod stop_check;
