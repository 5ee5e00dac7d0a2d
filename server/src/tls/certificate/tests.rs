use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

use super::*;

/// Writes a certificate for `names`, and its key.
fn files(names: &[&str]) -> (TempDir, CertificateFiles) {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key);
    let files = CertificateFiles {
        certificate: dir.path().join("tls.crt"),
        key: dir.path().join("tls.key"),
    };
    std::fs::write(&files.certificate, certificate.unwrap().pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    (dir, files)
}

fn load(files: &CertificateFiles, host: &str) -> Result<CertificatePair, CertificateError> {
    load_certificate(files, Some(host), tls_files::clock_time())
}

fn refusal(files: &CertificateFiles, host: &str) -> String {
    load(files, host).unwrap_err().to_string()
}

#[test]
fn the_certificate_must_be_for_the_public_host() {
    let (_dir, files) = files(&["console.example.org", "*.apps.example.org", "10.0.0.7"]);
    for host in ["console.example.org", "a.apps.example.org", "10.0.0.7"] {
        load(&files, host).unwrap();
    }
    for host in [
        "example.org",
        "a.b.apps.example.org",
        "10.0.0.8",
        "[::1]",
        "no host",
    ] {
        let text = refusal(&files, host);
        assert!(text.contains(&format!("not for {host}")), "{text}");
        assert!(text.contains("--public-url"), "{text}");
    }
    let text = refusal(&files, "example.org");
    assert!(
        text.contains("is for console.example.org, *.apps.example.org, 10.0.0.7, not for"),
        "{text}"
    );
    let (_dir, nameless) = self::files(&[]);
    let text = refusal(&nameless, "example.org");
    assert!(text.contains("is for no host name or address"), "{text}");
}
