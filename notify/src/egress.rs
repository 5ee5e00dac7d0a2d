//! Which addresses notifications may be sent to.
//!
//! Targets are set by administrators of the console, who need not be administrators of its host.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use console_core::address_policy::AddressPolicy;
use console_core::resolver::Resolver;

/// Limit for resolving a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a host is not contacted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EgressError {
    /// All of its addresses are blocked.
    #[error(
        "{host} resolves to {address} ({what}), which is blocked; if this is intended, allow it with --notify-allow {address}"
    )]
    Blocked {
        host: String,
        address: IpAddr,
        /// Kind of special-use address.
        what: &'static str,
    },
    #[error("{host} cannot be resolved: {cause}")]
    Unresolved { host: String, cause: String },
}

/// The addresses of receivers, resolved and checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct EgressPolicy {
    addresses: AddressPolicy,
    resolver: Resolver,
}

impl EgressPolicy {
    /// Permits what `addresses` permits; looks up names with `resolver`.
    #[must_use]
    pub(crate) fn new(addresses: AddressPolicy, resolver: Resolver) -> Self {
        Self {
            addresses,
            resolver,
        }
    }

    /// Resolves `host` and returns its permitted addresses. The caller must connect to exactly these: the name may resolve
    /// differently the next time.
    ///
    /// # Errors
    /// When no permitted address is left, or the name cannot be resolved.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, EgressError> {
        let unresolved = |cause: String| EgressError::Unresolved {
            host: host.to_owned(),
            cause,
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::time::timeout(RESOLVE_TIMEOUT, self.resolver.resolve(bare)).await;
        let found = found
            .map_err(|_| unresolved(format!("no answer within {} s", RESOLVE_TIMEOUT.as_secs())))?
            .map_err(|error| unresolved(error.to_string()))?
            .into_iter()
            .map(|address| SocketAddr::from((address, port)));
        let mut blocked = None;
        let mut permitted = Vec::new();
        for address in found {
            match self.addresses.blocked_reason(address.ip()) {
                None => permitted.push(address),
                Some(what) => blocked = Some((address.ip(), what)),
            }
        }
        match (permitted.is_empty(), blocked) {
            (false, _) => Ok(permitted),
            (true, Some((address, what))) => Err(EgressError::Blocked {
                host: host.to_owned(),
                address,
                what,
            }),
            (true, None) => Err(unresolved("no address found".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_addresses_are_checked_alike() {
        let policy = EgressPolicy::default();
        for host in ["localhost", "127.0.0.1", "[::1]", "::1", "0.0.0.0"] {
            let error = policy.resolve(host, 80).await.unwrap_err();
            assert!(
                matches!(error, EgressError::Blocked { .. }),
                "{host}: {error}"
            );
        }
        // The resolver accepts other notations of addresses as well.
        for host in ["2130706433", "127.1", "0x7f.1"] {
            assert!(policy.resolve(host, 80).await.is_err(), "{host}");
        }
        let good = policy.resolve("10.1.2.3", 8080).await.unwrap();
        assert_eq!(good, ["10.1.2.3:8080".parse().unwrap()]);
        let missing = policy.resolve("nowhere.invalid", 80).await.unwrap_err();
        assert!(
            matches!(missing, EgressError::Unresolved { .. }),
            "{missing}"
        );
    }
}
