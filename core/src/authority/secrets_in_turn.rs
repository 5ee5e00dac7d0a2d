//! Which secrets sealed the records in turn, and whether this process has the one in use.

use std::collections::BTreeMap;

use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Error, Precondition, RegistryEntry, Transaction, WriteOp};

use super::{AuthorityError, AuthorityRecord, RecordAuthority, encode};
use crate::audit::AuditTrail;
use crate::clock::now;
use crate::keyspace;
use crate::state_secret::sealed_with;

/// Former secrets that the authority record names.
const SECRETS_NAMED_MAX: usize = 16;

/// The newest secret of this process among those that sealed records in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SecretPlace {
    InUse,
    /// It follows the one in use, which this process has too.
    Next,
    /// It was followed by the one in use, which this process has too: in the first step of a rotation without downtime.
    Former,
    /// In use is this one, which this process does not have.
    Missing(String),
}

impl AuthorityRecord {
    /// The secrets that sealed records in turn, oldest first. Earlier versions did not record them: then the first one, and the one
    /// that the record itself is `sealed_with`.
    fn in_turn(&self, sealed_with: &str) -> Vec<String> {
        if !self.secrets.is_empty() {
            return self.secrets.clone();
        }
        let mut secrets = vec![self.kid.clone()];
        secrets.extend((sealed_with != self.kid).then(|| sealed_with.to_owned()));
        secrets
    }
}

impl RecordAuthority {
    fn place(&self, in_turn: &[String]) -> SecretPlace {
        let newest = self.secrets.newest().kid();
        match in_turn.last() {
            Some(last) if last == newest => SecretPlace::InUse,
            Some(last) if !self.secrets.contains(last) => SecretPlace::Missing(last.clone()),
            _ if in_turn.iter().any(|kid| kid == newest) => SecretPlace::Former,
            _ => SecretPlace::Next,
        }
    }

    /// Begins to use the newest secret, if it follows the one in use; returns whether the authority record is to be read again.
    ///
    /// # Errors
    /// [`Error::OutdatedSecret`] if this process does not have the one in use; others of etcd and the audit trail.
    pub(super) async fn follow_secret(
        &self,
        key: &str,
        record: &AuthorityRecord,
        sealed_with: &str,
        revision: i64,
    ) -> Result<bool, AuthorityError> {
        let in_turn = record.in_turn(sealed_with);
        match self.place(&in_turn) {
            SecretPlace::Missing(needed) => Err(self.outdated(needed)),
            SecretPlace::InUse | SecretPlace::Former => {
                self.note_successions(&in_turn).await?;
                Ok(false)
            }
            SecretPlace::Next => {
                self.begin_newest(key, record, in_turn, revision).await?;
                Ok(true)
            }
        }
    }

    /// Records, in one transaction and before anything is sealed with it, that the newest secret is in use from now on.
    async fn begin_newest(
        &self,
        key: &str,
        record: &AuthorityRecord,
        mut in_turn: Vec<String>,
        revision: i64,
    ) -> Result<(), AuthorityError> {
        self.note_successions(&in_turn).await?;
        let newest = self.secrets.newest().kid();
        let former = in_turn.last().cloned().unwrap_or_default();
        in_turn.push(newest.to_owned());
        in_turn.drain(..in_turn.len().saturating_sub(SECRETS_NAMED_MAX));
        let record = AuthorityRecord {
            secrets: in_turn,
            ..record.clone()
        };
        let mut transaction = Transaction::new()
            .when(Precondition::Unchanged(key.as_bytes().to_vec(), revision))
            .then([WriteOp::put(key, encode(&record)?, None)]);
        let note = (self.secrets).note_succession(&self.state_prefix, &former, newest);
        transaction = transaction.then(note.map(|(key, value)| WriteOp::put(key, value, None)));
        let audit = AuditRecord {
            at: now(),
            actor: self.actor.clone(),
            event: AuditEvent::STATE_SECRET_REPLACED,
            cluster: None,
            subject: None,
            detail: BTreeMap::from([
                ("kid".to_owned(), newest.to_owned()),
                ("former".to_owned(), former.clone()),
            ]),
        };
        let trail =
            AuditTrail::new(self.registry.clone(), &self.state_prefix).with_actor(&self.actor);
        // Of several replicas one succeeds; the others follow it.
        trail.commit(&transaction, &[audit]).await?;
        tracing::info!(
            kid = newest,
            former,
            "Records in etcd are from now on sealed with the state secret {newest}, which follows {former}"
        );
        Ok(())
    }

    /// Fails if a secret of this process is proven to have been followed by one that it lacks. For an authority record that does
    /// not open: then also another file than that of the other replicas, rotated from the same secret, is recognized.
    pub(super) async fn refuse_if_followed(&self) -> Result<(), AuthorityError> {
        self.registry.check_secret().await?;
        let notes = self.succession_notes().await?;
        let kids = self.secrets.iter_kids();
        let missing = kids
            .filter_map(|kid| self.secrets.successor(&self.state_prefix, kid, &notes))
            .find(|next| !self.secrets.contains(next));
        match missing {
            Some(needed) => Err(self.outdated(needed)),
            None => Ok(()),
        }
    }

    /// That `needed`, which this process lacks, is in use.
    fn outdated(&self, needed: String) -> AuthorityError {
        let outdated = self.secrets.lacking(needed);
        self.registry.declare_outdated(outdated.clone());
        Error::from(outdated).into()
    }

    async fn succession_notes(&self) -> Result<Vec<RegistryEntry>, Error> {
        let mut notes = Vec::new();
        for key in self.secrets.succession_keys(&self.state_prefix) {
            notes.extend(self.registry.get(key).await?);
        }
        Ok(notes)
    }

    /// Writes the notes about secrets that this process has, unless etcd holds them.
    async fn note_successions(&self, in_turn: &[String]) -> Result<(), Error> {
        let notes = self.succession_notes().await?;
        for pair in in_turn.windows(2) {
            let [former, next] = pair else { continue };
            let noted = self.secrets.successor(&self.state_prefix, former, &notes);
            if noted.as_ref() == Some(next) {
                continue;
            }
            if let Some((key, value)) =
                (self.secrets).note_succession(&self.state_prefix, former, next)
            {
                self.registry.put(key, value, None).await?;
            }
        }
        Ok(())
    }

    /// The place of the newest secret, by the authority record; `None` if there is none, or it does not verify.
    async fn current_place(&self) -> Result<Option<(SecretPlace, Vec<String>)>, Error> {
        let key = keyspace::authority(&self.state_prefix);
        let stored = self.registry.unsealed().get(key.as_str()).await?;
        let Some((stored, kid)) =
            stored.and_then(|stored| sealed_with(&stored.value).map(|kid| (stored, kid)))
        else {
            return Ok(None);
        };
        let Ok(Some(content)) = self.registry.open_stored(&stored) else {
            return Ok(None);
        };
        let record = serde_json::from_slice::<AuthorityRecord>(&content).ok();
        Ok(record.map(|record| {
            let in_turn = record.in_turn(&kid);
            (self.place(&in_turn), in_turn)
        }))
    }

    /// Whether the newest secret follows the one in use and is not used yet, which this process has too.
    ///
    /// # Errors
    /// As [`registry::Registry::get`].
    pub async fn has_unused_secret(&self) -> Result<bool, Error> {
        let place = self.current_place().await?;
        Ok(matches!(place, Some((SecretPlace::Next, _))))
    }

    /// Whether the newest secret was followed by the other one, so that nothing is to be sealed again with it.
    ///
    /// # Errors
    /// As [`registry::Registry::get`].
    pub async fn has_former_secret_first(&self) -> Result<bool, Error> {
        let place = self.current_place().await?;
        Ok(matches!(place, Some((SecretPlace::Former, _))))
    }

    /// Writes the notes about the order of secrets again that another client of etcd removed or altered.
    ///
    /// # Errors
    /// As [`registry::Registry::get`].
    pub async fn restore_successions(&self) -> Result<(), Error> {
        match self.current_place().await? {
            Some((SecretPlace::InUse | SecretPlace::Former, in_turn)) => {
                self.note_successions(&in_turn).await
            }
            _ => Ok(()),
        }
    }
}
