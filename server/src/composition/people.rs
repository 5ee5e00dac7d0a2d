//! Builds what signs people in.

use std::sync::Arc;

use accounts::{AccountCache, Authenticator};

use super::{BuildError, Builder};
use crate::sign_on::SignOn;

impl Builder<'_> {
    /// Sign-on with the identity provider, if there is one. Does not wait for it.
    pub(super) fn sign_on(&self) -> Result<Option<Arc<SignOn>>, BuildError> {
        let http = &self.config.http;
        let (Some(config), Some(public_url)) = (&http.sign_on, &http.public_url) else {
            return Ok(None);
        };
        let sign_on = SignOn::new(config.clone(), public_url, self.resolver.clone());
        let sign_on = Arc::new(sign_on.map_err(BuildError::SignOn)?);
        self.spawn_until_shutdown(Arc::clone(&sign_on).follow());
        Ok(Some(sign_on))
    }

    pub(super) fn authenticator(&self) -> Authenticator {
        let policy = self.config.http.sign_in_policy();
        let state_prefix = &self.config.state_prefix;
        let cache = AccountCache::new(state_prefix, &policy.second_factor_roles)
            .with_labels(self.config.labels.clone());
        let cache = match policy.local_accounts {
            true => cache,
            false => cache.without_local_accounts(),
        };
        let watching = cache.clone();
        self.tasks
            .spawn(watching.run(self.registry.clone(), self.tasks.shutdown.clone()));
        let trail = self.trail.clone();
        let authenticator =
            Authenticator::new(self.registry.clone(), state_prefix, trail, cache, policy)
                .with_concurrent_hashes(self.config.limits.password_hashes);
        let failures = Arc::clone(authenticator.failures());
        let shutdown = self.tasks.shutdown.clone();
        self.tasks
            .spawn(async move { failures.run(shutdown).await });
        authenticator
    }
}
