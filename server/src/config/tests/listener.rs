//! TLS, hosts and the token of /metrics.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// A certificate and its key in files.
pub(super) struct ListenerFiles {
    dir: TempDir,
}

impl ListenerFiles {
    pub(super) fn cert(&self) -> String {
        self.dir.path().join("tls.crt").display().to_string()
    }

    pub(super) fn key(&self) -> String {
        self.dir.path().join("tls.key").display().to_string()
    }

    fn set(&self, name: &str, text: &str, mode: u32) {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn settings(&self, more: &str) -> InputsBuilder {
        let (cert, key) = (self.cert(), self.key());
        file(&format!(
            "{more}\n[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n"
        ))
    }
}

/// A certificate for `names` that is valid for a century.
pub(super) fn files(names: &[&str]) -> ListenerFiles {
    files_until(names, 2090)
}

fn files_until(names: &[&str], year: i32) -> ListenerFiles {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = ListenerFiles { dir };
    files.set("tls.crt", &certificate.pem(), 0o644);
    files.set("tls.key", &key.serialize_pem(), 0o600);
    files
}

#[test]
fn tls_of_the_listener_is_checked_before_the_start() {
    let good = files(&["console.example.org"]);
    let url = |url: &str| format!("listen = \"0.0.0.0:443\"\npublic_url = \"{url}\"");
    let config = load(&good.settings(&url("https://console.example.org")).inputs()).unwrap();
    assert!(config.http.tls.is_some());
    assert_eq!(config.warnings, []);
    // Without a public URL nothing crosses the network unencrypted either.
    let config = load(&good.settings("listen = \"0.0.0.0:443\"").inputs()).unwrap();
    assert_eq!(config.warnings, []);

    let expired = files_until(&["console.example.org"], 2021);
    let exposed = files(&["console.example.org"]);
    std::fs::set_permissions(exposed.key(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mismatched = files(&["console.example.org"]);
    let other_key = std::fs::read_to_string(good.key()).unwrap();
    mismatched.set("tls.key", &other_key, 0o600);
    for (files, public, origin, words) in [
        (
            &good,
            "https://other.example.org",
            "tls.cert",
            "is for console.example.org, not for other.example.org, the host of --public-url",
        ),
        (
            &good,
            "http://console.example.org",
            "public_url",
            "use https://console.example.org",
        ),
        (
            &expired,
            "https://console.example.org",
            "tls.cert",
            "expired at 2021-01-01T00:00:00Z",
        ),
        (
            &exposed,
            "https://console.example.org",
            "tls.key",
            "run chmod 0600",
        ),
        (
            &mismatched,
            "https://console.example.org",
            "tls.key",
            "does not fit the certificate",
        ),
    ] {
        let problems = files.settings(&url(public)).problems();
        let [problem] = problems.as_slice() else {
            panic!("{problems:?}")
        };
        assert!(
            problem.starts_with(&format!("/etc/console.toml:{origin}: ")),
            "{problem}"
        );
        assert!(problem.contains(words), "{words} is missing in: {problem}");
    }
    let half = file(&format!("[tls]\ncert = \"{}\"", good.cert())).problems();
    assert!(half[0].contains("requires --tls-key"), "{half:?}");
    let half = file(&format!("[tls]\nkey = \"{}\"", good.key())).problems();
    assert!(half[0].contains("requires --tls-cert"), "{half:?}");
}

#[test]
fn a_certificate_that_expires_soon_is_warned_about() {
    let files = files(&["console.example.org"]);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["console.example.org".to_owned()]).unwrap();
    params.not_after = (std::time::SystemTime::now() + Duration::from_secs(10 * 86_400)).into();
    files.set("tls.crt", &params.self_signed(&key).unwrap().pem(), 0o644);
    files.set("tls.key", &key.serialize_pem(), 0o600);
    let config = load(&files.settings("").inputs()).unwrap();
    let [warning] = config.warnings.as_slice() else {
        panic!("{:?}", config.warnings)
    };
    assert!(warning.message.contains("expires at 20"), "{warning}");
}

#[test]
fn hosts_have_no_scheme_and_no_wildcard() {
    let config = load(&flags(&[("allowed-hosts", "console, 10.0.0.7:3000,::1")]).inputs()).unwrap();
    assert_eq!(config.http.allowed_hosts.len(), 3);
    for bad in [
        "https://console",
        "*.example.org",
        "console/",
        "a b",
        "x:0x",
    ] {
        let problems = flags(&[("allowed-hosts", bad)]).problems();
        assert!(problems[0].contains("is not a host"), "{problems:?}");
    }
}

#[test]
fn a_metrics_token_is_long_and_on_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let given = file(&format!("metrics_token_file = \"{}\"", path.display()));
    for (text, words) in [
        ("", "is empty"),
        ("short\n", "at least 16 printable characters"),
        ("0123456789 abcdef\n", "without spaces"),
        ("0123456789abcdef\nsecond\n", "more than one line"),
    ] {
        std::fs::write(&path, text).unwrap();
        let problems = given.problems();
        assert!(problems[0].contains(words), "{problems:?}");
    }
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    let config = load(&given.inputs()).unwrap();
    assert_eq!(
        config.http.metrics_token.unwrap().expose(),
        "0123456789abcdef"
    );
    assert!(!format!("{:?}", load(&given.inputs()).unwrap()).contains("0123456789abcdef"));
}
