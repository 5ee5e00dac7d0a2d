//! What leaves the console: JSON of the HTTP API, notifications and status pages.

pub mod accounts;
pub mod api;
pub mod live;
pub mod notification;
pub mod series;
pub mod settings;
pub mod status_pages;
