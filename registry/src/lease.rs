//! Leases, kept alive by a task that reports their loss.

use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use etcd_client::{Error as ClientError, LeaseGrantOptions};

use crate::endpoints::CallKind;
use crate::entry::LeaseId;
use crate::{Backend, Error, Registry, Result};

/// A lease as etcd sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The time to live it was granted with.
    pub granted: Duration,
    /// What is left of it.
    pub remaining: Duration,
}

/// Why a lease no longer protects anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseLostReason {
    /// It does not exist: expired, revoked, or etcd was replaced.
    Gone,
    /// It could not be renewed for its whole time to live, so it may have expired.
    NotRenewed,
}

impl std::fmt::Display for LeaseLostReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gone => "it has expired or was revoked",
            Self::NotRenewed => "it could not be renewed within its time to live",
        })
    }
}

/// A granted lease, renewed every third of its time to live until it is revoked, lost or dropped.
#[derive(Debug)]
pub struct Lease {
    id: LeaseId,
    ttl: Duration,
    wait_until_lost: watch::Receiver<Option<LeaseLostReason>>,
    registry: Registry,
    _stop: DropGuard,
}

impl Registry {
    /// Grants a lease of `ttl` (whole seconds, at least one) and keeps it alive.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    pub async fn grant(&self, ttl: Duration) -> Result<Lease> {
        let id = self.grant_without_keep_alive(ttl).await?;
        let (lost_sender, lost) = watch::channel(None);
        let stop = CancellationToken::new();
        let (registry, stopped) = (self.clone(), stop.clone());
        TaskTracker::new().spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                reason = registry.keep_alive(id, ttl) => {
                    lost_sender.send_replace(Some(reason));
                }
            }
        });
        Ok(Lease {
            id,
            ttl,
            wait_until_lost: lost,
            registry: self.clone(),
            _stop: stop.drop_guard(),
        })
    }

    /// Grants a lease without renewing it: its keys are deleted after `ttl`.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    pub async fn grant_without_keep_alive(&self, ttl: Duration) -> Result<LeaseId> {
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        // A chosen id makes a repeated grant recognizable instead of leaving a second lease behind.
        let id = rand::rng().random_range(1..i64::MAX);
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.grant(id, ttl).map(|()| id),
        };
        endpoints
            .call(CallKind::Write, |client| async move {
                let options = LeaseGrantOptions::new().with_id(id);
                match client.lease_client().grant(seconds, Some(options)).await {
                    Err(ClientError::GRpcStatus(status))
                        if status.message().contains("lease already exists") =>
                    {
                        Ok(())
                    }
                    granted => granted.map(drop),
                }
            })
            .await?;
        Ok(id)
    }

    /// Ends a lease and removes everything written under it; one that is gone already is fine.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    pub async fn revoke(&self, id: LeaseId) -> Result<()> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.revoke(id),
        };
        let revoked = endpoints
            .call(CallKind::Write, |client| async move {
                client.lease_client().revoke(id).await
            })
            .await;
        match revoked {
            Ok(_) | Err(Error::LeaseGone { .. }) => Ok(()),
            Err(error) => Err(error.naming_lease(id)),
        }
    }

    /// Renews the lease until it is lost.
    async fn keep_alive(&self, id: LeaseId, ttl: Duration) -> LeaseLostReason {
        let mut renewed = Instant::now();
        loop {
            let since = renewed.elapsed();
            if since >= ttl {
                return LeaseLostReason::NotRenewed;
            }
            // After a failure the next try comes sooner: the lease is already one period older.
            let pause = if since < ttl / 3 {
                ttl / 3 - since
            } else {
                ttl / 10
            };
            sleep(pause.min(ttl - since)).await;
            let sent = Instant::now();
            match timeout(ttl.saturating_sub(renewed.elapsed()), self.renew(id)).await {
                Ok(Ok(true)) => renewed = sent,
                Ok(Ok(false)) => return LeaseLostReason::Gone,
                Ok(Err(error)) => {
                    tracing::debug!(lease = id, %error, "Lease {id:x} could not be renewed")
                }
                Err(_) => return LeaseLostReason::NotRenewed,
            }
        }
    }

    /// Renews the lease once; `false` when it does not exist. Repeating it is harmless.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    pub async fn renew(&self, id: LeaseId) -> Result<bool> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.renew(id),
        };
        let renewed = endpoints
            .call(CallKind::Read, |client| async move {
                match client.lease_client().keep_alive(id).await {
                    Ok(_) => Ok(true),
                    Err(ClientError::LeaseKeepAliveError(text))
                        if text.contains("lease not found") =>
                    {
                        Ok(false)
                    }
                    Err(error) => Err(error),
                }
            })
            .await;
        match renewed {
            Ok(answer) => Ok(answer.value),
            Err(Error::LeaseGone { .. }) => Ok(false),
            Err(error) => Err(error.naming_lease(id)),
        }
    }
}

impl Lease {
    /// The number to write under.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The time to live it was granted with.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Why the lease is lost; `None` while it lives.
    #[must_use]
    pub fn lost_reason(&self) -> Option<LeaseLostReason> {
        *self.wait_until_lost.borrow()
    }

    /// Waits until the lease is lost.
    pub async fn wait_until_lost(&mut self) -> LeaseLostReason {
        match self.wait_until_lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(LeaseLostReason::NotRenewed),
            // The keep-alive task is gone.
            Err(_) => LeaseLostReason::NotRenewed,
        }
    }

    /// Ends the lease and deletes its keys.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the lease then expires.
    pub async fn revoke(self) -> Result<()> {
        let (registry, id) = (self.registry.clone(), self.id);
        drop(self);
        registry.revoke(id).await
    }
}
