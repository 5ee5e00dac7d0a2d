use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// Writes a certificate for `names` that is valid in `years`, and its key.
fn files(names: &[&str], years: (i32, i32)) -> (TempDir, CertificateFiles) {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let files = CertificateFiles {
        certificate: dir.path().join("tls.crt"),
        key: dir.path().join("tls.key"),
    };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    write_key(&files.key, &key.serialize_pem(), 0o600);
    (dir, files)
}

fn write_key(path: &Path, pem: &str, mode: u32) {
    std::fs::write(path, pem).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

const NOW: &str = "2026-06-01T00:00:00Z";

fn refusal(files: &CertificateFiles) -> String {
    let error = CertificatePair::load(files, at(NOW)).unwrap_err();
    error.to_string()
}

#[test]
fn the_dates_of_a_certificate_are_known() {
    let (_dir, files) = files(&["console.example.org"], (2026, 2027));
    let load = |now| CertificatePair::load(&files, at(now));
    let certificate = load(NOW).unwrap();
    assert_eq!(certificate.expires_at, Some(at("2027-01-01T00:00:00Z")));
    assert_eq!(certificate.valid_from, None);
    assert_eq!(
        certificate.remaining(at("2026-12-31T00:00:00Z")),
        Some(Duration::from_secs(86_400))
    );
    // The clock of this machine may be wrong: a certificate of the future is no error.
    let early = load("2025-12-31T23:00:00Z").unwrap();
    assert_eq!(early.valid_from, Some(at("2026-01-01T00:00:00Z")));
    let error = load("2027-01-01T00:00:01Z").unwrap_err();
    assert!(
        matches!(&error, TlsFileError::Expired { expired_at, .. } if *expired_at == at("2027-01-01T00:00:00Z")),
        "{error}"
    );
}

#[test]
fn a_certificate_without_expiry_has_none() {
    let (_dir, files) = files(&["console.example.org"], (2020, 9999));
    let forever = CertificatePair::load(&files, at("2026-06-01T00:00:00Z")).unwrap();
    assert!(forever.remaining(at(NOW)).unwrap() > Duration::from_secs(1000 * 86_400));
}

#[test]
fn what_cannot_be_used_is_named() {
    let (_dir, good) = files(&["console.example.org"], (2020, 2030));
    let (_other, other) = files(&["console.example.org"], (2020, 2030));
    let text = refusal(&CertificateFiles {
        key: other.key.clone(),
        ..good.clone()
    });
    assert!(text.contains("does not fit the certificate"), "{text}");
    let with = |certificate: &Path, key: &Path| CertificateFiles {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    for (files, words) in [
        (
            with(&good.key, &good.key),
            "has no certificate that can be used",
        ),
        (with(&good.certificate, &good.certificate), "run chmod 0600"),
        (
            with(Path::new("/nonexistent/c"), &good.key),
            "/nonexistent/c does not exist",
        ),
        (
            with(&good.certificate, Path::new("/nonexistent/k")),
            "/nonexistent/k does not exist",
        ),
        (
            with(Path::new("/dev/zero"), &good.key),
            "is not a regular file",
        ),
        (with(Path::new("/"), &good.key), "is not a regular file"),
    ] {
        let text = refusal(&files);
        assert!(text.contains(words), "{words} is missing in: {text}");
    }
    for text in [
        "",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "\u{0}\u{1}",
    ] {
        write_key(&other.key, text, 0o600);
        let error = CertificatePair::load(&other, at(NOW)).unwrap_err();
        assert!(matches!(error, TlsFileError::NoKey { .. }), "{error}");
        assert!(error.concerns_key());
    }
    std::fs::write(
        &other.certificate,
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    write_key(
        &other.key,
        &std::fs::read_to_string(&good.key).unwrap(),
        0o600,
    );
    let text = refusal(&other);
    assert!(
        text.contains("has no certificate that can be used"),
        "{text}"
    );
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (_dir, files) = files(&["console.example.org"], (2020, 2030));
    let pem = std::fs::read_to_string(&files.key).unwrap();
    for mode in [0o644, 0o604, 0o660, 0o620] {
        write_key(&files.key, &pem, mode);
        let text = refusal(&files);
        assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
    }
    for mode in [0o600, 0o400, 0o440, 0o640] {
        write_key(&files.key, &pem, mode);
        CertificatePair::load(&files, at(NOW)).unwrap();
    }
}
