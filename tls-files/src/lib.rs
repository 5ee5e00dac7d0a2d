//! Files of certificates, keys and authorities, checked before they are used, and explanations of TLS failures.
//!
//! Every connection of console and agents uses these checks: the console's listener, etcd, the databases and the receivers
//! of notifications. An error names the file and the remedy.

mod authorities;
mod error;
mod explanation;
mod file;
mod pair;

pub use authorities::{read_authorities, read_authorities_pem};
pub use error::TlsFileError;
pub use explanation::{describe_dates, explain_tls_error, find_tls_error};
pub use pair::{CertificateFiles, CertificatePair, PemPair};

use galera::Timestamp;
use rustls::pki_types::UnixTime;

/// The time of this machine's clock, by which certificates are judged.
#[must_use]
pub fn clock_time() -> Timestamp {
    timestamp(UnixTime::now())
}

fn timestamp(time: UnixTime) -> Timestamp {
    let millis = time.as_secs().saturating_mul(1_000);
    Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
