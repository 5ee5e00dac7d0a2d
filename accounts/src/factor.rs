//! The second factor: time-based one-time codes (RFC 6238) and recovery codes.
//!
//! Codes have six digits, are computed with HMAC-SHA-1 and change every 30 s, which every authenticator app supports.
//! Each step is accepted once, each recovery code as well; what was accepted is compared in etcd.

mod recovery;

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use data_encoding::BASE32_NOPAD;
use galera::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use super::records::UserName;
pub use recovery::{RECOVERY_CODES, RecoveryCodes};
use recovery::{normalize, recovery_hash};

/// Seconds for which a code is shown.
const STEP_SECONDS: i64 = 30;
/// Steps before and after the present one that are accepted, for clocks that differ.
const STEPS_TOLERATED: i64 = 1;
/// Digits of a code.
const DIGITS: usize = 6;
/// How long an enrolment waits for the first code.
pub(crate) const ENROLMENT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(900);

/// The secret that the console and an authenticator app share: 20 bytes, as many as SHA-1 uses (RFC 4226, section 4).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TotpSecret([u8; 20]);

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

impl Serialize for TotpSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.base32())
    }
}

impl<'de> Deserialize<'de> for TotpSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| de::Error::custom("not 20 bytes in base 32"))
    }
}

impl TotpSecret {
    fn generate() -> Self {
        Self(rand::random())
    }

    /// The secret as people type it into an app.
    pub(crate) fn base32(&self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// The secret as apps read it from a QR code. `issuer` and `account` are shown there.
    pub(crate) fn uri(&self, issuer: &str, account: &UserName) -> String {
        let issuer = encode(issuer);
        format!(
            "otpauth://totp/{issuer}:{}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
            encode(account.as_str()),
            self.base32(),
        )
    }

    /// The code of the step `step` (RFC 4226, section 5.3).
    fn code(&self, step: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag.last().copied().unwrap_or(0) & 0x0f);
        let number = tag
            .iter()
            .skip(offset)
            .take(4)
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        format!("{:0DIGITS$}", (number & 0x7fff_ffff) % 1_000_000)
    }

    /// The newest step near `now` whose code is `code`.
    fn matching_step(&self, code: &str, now: Timestamp) -> Option<u64> {
        let present = now.unix_millis().div_euclid(1000 * STEP_SECONDS);
        // Compares with every code, so that the time taken does not depend on which one matches.
        (-STEPS_TOLERATED..=STEPS_TOLERATED)
            .filter_map(|offset| u64::try_from(present + offset).ok())
            .filter(|step| {
                let expected = self.code(*step);
                constant_time::verify_slices_are_equal(expected.as_bytes(), code.as_bytes()).is_ok()
            })
            .fold(None, |_, step| Some(step))
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The second factor of an account, at `<state>/factors/<name>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FactorRecord {
    /// The enrolled factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveFactor>,
    /// An enrolment that waits for its first code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingFactor>,
}

/// An enrolled factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActiveFactor {
    /// As in the account's record.
    pub id: Uuid,
    pub secret: TotpSecret,
    pub enrolled_at: Timestamp,
    /// The newest step whose code was accepted; only later ones are.
    pub last_step: u64,
    /// SHA-256 of each unused recovery code.
    pub recovery_hashes: Vec<String>,
}

/// An enrolment that waits for its first code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingFactor {
    pub secret: TotpSecret,
    pub started_at: Timestamp,
}

impl PendingFactor {
    pub(crate) fn start(now: Timestamp) -> Self {
        Self {
            secret: TotpSecret::generate(),
            started_at: now,
        }
    }
}

/// Which kind of code was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// A code of the authenticator app.
    Totp,
    /// A recovery code; this many are left.
    Recovery { left: usize },
}

/// Why a code was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Neither a code of a current step nor an unused recovery code.
    #[error("the code is wrong")]
    Wrong,
    /// Right, but its step was accepted before.
    #[error("the code was used already")]
    Used,
}

impl ActiveFactor {
    /// The factor that `pending` becomes with `code`, its first one, and its recovery codes.
    ///
    /// # Errors
    /// [`CodeError::Wrong`].
    pub(crate) fn enrol(
        account: &UserName,
        pending: &PendingFactor,
        code: &str,
        now: Timestamp,
    ) -> Result<(Self, RecoveryCodes), CodeError> {
        let step = pending.secret.matching_step(&normalize(code), now);
        let codes = RecoveryCodes::generate();
        let factor = Self {
            id: Uuid::new_v4(),
            secret: pending.secret.clone(),
            enrolled_at: now,
            last_step: step.ok_or(CodeError::Wrong)?,
            recovery_hashes: codes.hashes(account),
        };
        Ok((factor, codes))
    }

    /// This factor after `code` was accepted.
    ///
    /// # Errors
    /// [`CodeError`].
    pub(crate) fn accept(
        &self,
        account: &UserName,
        code: &str,
        now: Timestamp,
    ) -> Result<(Self, CodeKind), CodeError> {
        let code = normalize(code);
        let mut next = self.clone();
        if code.len() == DIGITS && code.bytes().all(|byte| byte.is_ascii_digit()) {
            let step = self
                .secret
                .matching_step(&code, now)
                .ok_or(CodeError::Wrong)?;
            if step <= self.last_step {
                return Err(CodeError::Used);
            }
            next.last_step = step;
            return Ok((next, CodeKind::Totp));
        }
        if code.len() > 64 {
            return Err(CodeError::Wrong);
        }
        let hash = recovery_hash(account, &code);
        next.recovery_hashes.retain(|stored| *stored != hash);
        if next.recovery_hashes.len() == self.recovery_hashes.len() {
            return Err(CodeError::Wrong);
        }
        let left = next.recovery_hashes.len();
        Ok((next, CodeKind::Recovery { left }))
    }

    /// This factor with new recovery codes; the former ones are no longer valid.
    pub(crate) fn with_new_recovery_codes(&self, account: &UserName) -> (Self, RecoveryCodes) {
        let codes = RecoveryCodes::generate();
        let next = Self {
            recovery_hashes: codes.hashes(account),
            ..self.clone()
        };
        (next, codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dora() -> UserName {
        "dora".parse().unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1000)
    }

    fn enrolled(now: Timestamp) -> (ActiveFactor, Vec<String>) {
        let pending = PendingFactor::start(now);
        let code = code_at(&pending.secret, now);
        let (factor, codes) = ActiveFactor::enrol(&dora(), &pending, &code, now).unwrap();
        (factor, codes.into_codes())
    }

    fn code_at(secret: &TotpSecret, now: Timestamp) -> String {
        secret.code(u64::try_from(now.unix_millis() / 30_000).unwrap())
    }

    /// RFC 6238, appendix B; the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_standard() {
        let secret = TotpSecret(*b"12345678901234567890");
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(&secret, at(seconds)), code, "{seconds}");
        }
        assert_eq!(
            secret.uri("Galera Console", &dora()),
            "otpauth://totp/Galera%20Console:dora?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Galera%20Console&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn each_step_is_accepted_once_and_only_near_the_present() {
        let start = at(1_800_000_000);
        let (factor, _) = enrolled(start);
        let code = |seconds: i64| code_at(&factor.secret, at(1_800_000_000 + seconds));
        let accept = |factor: &ActiveFactor, code: &str, seconds: i64| {
            factor.accept(&dora(), code, at(1_800_000_000 + seconds))
        };
        assert_eq!(
            accept(&factor, &code(0), 0),
            Err(CodeError::Used),
            "the one it was enrolled with"
        );
        let (next, kind) = accept(&factor, &code(30), 0).unwrap();
        assert_eq!(kind, CodeKind::Totp, "one step ahead");
        assert_eq!(accept(&next, &code(30), 30), Err(CodeError::Used));
        assert_eq!(
            accept(&next, &code(0), 30),
            Err(CodeError::Used),
            "an earlier step"
        );
        assert_eq!(
            accept(&next, &code(120), 60),
            Err(CodeError::Wrong),
            "two steps ahead"
        );
        assert_eq!(
            accept(&next, &code(3600), 0),
            Err(CodeError::Wrong),
            "a clock off by an hour"
        );
        let spaced = format!(" {} {} ", &code(90)[..3], &code(90)[3..]);
        assert!(accept(&next, &spaced, 90).is_ok());
    }

    #[test]
    fn each_recovery_code_is_accepted_once_and_for_its_account_only() {
        let start = at(1_800_000_000);
        let (factor, codes) = enrolled(start);
        assert_eq!(codes.len(), RECOVERY_CODES);
        let typed = codes[3].replace('-', " ").to_lowercase();
        let (next, kind) = factor.accept(&dora(), &typed, start).unwrap();
        assert_eq!(
            kind,
            CodeKind::Recovery {
                left: RECOVERY_CODES - 1
            }
        );
        assert_eq!(
            next.accept(&dora(), &codes[3], start),
            Err(CodeError::Wrong)
        );
        assert!(
            factor
                .accept(&"emil".parse().unwrap(), &codes[4], start)
                .is_err()
        );
        let (renewed, others) = next.with_new_recovery_codes(&dora());
        assert!(renewed.accept(&dora(), &codes[4], start).is_err());
        assert!(
            renewed
                .accept(&dora(), &others.into_codes()[0], start)
                .is_ok()
        );
        for odd in [
            "",
            "------",
            "12345",
            "1234567",
            "١٢٣٤٥٦",
            &"A".repeat(10_000),
        ] {
            assert_eq!(
                factor.accept(&dora(), odd, start),
                Err(CodeError::Wrong),
                "{odd}"
            );
        }
    }

    #[test]
    fn stored_and_printed_records_reveal_no_recovery_code() {
        let (factor, codes) = enrolled(at(1_800_000_000));
        let json = serde_json::to_string(&factor).unwrap();
        assert!(
            codes
                .iter()
                .all(|code| !json.contains(code) && !json.contains(&normalize(code)))
        );
        assert_eq!(serde_json::from_str::<ActiveFactor>(&json).unwrap(), factor);
        assert!(!format!("{factor:?}").contains(&factor.secret.base32()));
        assert!(
            serde_json::from_str::<ActiveFactor>(&json.replace(&factor.secret.base32(), "AAAA"))
                .is_err()
        );
    }
}
