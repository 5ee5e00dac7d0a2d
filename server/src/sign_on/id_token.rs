//! Verifies ID tokens and logout tokens: the signature with a key of the provider, then every claim that decides about trust.

use std::time::Duration;

use galera::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};

/// Longest token, in bytes.
const TOKEN_MAX: usize = 768 * 1024;
/// Tolerated difference of the clocks.
pub(super) const SKEW: Duration = Duration::from_secs(60);
/// How old a token may be that has just been issued.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Longest issuer or subject, in bytes (OpenID Connect Core, section 2).
const SUBJECT_MAX: usize = 255;
/// Signatures that are accepted: asymmetric ones only.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
/// The event of a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenFault {
    /// No key of the provider has this name: it may have new keys.
    #[error("the token is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("the token is not a signed token of OpenID Connect ({0})")]
    Malformed(String),
    #[error("the token is signed with {0}; RS256, ES256 and EdDSA are accepted")]
    Algorithm(String),
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("{0} of the token is missing or not as expected")]
    Claim(&'static str),
    #[error("the token is expired, or the clocks of the provider and this machine differ: {0}")]
    Clock(&'static str),
}

/// What every token must be.
pub(super) struct TokenExpectation<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) now: Timestamp,
}

/// The header of `token`, if its algorithm is accepted.
pub(super) fn header(token: &str) -> Result<Header, TokenFault> {
    if token.len() > TOKEN_MAX {
        return Err(TokenFault::Malformed("it is too long".to_owned()));
    }
    let header =
        jsonwebtoken::decode_header(token).map_err(|error| match algorithm_name(token) {
            Some(name) => TokenFault::Algorithm(name),
            None => TokenFault::Malformed(error.to_string()),
        })?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(TokenFault::Algorithm(format!("{:?}", header.alg)));
    }
    // An extension that must be understood (RFC 7515, section 4.1.11).
    if raw_header(token).is_some_and(|header| header.contains_key("crit")) {
        return Err(TokenFault::Malformed(
            "it has critical extensions".to_owned(),
        ));
    }
    Ok(header)
}

fn raw_header(token: &str) -> Option<Map<String, Value>> {
    let (header, _) = token.split_once('.')?;
    let header = data_encoding::BASE64URL_NOPAD
        .decode(header.as_bytes())
        .ok()?;
    serde_json::from_slice(&header).ok()
}

/// An algorithm that the library does not know, such as `none`.
fn algorithm_name(token: &str) -> Option<String> {
    let name = raw_header(token)?.get("alg")?.as_str()?.to_owned();
    Some(
        name.chars()
            .filter(char::is_ascii_graphic)
            .take(20)
            .collect(),
    )
}

/// The claims of `token`, if a key of `keys` signed it.
pub(super) fn verify_signature(
    token: &str,
    keys: &JwkSet,
) -> Result<Map<String, Value>, TokenFault> {
    let header = header(token)?;
    let mut usable = keys.keys.iter().filter(|key| is_usable(key, header.alg));
    let key = match &header.kid {
        Some(kid) => usable.find(|key| key.common.key_id.as_ref() == Some(kid)),
        None => match (usable.next(), usable.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        },
    };
    let key = key.ok_or(TokenFault::UnknownKey)?;
    let decoding = DecodingKey::from_jwk(key).map_err(|_| TokenFault::UnknownKey)?;
    let mut validation = Validation::new(header.alg);
    // Claims are checked below, with one clock and one error each.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &decoding, &validation);
    decoded.map(|data| data.claims).map_err(|error| {
        use jsonwebtoken::errors::ErrorKind;
        match error.kind() {
            ErrorKind::InvalidSignature => TokenFault::Signature,
            kind => TokenFault::Malformed(format!("{kind:?}").chars().take(100).collect()),
        }
    })
}

/// Whether `key` may have made signatures of `algorithm`.
fn is_usable(key: &Jwk, algorithm: Algorithm) -> bool {
    let common = &key.common;
    let signs = !matches!(common.public_key_use, Some(PublicKeyUse::Encryption));
    let named = common
        .key_algorithm
        .as_ref()
        .is_none_or(|name| name.to_string() == format!("{algorithm:?}"));
    let family = match &key.algorithm {
        AlgorithmParameters::RSA(_) => algorithm == Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) => {
            algorithm == Algorithm::ES256 && curve.curve == jsonwebtoken::jwk::EllipticCurve::P256
        }
        AlgorithmParameters::OctetKeyPair(pair) => {
            algorithm == Algorithm::EdDSA && pair.curve == jsonwebtoken::jwk::EllipticCurve::Ed25519
        }
        _ => false,
    };
    signs && named && family
}

/// Checks who issued the claims, for whom, and when.
pub(super) fn check_claims(
    claims: &Map<String, Value>,
    expected: &TokenExpectation<'_>,
) -> Result<(), TokenFault> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(TokenFault::Claim("the issuer (iss)"));
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) if list.len() <= 32 => {
            list.iter().filter_map(Value::as_str).collect()
        }
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client_id) {
        return Err(TokenFault::Claim("the audience (aud)"));
    }
    let party = claims.get("azp");
    let is_party = party.and_then(Value::as_str) == Some(expected.client_id);
    if !is_party && (party.is_some() || audience.len() > 1) {
        return Err(TokenFault::Claim("the authorized party (azp)"));
    }
    let now = expected.now;
    let issued = time(claims, "iat").ok_or(TokenFault::Claim("the time of issue (iat)"))?;
    if issued > now.plus(SKEW) {
        return Err(TokenFault::Clock("it is issued in the future (iat)"));
    }
    if issued.age(now) > AGE_MAX + SKEW {
        return Err(TokenFault::Clock("it was issued long ago (iat)"));
    }
    if time(claims, "nbf").is_some_and(|at| at > now.plus(SKEW)) {
        return Err(TokenFault::Clock("it is not valid yet (nbf)"));
    }
    match (claims.contains_key("exp"), time(claims, "exp")) {
        (true, None) => return Err(TokenFault::Claim("the expiry (exp)")),
        (_, Some(at)) if at.plus(SKEW) <= now => {
            return Err(TokenFault::Clock("it has expired (exp)"));
        }
        _ => {}
    }
    Ok(())
}

/// The claim `name` as a time.
pub(super) fn time(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let value = claims.get(name)?;
    let seconds = match value.as_i64() {
        Some(seconds) => seconds,
        // Some providers send fractions.
        None => {
            let seconds = value.as_f64().filter(|seconds| seconds.abs() < 1e12)?;
            #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
            let seconds = seconds as i64;
            seconds
        }
    };
    (0..=253_402_300_799)
        .contains(&seconds)
        .then(|| Timestamp::from_unix_millis(seconds * 1000))
}

/// The subject of the claims.
pub(super) fn subject(claims: &Map<String, Value>) -> Option<&str> {
    let subject = claims.get("sub").and_then(Value::as_str)?;
    (!subject.is_empty() && subject.len() <= SUBJECT_MAX && !subject.chars().any(char::is_control))
        .then_some(subject)
}

/// Checks the claims of an ID token for the sign-in with `nonce`.
pub(super) fn check_id_token(
    claims: &Map<String, Value>,
    expected: &TokenExpectation<'_>,
    nonce: &str,
) -> Result<(), TokenFault> {
    check_claims(claims, expected)?;
    if !claims.contains_key("exp") {
        return Err(TokenFault::Claim("the expiry (exp)"));
    }
    if claims.get("nonce").and_then(Value::as_str) != Some(nonce) {
        return Err(TokenFault::Claim("the nonce"));
    }
    // A logout token is no proof of a sign-in.
    if claims.contains_key("events") {
        return Err(TokenFault::Claim("the kind (events)"));
    }
    subject(claims).ok_or(TokenFault::Claim("the subject (sub)"))?;
    Ok(())
}

/// Checks the claims of a logout token, and returns its id.
pub(super) fn check_logout_token<'a>(
    claims: &'a Map<String, Value>,
    expected: &TokenExpectation<'_>,
) -> Result<&'a str, TokenFault> {
    check_claims(claims, expected)?;
    let event = claims
        .get("events")
        .and_then(|events| events.get(LOGOUT_EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(TokenFault::Claim("the kind (events)"));
    }
    if claims.contains_key("nonce") {
        return Err(TokenFault::Claim(
            "the nonce, which a logout token must not have,",
        ));
    }
    let session = claims.get("sid").and_then(Value::as_str);
    if subject(claims).is_none() && session.is_none_or(str::is_empty) {
        return Err(TokenFault::Claim("the subject (sub) or session (sid)"));
    }
    let id = claims.get("jti").and_then(Value::as_str);
    id.filter(|id| !id.is_empty() && id.len() <= 1_000)
        .ok_or(TokenFault::Claim("the id (jti)"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);

    fn good() -> Map<String, Value> {
        let now = NOW.unix_millis() / 1000;
        let claims = json!({
            "iss": "https://idp", "sub": "u1", "aud": "console", "exp": now + 300, "iat": now, "nonce": "n",
        });
        claims.as_object().unwrap().clone()
    }

    fn check(changes: &Value) -> Result<(), TokenFault> {
        let mut claims = good();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        let expected = TokenExpectation {
            issuer: "https://idp",
            client_id: "console",
            now: NOW,
        };
        check_id_token(&claims, &expected, "n")
    }

    #[test]
    fn every_claim_that_decides_about_trust_is_checked() {
        let now = NOW.unix_millis() / 1000;
        for good in [
            json!({}),
            json!({"aud": ["console"]}),
            json!({"aud": ["console", "api"], "azp": "console"}),
            json!({"azp": "console"}),
            json!({"exp": now - 59}),
            json!({"iat": now + 59}),
            json!({"iat": now as f64 + 0.5}),
            json!({"nbf": now + 59}),
        ] {
            assert_eq!(check(&good), Ok(()), "{good}");
        }
        for bad in [
            json!({"iss": "https://idp/"}),
            json!({"iss": null}),
            json!({"iss": ["https://idp"]}),
            json!({"aud": "other"}),
            json!({"aud": null}),
            json!({"aud": []}),
            json!({"aud": {"console": true}}),
            json!({"aud": ["console", "api"]}),
            json!({"aud": ["console", "api"], "azp": "api"}),
            json!({"azp": "api"}),
            json!({"azp": 7}),
            json!({"exp": now - 60}),
            json!({"exp": null}),
            json!({"exp": "never"}),
            json!({"exp": -1}),
            json!({"exp": 1e300}),
            json!({"iat": null}),
            json!({"iat": now + 61}),
            json!({"iat": now - 661}),
            json!({"nbf": now + 61}),
            json!({"nonce": "m"}),
            json!({"nonce": null}),
            json!({"nonce": ["n"]}),
            json!({"sub": null}),
            json!({"sub": ""}),
            json!({"sub": 7}),
            json!({"sub": "a\nb"}),
            json!({"sub": "x".repeat(256)}),
            json!({"events": {LOGOUT_EVENT: {}}}),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_algorithm_without_a_public_key_is_refused() {
        use data_encoding::BASE64URL_NOPAD;
        for algorithm in ["none", "None", "HS256", "HS512", "RS512", "PS256", "x"] {
            let header = json!({"alg": algorithm}).to_string();
            let token = format!("{}.e30.", BASE64URL_NOPAD.encode(header.as_bytes()));
            let fault = super::header(&token).unwrap_err();
            assert_eq!(fault, TokenFault::Algorithm(algorithm.to_owned()));
        }
        for token in ["", "a.b.c", "....", "ä"] {
            assert!(matches!(
                super::header(token),
                Err(TokenFault::Malformed(_))
            ));
        }
    }
}
