//! The OpenAPI document, and that every response of this suite matches it.

mod conformance;
mod contents;

pub(crate) use conformance::check;
