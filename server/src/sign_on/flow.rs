//! One sign-in with the provider, from the button to the person whom the provider names.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use accounts::{Authenticator, ExternalIdentity, ExternalSignIn, SignInError};
use console_core::clock::now;
use console_core::net::PublicUrl;
use console_core::resolver::Resolver;
use galera::Timestamp;
use notify::OutboundClient;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::id_token::{self, TokenExpectation};
use super::login_state::{LOGIN_LIFETIME, LoginState};
use super::provider::{IdentityProvider, ProviderError, shortened, with_query};
use super::{RoleRules, SignOnConfig, role_rules};

/// Requests to the provider in progress, of everyone who signs in.
const EXCHANGES_MAX: usize = 8;
/// How long one waits for others.
const EXCHANGE_WAIT: Duration = Duration::from_secs(3);
/// Longest code, in bytes.
const CODE_MAX: usize = 4_096;
/// How long ago a proof may be that was demanded.
const PROOF_AGE_MAX: Duration = Duration::from_secs(300);
/// Time between two looks at the provider.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(15);
/// The same while it does not answer.
const FOLLOW_RETRY: Duration = Duration::from_secs(5);

/// Why a sign-in with the provider did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SignOnError {
    /// The browser has no sign-in in progress, or another one.
    #[error("this sign-in was not begun in this browser, or is complete already")]
    NotBegun,
    /// The person took too long.
    #[error("the sign-in took longer than {} min", LOGIN_LIFETIME.as_secs() / 60)]
    Expired,
    /// The provider answers with an error.
    #[error("the identity provider answers {0}")]
    Refused(String),
    /// The provider does not answer, or not with what is expected.
    #[error("the identity provider cannot be used: {0}")]
    Unavailable(String),
    /// The answer is not one that can be trusted.
    #[error("the answer of the identity provider is not accepted: {0}")]
    Untrusted(String),
    /// The claim with the groups cannot be used.
    #[error("{0}")]
    Groups(String),
    /// The person did not prove their identity again.
    #[error("the identity provider did not ask for a proof of identity again")]
    NoProof,
    /// Too many sign-ins wait for the provider.
    #[error("too many sign-ins wait for the identity provider")]
    Busy,
    /// The console refuses the person, or cannot decide.
    #[error(transparent)]
    SignIn(#[from] SignInError),
}

impl From<ProviderError> for SignOnError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Unavailable(cause) => Self::Unavailable(cause),
            ProviderError::CodeRefused(_) | ProviderError::Token(_) => {
                Self::Untrusted(error.to_string())
            }
        }
    }
}

/// What the provider sends back with the browser.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallbackAnswer {
    pub(crate) code: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) iss: Option<String>,
    pub(crate) error: Option<String>,
}

/// A person whom the provider has named, and what to show next.
pub(crate) struct CompletedLogin {
    pub(crate) sign_in: ExternalSignIn,
    pub(crate) next: String,
}

/// Signs people in with one provider.
pub struct SignOn {
    pub(super) config: SignOnConfig,
    /// Those of the roles file as it was read last.
    rules: RwLock<Arc<RoleRules>>,
    pub(super) provider: IdentityProvider,
    redirect_uri: String,
    sign_in_page: String,
    pub(super) exchanges: Semaphore,
}

impl SignOn {
    /// Signs in with the provider of `config` at the console that browsers reach at `public_url`.
    ///
    /// # Errors
    /// When the file of authorities cannot be read.
    pub fn new(
        config: SignOnConfig,
        public_url: &PublicUrl,
        resolver: Resolver,
    ) -> Result<Self, String> {
        let client = OutboundClient::new(config.ca.as_deref(), "--oidc-ca", resolver)?;
        Ok(Self {
            provider: IdentityProvider::new(config.clone(), client),
            rules: RwLock::new(Arc::new(config.rules.clone())),
            config,
            redirect_uri: format!("{public_url}/oidc/callback"),
            sign_in_page: format!("{public_url}/sign-in"),
            exchanges: Semaphore::new(EXCHANGES_MAX),
        })
    }

    fn rules(&self) -> Arc<RoleRules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides further sign-ins by `rules`. Sessions keep the roles of their last sign-in.
    pub fn replace_rules(&self, rules: RoleRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// What the sign-in page calls the provider.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The `iss` of the provider.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.config.issuer.as_str()
    }

    /// Why the provider did not answer last; `None` if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.provider.failure()
    }

    /// Keeps the endpoints current, so that the sign-in page shows whether the provider answers.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            let interval = match self.provider.refresh().await {
                Ok(()) => FOLLOW_INTERVAL,
                Err(_) => FOLLOW_RETRY,
            };
            tokio::time::sleep(interval).await;
        }
    }

    /// Begins a sign-in that shows `next` afterwards: the address of the provider, and what the browser keeps. With `proof` the
    /// person must prove their identity again.
    ///
    /// # Errors
    /// [`SignOnError`].
    pub(crate) async fn begin(
        &self,
        authenticator: &Authenticator,
        next: &str,
        proof: bool,
    ) -> Result<(String, String), SignOnError> {
        let metadata = match self.provider.current_metadata() {
            Some(metadata) => metadata,
            None => self.with_permit(self.provider.metadata()).await?,
        };
        let login = LoginState::new(next, proof, now());
        let rules = self.rules();
        let (scope, challenge) = (rules.scope(), login.challenge());
        let mut query = vec![
            ("response_type", "code"),
            ("client_id", self.config.client_id.as_str()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("scope", scope.as_str()),
            ("state", login.state.as_str()),
            ("nonce", login.nonce.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        if proof {
            query.extend([("prompt", "login"), ("max_age", "0")]);
        }
        let location = with_query(&metadata.authorization_endpoint, &query);
        let sealed = login.seal(authenticator);
        let sealed = sealed.ok_or(SignInError::SigningKeyMissing)?;
        Ok((location, sealed))
    }

    /// Completes the sign-in that the browser keeps as `sealed`, with the provider's `answer`.
    ///
    /// # Errors
    /// [`SignOnError`].
    pub(crate) async fn complete(
        &self,
        authenticator: &Authenticator,
        sealed: Option<&str>,
        answer: &CallbackAnswer,
    ) -> Result<CompletedLogin, SignOnError> {
        let login = sealed
            .and_then(|sealed| LoginState::open(authenticator, sealed))
            .filter(|login| {
                answer
                    .state
                    .as_deref()
                    .is_some_and(|state| login.is_of(state))
            })
            .ok_or(SignOnError::NotBegun)?;
        if login.is_expired(now()) {
            return Err(SignOnError::Expired);
        }
        self.check_issuer(answer)?;
        if let Some(error) = &answer.error {
            return Err(SignOnError::Refused(shortened(error)));
        }
        let code = answer.code.as_deref().unwrap_or_default();
        if code.is_empty() || code.len() > CODE_MAX {
            return Err(SignOnError::Refused("without a code".to_owned()));
        }
        let exchanged = async {
            let token = self
                .provider
                .exchange(code, &login.verifier, &self.redirect_uri)
                .await?;
            let claims = self.provider.verified_claims(&token).await?;
            Ok::<_, ProviderError>((token, claims))
        };
        let (id_token, claims) = self.with_permit(exchanged).await?;
        let at = now();
        let untrusted = |fault: id_token::TokenFault| SignOnError::Untrusted(fault.to_string());
        id_token::check_id_token(&claims, &self.expectation(at), &login.nonce)
            .map_err(untrusted)?;
        let name = format!("login {}", login.state);
        if !authenticator.accept_once(&name, LOGIN_LIFETIME * 2).await? {
            return Err(SignOnError::NotBegun);
        }
        let sign_in = self.person(id_token, &claims, at)?;
        let proven = sign_in.proven_at.map(|proven| proven.age(at));
        if login.proof && proven.is_none_or(|age| age > PROOF_AGE_MAX) {
            return Err(SignOnError::NoProof);
        }
        Ok(CompletedLogin {
            sign_in,
            next: login.next,
        })
    }

    /// Refuses an answer of another provider (RFC 9207).
    fn check_issuer(&self, answer: &CallbackAnswer) -> Result<(), SignOnError> {
        let required = self
            .provider
            .known_metadata()
            .is_some_and(|data| data.names_issuer);
        let is_own = match answer.iss.as_deref() {
            Some(issuer) => issuer == self.issuer(),
            None => !required,
        };
        match is_own {
            true => Ok(()),
            false => Err(SignOnError::Untrusted(
                "it names another issuer (iss)".to_owned(),
            )),
        }
    }

    pub(super) fn expectation(&self, now: Timestamp) -> TokenExpectation<'_> {
        TokenExpectation {
            issuer: self.issuer(),
            client_id: &self.config.client_id,
            now,
        }
    }

    /// The person whom the verified `claims` name.
    fn person(
        &self,
        id_token: String,
        claims: &Map<String, Value>,
        at: Timestamp,
    ) -> Result<ExternalSignIn, SignOnError> {
        let rules = self.rules();
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let email = role_rules::verified_email(claims);
        let grants = rules.grants(claims);
        let subject = id_token::subject(claims).unwrap_or_default();
        let proven_at = id_token::time(claims, "auth_time");
        Ok(ExternalSignIn {
            identity: ExternalIdentity {
                issuer: self.issuer().to_owned(),
                subject: subject.to_owned(),
            },
            name: rules.name(claims),
            email: email.and_then(|text| notify::parse_email_address(text).ok()),
            grants: grants.map_err(|error| SignOnError::Groups(error.to_string()))?,
            proven_at: proven_at.map(|proven| proven.min(at)),
            provider_session: text("sid").map(shortened),
            provider_factor: rules.has_second_factor(claims),
            id_token,
            session_max: self.config.session_lifetime,
        })
    }

    /// Waits for `work` of the provider, of which a bounded number is in progress.
    async fn with_permit<T>(
        &self,
        work: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, SignOnError> {
        let permit = tokio::time::timeout(EXCHANGE_WAIT, self.exchanges.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(SignOnError::Busy);
        };
        Ok(work.await?)
    }

    /// Where to sign out at the provider a session that began with `id_token`; `None` if the provider offers that not.
    pub(crate) fn sign_out_location(&self, id_token: Option<&str>) -> Option<String> {
        let metadata = self.provider.known_metadata()?;
        let endpoint = metadata.end_session_endpoint.as_ref()?;
        let mut query = vec![
            ("client_id", self.config.client_id.as_str()),
            ("post_logout_redirect_uri", self.sign_in_page.as_str()),
        ];
        if let Some(token) = id_token {
            query.push(("id_token_hint", token));
        }
        Some(with_query(endpoint, &query))
    }
}
