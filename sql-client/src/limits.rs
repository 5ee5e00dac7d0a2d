//! How much a server may send: several times what any Galera version needs.

/// Largest packet, in bytes.
pub const PACKET_MAX: usize = 1 << 20;
/// Everything received until the account is signed in, in bytes.
pub const SIGN_IN_MAX: usize = 64 << 10;
/// One response to a statement, in bytes.
pub const RESPONSE_MAX: usize = 4 << 20;
/// Columns of a result.
pub const COLUMNS_MAX: usize = 64;
/// Rows of a result.
pub const ROWS_MAX: usize = 1_000;
/// Packets of a server during sign-in, its greeting excluded.
pub const SIGN_IN_PACKETS_MAX: usize = 8;
/// Exponent of parsec's key derivation, which makes 1024 << exponent rounds; MariaDB 11.6 to 13.0 use 0.
pub const PARSEC_EXPONENT_MAX: u8 = 8;
/// Characters kept of a server's error message or name.
pub const TEXT_MAX: usize = 500;
