//! Ends of sessions that the provider reports (OpenID Connect Back-Channel Logout).

use std::time::Duration;

use accounts::{Authenticator, ExternalIdentity};
use console_core::clock::now;
use serde_json::Value;

use super::flow::{SignOn, SignOnError};
use super::id_token;

/// How long the id of an accepted logout token is remembered: longer than one counts.
const REPLAY_PERIOD: Duration = Duration::from_secs(1_800);

impl SignOn {
    /// Ends the sessions that `token` names, in every replica. Returns how many.
    ///
    /// # Errors
    /// [`SignOnError::Untrusted`] for a token that does not verify, or was accepted before; others.
    pub(crate) async fn end_sessions(
        &self,
        authenticator: &Authenticator,
        token: &str,
    ) -> Result<usize, SignOnError> {
        let Ok(_permit) = self.exchanges.try_acquire() else {
            return Err(SignOnError::Busy);
        };
        let claims = self.provider.verified_claims(token).await?;
        let untrusted = |cause: String| SignOnError::Untrusted(cause);
        let id = id_token::check_logout_token(&claims, &self.expectation(now()))
            .map_err(|fault| untrusted(fault.to_string()))?;
        if !authenticator
            .accept_once(&format!("logout {} {id}", self.issuer()), REPLAY_PERIOD)
            .await?
        {
            return Err(untrusted("the logout token was accepted before".to_owned()));
        }
        let identity = id_token::subject(&claims).map(|subject| ExternalIdentity {
            issuer: self.issuer().to_owned(),
            subject: subject.to_owned(),
        });
        let session = claims.get("sid").and_then(Value::as_str);
        let ended = authenticator.end_provider_sessions(identity.as_ref(), session);
        Ok(ended.await?)
    }
}
