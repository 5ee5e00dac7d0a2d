//! Certificates, keys and authorities of every connection.

use std::path::Path;

use testing::certificates::{
    FUTURE, TestAuthority, VALID, unusable_client_certificates, write_private,
};

use super::*;

/// A configuration with a client certificate for etcd or the databases.
fn with_client_certificate(
    section: &str,
    ca: &Path,
    certificate: &Path,
    key: &Path,
) -> InputsBuilder {
    let (ca, certificate, key) = (ca.display(), certificate.display(), key.display());
    file(&match section {
        "etcd" => format!(
            "[etcd]\nendpoints = [\"https://etcd1\"]\nca = \"{ca}\"\ncert = \"{certificate}\"\nkey = \"{key}\""
        ),
        _ => {
            format!("[mysql]\ntls_ca = \"{ca}\"\ntls_cert = \"{certificate}\"\ntls_key = \"{key}\"")
        }
    })
}

#[test]
fn a_client_certificate_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("lab");
    let ca = write_private(directory.path(), "ca.pem", authority.pem());
    let own = authority
        .issue("client", VALID)
        .write(directory.path(), "own");
    for section in ["etcd", "mysql"] {
        let good = with_client_certificate(section, &ca, &own.0, &own.1);
        assert_eq!(load(&good.inputs()).unwrap().warnings, []);
        for (certificate, key, words) in unusable_client_certificates(directory.path(), &authority)
        {
            let problems = with_client_certificate(section, &ca, &certificate, &key).problems();
            let [problem] = problems.as_slice() else {
                panic!("{problems:?}")
            };
            assert!(
                problem.starts_with(&format!("/etc/console.toml:{section}.")),
                "{problem}"
            );
            for words in words {
                assert!(problem.contains(words), "{words} is missing in: {problem}");
            }
        }
        let future = authority
            .issue("client", FUTURE)
            .write(directory.path(), "future");
        let early = with_client_certificate(section, &ca, &future.0, &future.1);
        let warnings = load(&early.inputs()).unwrap().warnings;
        assert!(
            warnings[0].message.contains("is not valid before 2089"),
            "{warnings:?}"
        );
    }
}

#[test]
fn authorities_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file_of = |name: &str, text: &str| {
        let path = write_private(directory.path(), name, text);
        path.display().to_string()
    };
    let empty = file_of("empty.pem", "\n");
    let key = file_of(
        "key.pem",
        &rcgen::KeyPair::generate().unwrap().serialize_pem(),
    );
    let broken = file_of(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    );
    for (path, words) in [
        (&empty, "it is empty"),
        (&key, "it has a private key"),
        (&broken, "certificate 1 of the file: "),
        (&"/nonexistent/ca.pem".to_owned(), "does not exist"),
    ] {
        for (text, origin) in [
            (
                format!("[etcd]\nendpoints = [\"https://etcd1\"]\nca = \"{path}\""),
                "etcd.ca",
            ),
            (format!("[mysql]\ntls_ca = \"{path}\""), "mysql.tls_ca"),
            (format!("[notify]\nca = \"{path}\""), "notify.ca"),
        ] {
            let problems = file(&text).problems();
            let [problem] = problems.as_slice() else {
                panic!("{problems:?}")
            };
            let start = format!("/etc/console.toml:{origin}: {path}");
            assert!(problem.starts_with(&start), "{problem}");
            assert!(problem.contains(words), "{words} is missing in: {problem}");
        }
    }
}
