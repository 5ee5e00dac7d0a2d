//! What the provider publishes and answers: its endpoints, its keys, and tokens for codes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use notify::{OutboundClient, OutboundUrl};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::SignOnConfig;
use super::id_token::{self, TokenFault};
use crate::form_encoding::{encode, encode_pairs};

/// How long the endpoints count.
const METADATA_AGE_MAX: Duration = Duration::from_secs(3600);
/// How long the keys count.
const KEYS_AGE_MAX: Duration = Duration::from_secs(900);
/// Shortest time between two requests for keys because a token names an unknown one: anyone can send one.
const KEYS_INTERVAL: Duration = Duration::from_secs(10);
/// Shortest time between two attempts while the provider does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Most keys that are kept.
const KEYS_MAX: usize = 100;
/// Most characters of an error of the provider that are shown.
const ERROR_MAX: usize = 200;

/// Why the provider cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProviderError {
    /// It does not answer, or not with what is expected.
    #[error("{0}")]
    Unavailable(String),
    /// It refuses the code.
    #[error("the identity provider refuses the code: {0}")]
    CodeRefused(String),
    #[error(transparent)]
    Token(#[from] TokenFault),
}

/// The endpoints of the provider.
#[derive(Clone, Debug)]
pub(super) struct ProviderMetadata {
    pub(super) authorization_endpoint: OutboundUrl,
    token_endpoint: OutboundUrl,
    jwks_uri: OutboundUrl,
    pub(super) end_session_endpoint: Option<OutboundUrl>,
    /// Whether the secret is sent in the body, because the provider does not accept it in a header.
    secret_in_body: bool,
    /// Whether answers name the issuer (RFC 9207).
    pub(super) names_issuer: bool,
}

/// The discovery document, as far as it is used.
#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Default)]
struct ProviderState {
    metadata: Option<(Arc<ProviderMetadata>, Instant)>,
    keys: Option<(Arc<JwkSet>, Instant)>,
    /// Why the last attempt failed, and when.
    failure: Option<(String, Instant)>,
}

/// The provider of one issuer.
pub(super) struct IdentityProvider {
    config: SignOnConfig,
    client: OutboundClient,
    state: Mutex<ProviderState>,
    /// Held while the endpoints are requested, so that they are requested once.
    requesting_metadata: tokio::sync::Mutex<()>,
    /// The same for the keys; with the last attempt that failed, and when.
    requesting_keys: tokio::sync::Mutex<Option<(String, Instant)>>,
}

impl IdentityProvider {
    pub(super) fn new(config: SignOnConfig, client: OutboundClient) -> Self {
        Self {
            config,
            client,
            state: Mutex::default(),
            requesting_metadata: tokio::sync::Mutex::default(),
            requesting_keys: tokio::sync::Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ProviderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the provider did not answer last; `None` if it did.
    pub(super) fn failure(&self) -> Option<String> {
        let state = self.state();
        state.failure.as_ref().map(|(cause, _)| cause.clone())
    }

    /// The endpoints if they are known, however old: nothing is requested.
    pub(super) fn known_metadata(&self) -> Option<Arc<ProviderMetadata>> {
        let state = self.state();
        state.metadata.as_ref().map(|(data, _)| Arc::clone(data))
    }

    /// The endpoints if they are known and current: nothing is requested.
    pub(super) fn current_metadata(&self) -> Option<Arc<ProviderMetadata>> {
        let state = self.state();
        let (data, at) = state.metadata.as_ref()?;
        (at.elapsed() < METADATA_AGE_MAX).then(|| Arc::clone(data))
    }

    /// The endpoints, requested unless they are known.
    pub(super) async fn metadata(&self) -> Result<Arc<ProviderMetadata>, ProviderError> {
        if let Some(known) = self.current_metadata() {
            return Ok(known);
        }
        let _one = self.requesting_metadata.lock().await;
        if let Some(known) = self.current_metadata() {
            return Ok(known);
        }
        if let Some((cause, at)) = &self.state().failure
            && at.elapsed() < RETRY_INTERVAL
        {
            return Err(ProviderError::Unavailable(cause.clone()));
        }
        self.request_metadata().await
    }

    /// Requests the endpoints again. Those that are known stay if the provider does not answer.
    pub(super) async fn refresh(&self) -> Result<(), ProviderError> {
        let _one = self.requesting_metadata.lock().await;
        self.request_metadata().await.map(drop)
    }

    async fn request_metadata(&self) -> Result<Arc<ProviderMetadata>, ProviderError> {
        let found = self.discover().await;
        self.note(&found);
        match found {
            Ok(data) => {
                let data = Arc::new(data);
                self.state().metadata = Some((Arc::clone(&data), Instant::now()));
                Ok(data)
            }
            Err(cause) => Err(ProviderError::Unavailable(cause)),
        }
    }

    /// Remembers whether the provider answered, and logs a change.
    fn note<T>(&self, result: &Result<T, String>) {
        let issuer = &self.config.issuer;
        let mut state = self.state();
        match (result, &state.failure) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => {
                tracing::info!(%issuer, "The identity provider {issuer} answers again");
                state.failure = None;
            }
            (Err(cause), before) => {
                if before.as_ref().is_none_or(|(known, _)| known != cause) {
                    tracing::warn!(%issuer, "The identity provider {issuer} cannot be used: {cause}");
                }
                state.failure = Some((cause.clone(), Instant::now()));
            }
        }
    }

    async fn discover(&self) -> Result<ProviderMetadata, String> {
        let issuer = self.config.issuer.as_str();
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let url: OutboundUrl = url.parse()?;
        let document: DiscoveryDocument = self.get_json(&url).await?;
        if document.issuer != issuer {
            return Err(format!(
                "{url} names the issuer {:?}; set --oidc-issuer to exactly that, if it is the right one",
                shortened(&document.issuer)
            ));
        }
        let endpoint = |name: &str, text: &str| {
            let parsed: Result<OutboundUrl, String> = text.parse();
            parsed
                .and_then(|endpoint| {
                    // An encrypted provider has no endpoint on this machine's loopback interface.
                    let downgraded = self.config.issuer.is_https() && !endpoint.is_https();
                    match downgraded {
                        true => Err(format!("{text:?} is not encrypted")),
                        false => Ok(endpoint),
                    }
                })
                .map_err(|error| format!("the {name} of {issuer} cannot be used: {error}"))
        };
        let methods = document.token_endpoint_auth_methods_supported;
        let supports = |name: &str| {
            methods
                .as_ref()
                .is_some_and(|methods| methods.iter().any(|method| method == name))
        };
        Ok(ProviderMetadata {
            authorization_endpoint: endpoint(
                "authorization_endpoint",
                &document.authorization_endpoint,
            )?,
            token_endpoint: endpoint("token_endpoint", &document.token_endpoint)?,
            jwks_uri: endpoint("jwks_uri", &document.jwks_uri)?,
            end_session_endpoint: document
                .end_session_endpoint
                .map(|text| endpoint("end_session_endpoint", &text))
                .transpose()?,
            secret_in_body: supports("client_secret_post") && !supports("client_secret_basic"),
            names_issuer: document.authorization_response_iss_parameter_supported,
        })
    }

    async fn get_json<T: serde::de::DeserializeOwned>(
        &self,
        url: &OutboundUrl,
    ) -> Result<T, String> {
        let answer = self.client.get(url).await;
        let (status, body) = answer.map_err(|error| format!("{url}: {error}"))?;
        if status != 200 {
            return Err(format!("{url} answers with status {status}"));
        }
        serde_json::from_slice(&body)
            .map_err(|error| format!("{url} does not answer with the expected JSON: {error}"))
    }

    /// The claims of `token`, if the provider signed it. A key that is not known is looked for once.
    pub(super) async fn verified_claims(
        &self,
        token: &str,
    ) -> Result<Map<String, Value>, ProviderError> {
        // Before anything is requested for it.
        id_token::header(token)?;
        let keys = self.keys(KEYS_AGE_MAX).await?;
        match id_token::verify_signature(token, &keys) {
            Err(TokenFault::UnknownKey) => {
                let keys = self.keys(KEYS_INTERVAL).await?;
                Ok(id_token::verify_signature(token, &keys)?)
            }
            verified => Ok(verified?),
        }
    }

    fn known_keys(&self, age_max: Duration) -> Option<Arc<JwkSet>> {
        let state = self.state();
        let (keys, at) = state.keys.as_ref()?;
        (at.elapsed() < age_max).then(|| Arc::clone(keys))
    }

    /// The keys, requested unless they are known and no older than `age_max`.
    async fn keys(&self, age_max: Duration) -> Result<Arc<JwkSet>, ProviderError> {
        if let Some(known) = self.known_keys(age_max) {
            return Ok(known);
        }
        let metadata = self.metadata().await?;
        let began = Instant::now();
        let mut failed = self.requesting_keys.lock().await;
        if let Some(known) = self.known_keys(age_max) {
            return Ok(known);
        }
        // The attempt that this call waited for failed. If each waiting call repeated it, a provider that hangs would delay
        // the last one by as many timeouts.
        if let Some((cause, at)) = &*failed
            && *at >= began
        {
            return Err(ProviderError::Unavailable(cause.clone()));
        }
        let found = self.request_keys(&metadata.jwks_uri).await;
        self.note(&found);
        let keys = match found {
            Ok(keys) => Arc::new(keys),
            Err(cause) => {
                *failed = Some((cause.clone(), Instant::now()));
                return Err(ProviderError::Unavailable(cause));
            }
        };
        self.state().keys = Some((Arc::clone(&keys), Instant::now()));
        Ok(keys)
    }

    async fn request_keys(&self, url: &OutboundUrl) -> Result<JwkSet, String> {
        #[derive(Deserialize)]
        struct KeyDocument {
            keys: Vec<Value>,
        }
        let found: KeyDocument = self.get_json(url).await?;
        let keys: Vec<Jwk> = found
            .keys
            .into_iter()
            .take(KEYS_MAX)
            // Of a kind that is not known here.
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect();
        if keys.is_empty() {
            return Err(format!("{url} has no key that can be used"));
        }
        Ok(JwkSet { keys })
    }

    /// Exchanges `code` for an ID token.
    pub(super) async fn exchange(
        &self,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<String, ProviderError> {
        let metadata = self.metadata().await?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        let id = self.config.client_id.as_str();
        let secret = self.config.client_secret.as_ref();
        let mut authorization = None;
        match secret {
            Some(secret) if metadata.secret_in_body => {
                form.extend([("client_id", id), ("client_secret", secret.expose())]);
            }
            Some(secret) => {
                let pair = format!("{}:{}", encode(id), encode(secret.expose()));
                let pair = data_encoding::BASE64.encode(pair.as_bytes());
                authorization = Some(format!("Basic {pair}"));
            }
            None => form.push(("client_id", id)),
        }
        let answer = self
            .client
            .post_form(
                &metadata.token_endpoint,
                encode_pairs(&form),
                authorization.as_deref(),
            )
            .await;
        let url = &metadata.token_endpoint;
        let answer = answer.map_err(|error| format!("{url}: {error}"));
        self.note(&answer);
        let (status, body) = answer.map_err(ProviderError::Unavailable)?;
        read_token(url, status, &body)
    }
}

fn read_token(url: &OutboundUrl, status: u16, body: &[u8]) -> Result<String, ProviderError> {
    #[derive(Default, Deserialize)]
    struct TokenAnswer {
        id_token: Option<String>,
        error: Option<String>,
    }
    let answer: Option<TokenAnswer> = serde_json::from_slice(body).ok();
    match (status, answer.unwrap_or_default()) {
        (
            200,
            TokenAnswer {
                id_token: Some(token),
                ..
            },
        ) => Ok(token),
        (200, _) => Err(ProviderError::Unavailable(format!(
            "{url} answers without an ID token; let the provider permit the scope openid"
        ))),
        (
            400 | 401,
            TokenAnswer {
                error: Some(error), ..
            },
        ) => Err(ProviderError::CodeRefused(shortened(&error))),
        (status, _) => Err(ProviderError::Unavailable(format!(
            "{url} answers with status {status}"
        ))),
    }
}

/// A text of the provider as it is shown.
pub(super) fn shortened(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(ERROR_MAX).collect()
}

/// `url` with `pairs` added to its query.
pub(super) fn with_query(url: &OutboundUrl, pairs: &[(&str, &str)]) -> String {
    let separator = match url.as_str().contains('?') {
        true => '&',
        false => '?',
    };
    format!("{url}{separator}{}", encode_pairs(pairs))
}
