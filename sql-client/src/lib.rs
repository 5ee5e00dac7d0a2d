//! A MySQL client for servers that are not trusted: sign-in, TLS and queries of the text protocol.
//!
//! A server may send anything. Every size is bounded ([`limits`]), every byte is parsed by functions that cannot panic,
//! and the password leaves only as the answer to a challenge, except to a verified server ([`Peer`]).
//! Deadlines are the caller's: nothing here has one, and a dropped call leaves a connection that refuses further use.
//!
//! Why not a general driver: [decision 6](../../../docs/adr/0006-own-sql-client.md).

#![cfg_attr(
    not(any(test, feature = "hostile")),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable
    )
)]

mod auth;
mod connection;
mod error;
mod fields;
mod greeting;
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod limits;
mod network;
mod packets;
mod tls;
mod tls_failure;

pub use auth::native_password_hash;
pub use connection::{Connection, Login, Peer, Row};
pub use error::{Error, ServerError};
pub use network::{connect_socket, connect_tcp};
pub use packets::ByteStream;
pub use tls::{Tls, TlsSettings, Verify};
pub use tls_failure::{TlsFailure, TlsProblem};
