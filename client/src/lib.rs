//! The client of the console's API: `galera-console ctl` and `galera-console mcp`.
//!
//! Its commands are one table ([`command`]), which also makes `docs/ctl.md` and the tools of `mcp`; a test holds it to `docs/openapi.json`.
//!
//! Invariants: the token leaves only over TLS or to this host, unless plain HTTP was permitted, and follows no redirect. Every
//! answer is bounded in size and time. Text from an answer never controls the terminal ([`safe_text`]).

pub mod answer;
pub mod command;
pub mod connection;
mod console_url;
pub mod ctl;
mod document_text;
mod error;
pub mod mcp;
mod output;
mod request;
pub mod safe_text;
pub mod settings;
mod table_text;
mod token;
mod wait;
mod watch;

pub use command::GivenArguments;
pub use console_url::ConsoleUrl;
pub use error::{ClientError, ClientExit};

pub use token::ApiToken;
