use std::os::unix::fs::PermissionsExt;

use galera::Timestamp;
use galera::observe::registration::{OrderClaims, OrderPurpose, OrderVerifier, SignatureCheck};

use super::*;

/// `openssl genpkey -algorithm ed25519`, and `openssl pkey -pubout` of it.
const OPENSSL_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEICinIDOu9YCi/5H7xGD6qwbLY1cUAQTOPi0MxLVRLmO2\n-----END PRIVATE KEY-----\n";
const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEACOZH9+u7UrGxg9zyev2kF7TAdUVL1wAwAW3RmPjtqgA=\n-----END PUBLIC KEY-----\n";
const EC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMummnbww1kkO8XJb2JJJ2XOhAwfC\nvcosDIwF+ZB2S/IqFMSfW8entedzoCxeN7Wgf5ibLLH3OdKObQ0ex/f+7g==\n-----END PUBLIC KEY-----\n";

fn claims() -> OrderClaims {
    OrderClaims {
        purpose: OrderPurpose::Bootstrap,
        registry: "/galera/".to_owned(),
        cluster: "lab".to_owned(),
        node: "n1".parse().unwrap(),
        data_id: "d1".to_owned(),
        position: "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:17".to_owned(),
        action_id: "a1".to_owned(),
        not_before: Timestamp::from_unix_millis(1_000),
        expires_at: Timestamp::from_unix_millis(2_000),
        fork_epoch: 0,
    }
}

fn check(
    keys: &TrustedKeys,
    key: &OrderSigningKey,
    claims: &OrderClaims,
    signature: &str,
) -> SignatureCheck {
    keys.verify(key.public().id(), &claims.to_signed_bytes(), signature)
}

#[test]
fn any_changed_claim_makes_the_signature_invalid() {
    let key = OrderSigningKey::generate().unwrap();
    let keys = TrustedKeys::from_pem(key.public().to_pem().as_bytes()).unwrap();
    let signature = key.sign(&claims());
    assert_eq!(
        check(&keys, &key, &claims(), &signature),
        SignatureCheck::Valid
    );
    let changes: [fn(&mut OrderClaims); 10] = [
        |claims| claims.purpose = OrderPurpose::Rejoin { ahead_of: 0 },
        |claims| claims.registry = "/other/".to_owned(),
        |claims| claims.cluster = "prod".to_owned(),
        |claims| claims.node = "n2".parse().unwrap(),
        |claims| claims.data_id = "d2".to_owned(),
        |claims| claims.position = claims.position.replace(":17", ":18"),
        |claims| claims.action_id = "a2".to_owned(),
        |claims| claims.not_before = Timestamp::from_unix_millis(999),
        |claims| claims.expires_at = Timestamp::from_unix_millis(2_001),
        |claims| claims.fork_epoch = 1,
    ];
    for change in changes {
        let mut changed = claims();
        change(&mut changed);
        assert_eq!(
            check(&keys, &key, &changed, &signature),
            SignatureCheck::Invalid,
            "{changed:?}"
        );
    }
}

#[test]
fn any_changed_byte_of_the_signature_makes_it_invalid() {
    let key = OrderSigningKey::generate().unwrap();
    let keys = TrustedKeys::from_pem(key.public().to_pem().as_bytes()).unwrap();
    let signature = key.sign(&claims());
    for at in 0..signature.len() {
        let mut wrong: Vec<char> = signature.chars().collect();
        wrong[at] = if wrong[at] == '0' { '1' } else { '0' };
        let wrong: String = wrong.into_iter().collect();
        assert_eq!(
            check(&keys, &key, &claims(), &wrong),
            SignatureCheck::Invalid
        );
    }
    for wrong in [
        "",
        "0",
        "zz",
        "é",
        &signature[2..],
        &format!("{signature}00"),
        &"0".repeat(128),
    ] {
        assert_eq!(
            check(&keys, &key, &claims(), wrong),
            SignatureCheck::Invalid,
            "{wrong}"
        );
    }
}

#[test]
fn two_keys_are_trusted_during_rotation_and_a_third_is_not() {
    let [old, new, foreign] = [(); 3].map(|()| OrderSigningKey::generate().unwrap());
    let both = format!(
        "# old\n{}# new\n{}",
        old.public().to_pem(),
        new.public().to_pem()
    );
    let keys = TrustedKeys::from_pem(both.as_bytes()).unwrap();
    assert_eq!(keys.key_ids(), [old.public().id(), new.public().id()]);
    for key in [&old, &new] {
        assert_eq!(
            check(&keys, key, &claims(), &key.sign(&claims())),
            SignatureCheck::Valid
        );
    }
    let signature = foreign.sign(&claims());
    assert_eq!(
        check(&keys, &foreign, &claims(), &signature),
        SignatureCheck::UnknownKey
    );
    // Under the name of a trusted key.
    assert_eq!(
        check(&keys, &old, &claims(), &signature),
        SignatureCheck::Invalid
    );
}

#[test]
fn files_of_openssl_are_read_and_written_the_same() {
    let key = OrderSigningKey::from_pem(OPENSSL_PRIVATE.as_bytes()).unwrap();
    assert_eq!(key.public().to_pem(), OPENSSL_PUBLIC);
    assert_eq!(key.to_pem().unwrap(), OPENSSL_PRIVATE);
    assert_eq!(key.public().id().len(), 16);
}

#[test]
fn wrong_files_name_what_is_wrong() {
    let private = |text: &str| OrderSigningKey::from_pem(text.as_bytes()).unwrap_err();
    let public = |text: &str| TrustedKeys::from_pem(text.as_bytes()).unwrap_err();
    assert_eq!(private(""), KeyError::NoKey);
    assert_eq!(private("not a key"), KeyError::NoKey);
    assert_eq!(private(OPENSSL_PUBLIC), KeyError::PublicInsteadOfPrivate);
    assert_eq!(
        private(&format!("{OPENSSL_PRIVATE}{OPENSSL_PRIVATE}")),
        KeyError::SeveralPrivateKeys
    );
    assert_eq!(
        private("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        KeyError::NotEd25519
    );
    assert_eq!(
        private("-----BEGIN PRIVATE KEY-----\nMC4C"),
        KeyError::InvalidPem
    );
    assert_eq!(public(""), KeyError::NoKey);
    assert_eq!(public(OPENSSL_PRIVATE), KeyError::PrivateInsteadOfPublic);
    assert_eq!(
        public(&format!("{OPENSSL_PUBLIC}{OPENSSL_PRIVATE}")),
        KeyError::PrivateInsteadOfPublic
    );
    assert_eq!(public(EC_PUBLIC), KeyError::NotEd25519);
    assert_eq!(
        public(&format!("{OPENSSL_PUBLIC}{EC_PUBLIC}")),
        KeyError::NotEd25519
    );
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("order.key");
    assert!(matches!(
        read_key_file(&path),
        Err(KeyFileError::Missing { .. })
    ));
    let key = create_key_file(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(read_key_file(&path).unwrap().public(), key.public());
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(
        create_key_file(&path),
        Err(KeyFileError::Exists { .. })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let error = read_key_file(&path).unwrap_err();
    assert!(
        matches!(error, KeyFileError::WorldReadable { mode: 0o644, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chmod 0600"), "{error}");
}
