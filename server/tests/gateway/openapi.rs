//! The OpenAPI document, and that every response of this suite matches it.

mod conformance;
mod contents;
mod websocket;

pub(crate) use conformance::{check, check_part};
