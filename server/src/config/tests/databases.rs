//! TLS to the databases, and the recovery account.

use super::*;

#[test]
fn tls_to_the_databases_needs_an_authority() {
    let (certificate, key) = certificate_files();
    let (ca, key) = (certificate.path().display(), key.path().display());
    let tls = |text: String| load(&file(&format!("[mysql]\n{text}")).inputs()).map(|c| c.mysql.tls);
    let settings = TlsSettings::new(certificate.path());
    assert_eq!(tls(String::new()).unwrap(), Tls::Off);
    assert_eq!(
        tls(format!("tls_ca = \"{ca}\"")).unwrap(),
        Tls::Required(settings.clone())
    );
    assert_eq!(
        tls(format!("tls = \"preferred\"\ntls_ca = \"{ca}\"")).unwrap(),
        Tls::Preferred(settings)
    );
    assert_eq!(
        tls(format!("tls = \"off\"\ntls_ca = \"{ca}\"")).unwrap(),
        Tls::Off
    );
    for (text, words) in [
        ("tls = \"required\"".to_owned(), "requires --mysql-tls-ca"),
        ("tls = \"preferred\"".to_owned(), "requires --mysql-tls-ca"),
        ("tls = \"on\"".to_owned(), "off, preferred or required"),
        (
            "tls_verify = \"identity\"".to_owned(),
            "requires --mysql-tls-ca",
        ),
        (
            format!("tls_ca = \"{ca}\"\ntls_verify = \"no\""),
            "ca or identity",
        ),
        (
            format!("tls_ca = \"{ca}\"\ntls_cert = \"{ca}\""),
            "requires --mysql-tls-key",
        ),
        (
            format!("tls_ca = \"{ca}\"\ntls_key = \"{key}\""),
            "requires --mysql-tls-cert",
        ),
        (format!("tls_ca = \"{key}\""), "it has a private key"),
        (
            format!("tls_ca = \"{ca}\"\ntls_cert = \"{ca}\"\ntls_key = \"{ca}\""),
            "that can be used",
        ),
    ] {
        let error = tls(text.clone()).unwrap_err().to_string();
        assert!(
            error.contains(words),
            "{text}: {words} is missing in: {error}"
        );
    }
}

#[test]
fn the_recovery_account_warns_without_verified_tls() {
    let (certificate, _) = certificate_files();
    let ca = certificate.path().display();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "hunter2\n").unwrap();
    let path = secret.path().display();
    let preferred = format!("tls = \"preferred\"\ntls_ca = \"{ca}\"");
    let required = format!("tls_ca = \"{ca}\"");
    for (mysql, transport, words) in [
        (
            "",
            "verified",
            Some("SQL actions are unavailable for nodes on other hosts"),
        ),
        ("", "any", Some("without verified TLS")),
        (preferred.as_str(), "verified", None),
        (preferred.as_str(), "any", Some("without verified TLS")),
        (required.as_str(), "verified", None),
        (required.as_str(), "any", None),
    ] {
        let text = format!(
            "[mysql]\n{mysql}\n[recovery]\nuser = \"recovery\"\npassword_file = \"{path}\"\ntransport = \"{transport}\""
        );
        let config = load(&file(&text).inputs()).unwrap();
        let warnings: Vec<&str> = config.warnings.iter().map(|w| w.message.as_str()).collect();
        match words {
            Some(words) => assert!(
                warnings.len() == 1 && warnings[0].contains(words),
                "{warnings:?}"
            ),
            None => assert!(warnings.is_empty(), "{warnings:?}"),
        }
    }
}

#[test]
fn unencrypted_traffic_is_warned_about() {
    for (listen, url, warned) in [
        ("127.0.0.1:3000", None, false),
        ("0.0.0.0:3000", None, true),
        ("0.0.0.0:3000", Some("https://console.example.org"), false),
        ("127.0.0.1:3000", Some("http://console.example.org"), true),
        ("0.0.0.0:3000", Some("http://localhost:3000"), false),
    ] {
        let mut given = flags(&[("listen", listen)]);
        given.flags.extend(url.map(|url| ("public-url", url)));
        let config = load(&given.inputs()).unwrap();
        assert_eq!(!config.warnings.is_empty(), warned, "{listen} {url:?}");
    }
}

#[test]
fn passwords_lose_only_their_trailing_line_break() {
    for (content, expected) in [
        ("pass word \n", "pass word "),
        ("pass\r\n", "pass"),
        (" pass", " pass"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, content).unwrap();
        assert_eq!(read_password(file.path()).unwrap().expose(), expected);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "one\ntwo\n").unwrap();
    assert!(
        read_password(file.path())
            .unwrap_err()
            .contains("more than one line")
    );
}
