//! An identity provider that answers as a test says, on a free port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data_encoding::BASE64URL_NOPAD;
use galera_console::sign_on::{RoleRules, SignOnConfig};
use http::StatusCode;
use http::header::LOCATION;
use registry::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::DropGuard;

use crate::http_server::serve_until_dropped;

pub(super) const CLIENT_ID: &str = "console";
const SECRET: &str = "client secret + / :";

/// A key that signs tokens.
#[derive(Clone)]
pub(super) struct ProviderKey {
    pub(super) kid: String,
    pkcs8: Arc<Vec<u8>>,
    elliptic: bool,
}

impl ProviderKey {
    pub(super) fn es256(kid: &str) -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        Self {
            kid: kid.to_owned(),
            pkcs8: Arc::new(pkcs8.unwrap().as_ref().to_vec()),
            elliptic: true,
        }
    }

    pub(super) fn ed25519(kid: &str) -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            kid: kid.to_owned(),
            pkcs8: Arc::new(pkcs8.as_ref().to_vec()),
            elliptic: false,
        }
    }

    fn public(&self) -> Vec<u8> {
        match self.elliptic {
            true => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8);
                pair.unwrap().public_key().as_ref().to_vec()
            }
            false => {
                let pair = Ed25519KeyPair::from_pkcs8(&self.pkcs8).unwrap();
                pair.public_key().as_ref().to_vec()
            }
        }
    }

    fn jwk(&self) -> Value {
        let public = self.public();
        match self.elliptic {
            true => {
                json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256",
                "x": BASE64URL_NOPAD.encode(&public[1..33]), "y": BASE64URL_NOPAD.encode(&public[33..])})
            }
            false => json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig",
                "x": BASE64URL_NOPAD.encode(&public)}),
        }
    }

    /// A token of `claims`.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let algorithm = if self.elliptic { "ES256" } else { "EdDSA" };
        let header = json!({"alg": algorithm, "kid": self.kid});
        self.sign_with_header(&header, claims)
    }

    pub(super) fn sign_with_header(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = match self.elliptic {
            true => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8);
                let signed = pair.unwrap().sign(&random, message.as_bytes()).unwrap();
                signed.as_ref().to_vec()
            }
            false => {
                let pair = Ed25519KeyPair::from_pkcs8(&self.pkcs8).unwrap();
                pair.sign(message.as_bytes()).as_ref().to_vec()
            }
        };
        format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    /// A token that uses the published key as the secret of an HMAC.
    pub(super) fn sign_as_hmac(&self, claims: &Value) -> String {
        use aws_lc_rs::hmac;
        let message = unsigned(&json!({"alg": "HS256", "kid": self.kid}), claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.public());
        let signature = hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

/// How an endpoint answers.
#[derive(Clone, Debug)]
pub(super) enum EndpointFault {
    Hang,
    /// With this many bytes.
    Large(usize),
    Redirect(String),
    Status(u16),
    NoJson,
}

/// Makes a token of the claims for a person.
pub(super) type TokenMaker = Arc<dyn Fn(&ProviderKey, Value) -> String + Send + Sync>;

pub(super) struct ProviderScript {
    pub(super) key: ProviderKey,
    /// What is published instead of `key`.
    pub(super) published: Option<Vec<ProviderKey>>,
    /// Faults by endpoint: `discovery`, `keys`, `token`.
    pub(super) faults: BTreeMap<&'static str, EndpointFault>,
    pub(super) named_issuer: Option<String>,
    pub(super) make_token: TokenMaker,
    /// Codes that were given out, with the challenge and nonce.
    codes: BTreeMap<String, (String, String, Value)>,
    pub(super) key_requests: usize,
    /// Requests that were never answered.
    pub(super) hung_requests: usize,
}

/// The provider; it stops when this is dropped.
pub(super) struct TestProvider {
    pub(super) address: SocketAddr,
    pub(super) script: Arc<Mutex<ProviderScript>>,
    _stop: Option<DropGuard>,
}

pub(super) const ROLES: &str = r#"
    groups = ["*"]
    [second_factor]
    amr = ["mfa"]
    [[rule]]
    group = "dba"
    roles = ["operator", "approver"]
    clusters = ["la*"]
    [[rule]]
    group = "everyone"
    roles = ["viewer"]
    [[rule]]
    group = "shop"
    roles = ["operator"]
    clusters = ["shop"]
    [[rule]]
    group = "root"
    roles = ["admin"]
"#;

impl TestProvider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut provider = Self::stopped(address);
        provider.serve(listener);
        provider
    }

    /// A provider that does not answer at `address`.
    pub(super) fn stopped(address: SocketAddr) -> Self {
        let script = ProviderScript {
            key: ProviderKey::es256("k1"),
            published: None,
            faults: BTreeMap::new(),
            named_issuer: None,
            make_token: Arc::new(|key, claims| key.sign(&claims)),
            codes: BTreeMap::new(),
            key_requests: 0,
            hung_requests: 0,
        };
        Self {
            address,
            script: Arc::new(Mutex::new(script)),
            _stop: None,
        }
    }

    pub(super) fn serve(&mut self, listener: TcpListener) {
        let state = (format!("http://{}", self.address), Arc::clone(&self.script));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(state);
        self._stop = Some(serve_until_dropped(listener, router));
    }

    pub(super) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn config(&self) -> SignOnConfig {
        SignOnConfig {
            issuer: self.issuer().parse().unwrap(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: Some(Secret::new(SECRET)),
            rules: RoleRules::parse(ROLES).unwrap(),
            name: "Test provider".to_owned(),
            ca: None,
            session_lifetime: Duration::from_secs(3600),
        }
    }

    pub(super) fn alter(&self, alter: impl FnOnce(&mut ProviderScript)) {
        alter(&mut self.script.lock().unwrap());
    }

    /// What the person answers at the authorization endpoint, to which `location` leads: a code for `claims`.
    pub(super) fn authorize(&self, location: &str, claims: Value) -> BTreeMap<String, String> {
        let query = location
            .strip_prefix(&format!("{}/authorize?", self.issuer()))
            .unwrap_or_else(|| panic!("{location}"));
        let sent = parse_form(query);
        assert_eq!(sent["response_type"], "code");
        assert_eq!(sent["client_id"], CLIENT_ID);
        assert_eq!(sent["code_challenge_method"], "S256");
        assert_eq!(sent["redirect_uri"], "http://console.test/oidc/callback");
        let code = format!("code-{}", uuid::Uuid::new_v4());
        let granted = (
            sent["code_challenge"].clone(),
            sent["nonce"].clone(),
            claims,
        );
        self.alter(|script| drop(script.codes.insert(code.clone(), granted)));
        BTreeMap::from([
            ("code".to_owned(), code),
            ("state".to_owned(), sent["state"].clone()),
        ])
    }
}

type ProviderState = (String, Arc<Mutex<ProviderScript>>);

async fn fault(state: &ProviderState, endpoint: &'static str) -> Option<Response> {
    let fault = {
        let mut script = state.1.lock().unwrap();
        let fault = script.faults.get(endpoint).cloned()?;
        if matches!(fault, EndpointFault::Hang) {
            script.hung_requests += 1;
        }
        fault
    };
    Some(match fault {
        EndpointFault::Hang => std::future::pending().await,
        EndpointFault::Large(bytes) => Body::from(vec![b' '; bytes]).into_response(),
        EndpointFault::Redirect(to) => (StatusCode::FOUND, [(LOCATION, to)]).into_response(),
        EndpointFault::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        EndpointFault::NoJson => "<html>".into_response(),
    })
}

async fn discovery(State(state): State<ProviderState>) -> Response {
    if let Some(answer) = fault(&state, "discovery").await {
        return answer;
    }
    let own = &state.0;
    let issuer = state.1.lock().unwrap().named_issuer.clone();
    json_response(&json!({
        "issuer": issuer.unwrap_or_else(|| own.clone()),
        "authorization_endpoint": format!("{own}/authorize"),
        "token_endpoint": format!("{own}/token"),
        "jwks_uri": format!("{own}/keys"),
        "end_session_endpoint": format!("{own}/end?keep=1"),
    }))
}

async fn keys(State(state): State<ProviderState>) -> Response {
    if let Some(answer) = fault(&state, "keys").await {
        return answer;
    }
    let mut script = state.1.lock().unwrap();
    script.key_requests += 1;
    let published = script.published.clone();
    let keys = published.unwrap_or_else(|| vec![script.key.clone()]);
    let keys: Vec<Value> = keys.iter().map(ProviderKey::jwk).collect();
    // One of a kind that nobody knows.
    let keys = [keys, vec![json!({"kty": "XYZ", "kid": "x"})]].concat();
    json_response(&json!({ "keys": keys }))
}

async fn token(
    State(state): State<ProviderState>,
    headers: http::HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(answer) = fault(&state, "token").await {
        return answer;
    }
    let sent = parse_form(std::str::from_utf8(&body).unwrap());
    let basic = headers["authorization"].to_str().unwrap();
    let pair = data_encoding::BASE64
        .decode(basic.strip_prefix("Basic ").unwrap().as_bytes())
        .unwrap();
    assert_eq!(pair, b"console:client%20secret%20%2B%20%2F%20%3A");
    assert_eq!(sent["grant_type"], "authorization_code");
    assert_eq!(sent["redirect_uri"], "http://console.test/oidc/callback");
    let mut script = state.1.lock().unwrap();
    // A code counts once.
    let granted = script.codes.remove(&sent["code"]);
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&sent["code_verifier"]));
    let Some((_, nonce, claims)) = granted.filter(|granted| granted.0 == challenge) else {
        let error = json!({"error": "invalid_grant"}).to_string();
        return (StatusCode::BAD_REQUEST, error).into_response();
    };
    let now = console_core::clock::now().unix_millis() / 1000;
    let mut all = json!({"iss": state.0, "aud": CLIENT_ID, "iat": now, "exp": now + 300,
        "auth_time": now, "nonce": nonce});
    for (name, value) in claims.as_object().unwrap() {
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
            value => all[name] = value.clone(),
        }
    }
    let made = (script.make_token)(&script.key, all);
    json_response(&json!({"access_token": "a", "token_type": "Bearer", "id_token": made}))
}

fn json_response(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

/// A form or query as a map; a name that occurs twice fails the test.
pub(super) fn parse_form(text: &str) -> BTreeMap<String, String> {
    let uri: http::Uri = format!("/?{text}").parse().unwrap();
    let axum::extract::Query(pairs) =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
    let count = pairs.len();
    let map: BTreeMap<String, String> = pairs.into_iter().collect();
    assert_eq!(map.len(), count, "{text}");
    map
}
