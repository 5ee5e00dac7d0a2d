//! What the manifests in `deploy/` start: environment and arguments of a container or unit, read from the forms that these
//! files have. Any other form fails the test, so that nothing is overlooked.

use std::path::{Path, PathBuf};

use crate::certificates::{TestAuthority, VALID, write_private};

/// A file of `deploy/`.
pub fn deploy_file(name: &str) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    std::fs::read_to_string(deploy.join(name)).unwrap()
}

/// The lines below `key`, the first one after the line `start`: as pairs of name and value. Entries of a list without names
/// have empty ones.
pub fn entries(text: &str, start: &str, key: &str) -> Vec<(String, String)> {
    let mut lines = text.lines().skip_while(|line| line.trim() != start);
    let from = lines.find(|line| line.trim() == key);
    let from = from.unwrap_or_else(|| panic!("no {key} after {start}"));
    let indent = |line: &str| line.len() - line.trim_start().len();
    let below = lines.take_while(|line| line.trim().is_empty() || indent(line) > indent(from));
    let mut found: Vec<(String, String)> = Vec::new();
    let mut pending = None;
    for line in below.map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let flow = line.strip_prefix("- {name: ");
        if let Some(pair) = flow.and_then(|rest| rest.strip_suffix('}')) {
            let (name, value) = pair.split_once(", value: ").unwrap();
            found.push((name.to_owned(), plain(value)));
        } else if let Some(name) = line.strip_prefix("- name: ") {
            pending = Some(name.to_owned());
        } else if let Some(item) = line.strip_prefix("- ") {
            found.push((String::new(), plain(item)));
        } else {
            let (name, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("an unknown form: {line}"));
            let name = match name {
                "value" | "valueFrom" => pending.take().unwrap(),
                name => name.to_owned(),
            };
            found.push((name, plain(value)));
        }
    }
    assert!(!found.is_empty(), "nothing below {key} after {start}");
    found
}

/// A scalar without its quotes, and with the default of a variable.
fn plain(value: &str) -> String {
    let mut rest = value.trim_matches('"');
    let mut text = String::new();
    while let Some((before, variable)) = rest.split_once("${") {
        let (variable, after) = variable.split_once('}').unwrap();
        text.push_str(before);
        text.push_str(variable.split_once(":-").unwrap().1);
        rest = after;
    }
    text + rest
}

/// The files that deployments mount as secrets, with a certificate of etcd for one address.
pub struct DeploymentSecrets {
    directory: tempfile::TempDir,
}

impl DeploymentSecrets {
    /// Creates them. `orders` are the private and the public key of orders, `state` the state secret.
    pub fn create(etcd_address: &str, orders: (&str, &str), state: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("Galera Console deployment");
        let etcd = authority.issue(etcd_address, VALID);
        let console = authority.issue("galera.example.org", VALID);
        for (name, text) in [
            ("etcd-ca", authority.pem()),
            ("etcd-cert", &etcd.certificate),
            ("etcd-key", &etcd.key),
            ("console-cert", &console.certificate),
            ("console-key", &console.key),
            ("tls.crt", &console.certificate),
            ("tls.key", &console.key),
            ("order-key", orders.0),
            ("order-public-key", orders.1),
            ("state-secret", state),
            ("metrics-token", "a-token-of-at-least-16"),
        ] {
            write_private(directory.path(), name, text);
        }
        for name in [
            "etcd-root",
            "etcd-console",
            "etcd-agent",
            "mysql-root",
            "state-transfer",
            "console",
            "recovery",
        ] {
            write_private(directory.path(), name, &format!("secret-of-{name}"));
        }
        Self { directory }
    }

    /// The file of a secret.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Arguments of an etcd with these certificates.
    pub fn etcd_arguments(&self) -> Vec<String> {
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.path(name).display());
        vec![file("cert-file", "etcd-cert"), file("key-file", "etcd-key")]
    }

    /// A value with the paths of mounted secrets replaced by these files. Swarm's secrets have a prefix.
    pub fn replaced(&self, value: &str) -> String {
        let Some((before, path)) = value.split_once("/run/secrets/") else {
            return value.to_owned();
        };
        let name = path.rsplit('/').next().unwrap();
        let name = name.strip_prefix("galera-").unwrap_or(name);
        let path = self.path(name);
        assert!(
            path.exists(),
            "{value} is a secret that deploy/secrets does not make"
        );
        format!("{before}{}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_manifests_are_read() {
        let compose = "a:\n  environment:\n    X: 1\nb:\n  # no\n  environment:\n    # no\n    Y: ${Z:-two} and ${V:-}\n    W: \"3\"\n  ports: []\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            entries(compose, "b:", "environment:"),
            [pair("Y", "two and "), pair("W", "3")]
        );
        let pod = "- name: c\n  env:\n    - name: A\n      value: https://a\n    - {name: B, value: \"b: c\"}\n  args:\n    - serve\n";
        assert_eq!(
            entries(pod, "- name: c", "env:"),
            [pair("A", "https://a"), pair("B", "b: c")]
        );
        assert_eq!(entries(pod, "- name: c", "args:"), [pair("", "serve")]);
    }
}
