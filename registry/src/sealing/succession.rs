//! Whether the secret of this process is still the one in use: others may seal with one that followed it.
//!
//! Without a proof, a record of an unknown secret is a forgery like any other. With one
//! ([`RecordSealer::outdated_by`](super::RecordSealer::outdated_by)) it is a genuine record that this process cannot read, which
//! must not be replaced: from then on, until it is restarted with the missing secret, the process writes no protected record and
//! does not judge those of unknown secrets.

use tokio::sync::watch;

use super::{KnownRecords, Sealing, TamperCause, TamperedRecords};
use crate::transact::Transaction;
use crate::{Error, Registry, Result};

/// The newest secret of this process was followed by one that it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutdatedSecret {
    /// The names of the secrets that this process has.
    pub given: String,
    /// The name of the one in use.
    pub needed: String,
}

impl From<OutdatedSecret> for Error {
    fn from(outdated: OutdatedSecret) -> Self {
        let OutdatedSecret { given, needed } = outdated;
        Self::OutdatedSecret { given, needed }
    }
}

impl Registry {
    /// The secret that this process lacks, once it is proven.
    #[must_use]
    pub fn outdated_secret(&self) -> Option<OutdatedSecret> {
        self.sealing.as_ref()?.outdated.borrow().clone()
    }

    /// Notifies of [`Registry::outdated_secret`], which is set once at most; `None` without sealing.
    #[must_use]
    pub fn watch_outdated_secret(&self) -> Option<watch::Receiver<Option<OutdatedSecret>>> {
        let sealing = self.sealing.as_ref()?;
        Some(sealing.outdated.subscribe())
    }

    /// Reads whether the secret of this process is the one in use.
    ///
    /// # Errors
    /// [`Error::OutdatedSecret`] if it is proven not to be; others as [`Registry::get`].
    pub async fn check_secret(&self) -> Result<()> {
        let Some(sealing) = &self.sealing else {
            return Ok(());
        };
        sealing.refuse_if_outdated()?;
        let mut notes = Vec::new();
        for key in sealing.sealer.succession_keys() {
            notes.extend(self.get_stored(&key).await?.0);
        }
        if let Some(outdated) = sealing.sealer.outdated_by(&notes) {
            sealing.set_outdated(outdated);
        }
        sealing.refuse_if_outdated()
    }

    /// Records that this process lacks a secret in use, as another record proves.
    pub fn declare_outdated(&self, outdated: OutdatedSecret) {
        if let Some(sealing) = &self.sealing {
            sealing.set_outdated(outdated);
        }
    }

    /// As [`Registry::check_secret`], if `transaction` concerns a record that is sealed with an unknown secret.
    pub(super) async fn check_secret_for(
        &self,
        sealing: &Sealing,
        transaction: &Transaction,
    ) -> Result<()> {
        sealing.refuse_if_outdated()?;
        let lacks_secret = {
            let known = sealing.lock();
            let mut keys = transaction.keys().into_iter();
            keys.any(|key| known.lacks_secret_of(&key))
        };
        if lacks_secret {
            self.check_secret().await?;
        }
        Ok(())
    }
}

impl Sealing {
    pub(super) fn refuse_if_outdated(&self) -> Result<()> {
        match self.outdated.borrow().clone() {
            Some(outdated) => Err(outdated.into()),
            None => Ok(()),
        }
    }

    fn set_outdated(&self, outdated: OutdatedSecret) {
        let is_new = self.outdated.send_if_modified(|known| {
            let is_new = known.is_none();
            if is_new {
                *known = Some(outdated);
            }
            is_new
        });
        if is_new {
            let known = self.lock();
            self.send_tampered(&known);
        }
    }

    /// The tampered records of `known`, without those that only another secret could tell from genuine ones.
    pub(super) fn judged(&self, known: &KnownRecords) -> TamperedRecords {
        let mut tampered = known.tampered();
        if self.outdated.borrow().is_some() {
            let is_judged = |cause| cause != TamperCause::UnknownSecret;
            tampered.records.retain(|record| is_judged(record.cause));
            // Of those that are not listed the cause is not kept.
            tampered.unlisted = 0;
        }
        tampered
    }
}
