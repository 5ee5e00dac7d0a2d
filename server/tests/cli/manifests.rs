//! The program starts with the environment and the arguments of each manifest in `deploy/`, against an etcd with TLS whose
//! accounts the manifest's own job creates.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use testing::certificates::write_private;
use testing::etcd::{EtcdCluster, loopback_address};
use testing::manifests::{DeploymentSecrets, deploy_file, entries};

use crate::etcd::{eventually, free_ports};
use crate::program::{code_and_output, console_command, site};

type Variables = Vec<(String, String)>;

/// What a manifest starts of the console.
struct Deployment {
    name: &'static str,
    /// Environment and arguments of the job that creates etcd's accounts.
    accounts: (Variables, Vec<String>),
    /// Environment of the console.
    console: Variables,
}

fn arguments(entries: Variables) -> Vec<String> {
    entries.into_iter().map(|(_, argument)| argument).collect()
}

fn deployments() -> Vec<Deployment> {
    let compose = |name: &'static str, file: &str, further: &[&str]| {
        let text = deploy_file(file);
        let mut console = entries(&text, "console:", "environment:");
        for file in further {
            console.extend(entries(&deploy_file(file), "console:", "environment:"));
        }
        Deployment {
            name,
            accounts: (
                entries(&text, "etcd-accounts:", "environment:"),
                arguments(entries(&text, "etcd-accounts:", "command:")),
            ),
            console,
        }
    };
    let etcd = deploy_file("kubernetes/etcd.yaml");
    // What scripts/test-chart recorded of the Helm chart.
    let chart = deploy_file("../tests/chart/rendered.yaml");
    let chart_with_sign_on = deploy_file(CHART_WITH_SIGN_ON);
    let pod = "- name: etcd-accounts";
    vec![
        compose("Compose", "compose.yaml", &[]),
        compose("Swarm", "stack.yaml", &[]),
        compose("Swarm with TLS", "stack.yaml", &["stack.tls.yaml"]),
        Deployment {
            name: "Kubernetes",
            accounts: (
                entries(&etcd, pod, "env:"),
                arguments(entries(&etcd, pod, "args:")),
            ),
            console: entries(
                &deploy_file("kubernetes/console.yaml"),
                "- name: console",
                "env:",
            ),
        },
        Deployment {
            name: "Helm",
            accounts: (
                entries(&chart, pod, "env:"),
                arguments(entries(&chart, pod, "args:")),
            ),
            console: entries(&chart, "- name: console", "env:"),
        },
        Deployment {
            name: "Helm with sign-on",
            // Its etcd is an external one, whose accounts are the same.
            accounts: (
                entries(&chart, pod, "env:"),
                arguments(entries(&chart, pod, "args:")),
            ),
            console: entries(&chart_with_sign_on, "- name: console", "env:"),
        },
    ]
}

const CHART_WITH_SIGN_ON: &str = "../tests/chart/rendered-sign-on.yaml";

/// Writes what `CHART_WITH_SIGN_ON` mounts besides the files of `deploy/secrets`.
fn write_files_of_sign_on(secrets: &DeploymentSecrets) {
    let rendering = deploy_file(CHART_WITH_SIGN_ON);
    let roles: Vec<&str> = rendering
        .lines()
        .skip_while(|line| line.trim() != "roles.toml: |")
        .skip(1)
        .take_while(|line| line.trim().is_empty() || line.starts_with("    "))
        .map(str::trim)
        .collect();
    assert!(roles.contains(&"[[rule]]"), "{rendering}");
    let write = |name: &str, text: &str| write_private(&secrets.path(""), name, text);
    write("roles.toml", &roles.join("\n"));
    for (name, original) in [
        ("ca", "etcd-ca"),
        ("company-ca.crt", "etcd-ca"),
        ("mysql-client.crt", "console-cert"),
        ("mysql-client.key", "console-key"),
    ] {
        let text = std::fs::read_to_string(secrets.path(original)).unwrap();
        write(name, &text);
    }
    for name in [
        "client-secret",
        "smtp-password",
        "anchor-secret",
        "metrics-query-token",
    ] {
        write(name, &format!("secret-of-{name}"));
    }
}

/// An etcd with TLS, and what deployments mount.
struct DeploymentSite {
    etcd: EtcdCluster,
    secrets: DeploymentSecrets,
    data: tempfile::TempDir,
}

impl DeploymentSite {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let data = tempfile::tempdir().unwrap();
        let (key, state) = (data.path().join("key"), data.path().join("state"));
        let public = order_signature::create_key_file(&key)
            .unwrap()
            .public()
            .to_pem();
        console_core::state_secret::generate_file(&state).unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        let address = loopback_address();
        let secrets =
            DeploymentSecrets::create(&address.to_string(), (&read(&key), &public), &read(&state));
        write_files_of_sign_on(&secrets);
        let certificates = secrets.etcd_arguments();
        let certificates: Vec<&str> = certificates.iter().map(String::as_str).collect();
        Self {
            etcd: EtcdCluster::spawn_at(address, 1, "https", &certificates),
            secrets,
            data,
        }
    }

    /// Variables with the addresses and paths of this machine.
    fn replaced(&self, variables: &[(String, String)]) -> Variables {
        let value = |value: &str| match value {
            value if value.starts_with("https://") && value.ends_with(":2379") => {
                self.etcd.endpoints().join(",")
            }
            value => self.secrets.replaced(value),
        };
        let pair = |(name, text): &(String, String)| (name.clone(), value(text));
        variables.iter().map(pair).collect()
    }
}

struct StartedProcess(Child);

impl Drop for StartedProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `serve` with `variables`, and waits until it is ready.
async fn starts(name: &str, arguments: &[&str], mut variables: Variables, data: &std::path::Path) {
    let (site, [metrics]) = (site(), free_ports());
    let metrics = format!("127.0.0.1:{metrics}");
    // The image sets these; addresses of this machine are free ones.
    variables.retain(|(name, _)| name != "GALERA_CONSOLE_METRICS_LISTEN");
    for (name, value) in [
        ("GALERA_CONSOLE_LISTEN", "127.0.0.1:0"),
        ("GALERA_CONSOLE_DATA_DIR", data.to_str().unwrap()),
        ("GALERA_CONSOLE_METRICS_LISTEN", &metrics),
        ("GALERA_CONSOLE_SITE_ROOT", site.path().to_str().unwrap()),
    ] {
        variables.push((name.to_owned(), value.to_owned()));
    }
    let checked: Vec<&str> = [&["check-config"][..], &arguments[1..]].concat();
    let output = console_command(&checked)
        .envs(variables.clone())
        .output()
        .unwrap();
    let (code, text) = code_and_output(&output);
    assert_eq!(code, 0, "{name}: {text}");
    let log = std::fs::File::create(data.join("log")).unwrap();
    let child = console_command(arguments)
        .envs(variables)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut started = StartedProcess(child);
    let mut line = String::new();
    BufReader::new(started.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let log = || std::fs::read_to_string(data.join("log")).unwrap();
    assert!(
        line.contains("galera-console listens on"),
        "{name}: {line}{}",
        log()
    );
    let ready = async || {
        use std::io::{Read, Write};
        let Ok(mut stream) = TcpStream::connect(&metrics) else {
            return false;
        };
        let request = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    };
    eventually(&format!("{name} is ready"), ready).await;
}

#[tokio::test]
async fn every_manifest_starts_a_console() {
    for deployment in deployments() {
        let machine = DeploymentSite::start().await;
        let (variables, arguments) = &deployment.accounts;
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| machine.secrets.replaced(argument))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = console_command(&arguments)
            .envs(machine.replaced(variables))
            .output()
            .unwrap();
        let (code, text) = code_and_output(&output);
        assert_eq!(code, 0, "{}: {text}", deployment.name);
        let variables = machine.replaced(&deployment.console);
        starts(deployment.name, &["serve"], variables, machine.data.path()).await;
    }
}

/// The unit's credentials are files, as systemd makes them, and its settings are in a file.
#[tokio::test]
async fn the_unit_of_systemd_starts_a_console() {
    let machine = DeploymentSite::start().await;
    let unit = deploy_file("systemd/galera-console.service");
    let value_of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key));
    let command = value_of("ExecStart=").unwrap();
    let credentials = [
        "mysql-password",
        "recovery-password",
        "etcd-password",
        "order-key",
        "state-secret",
    ];
    let variables: Variables = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
        .map(|(name, value)| {
            let file = value.strip_prefix("%d/").map(|credential| {
                assert!(credentials.contains(&credential), "{credential}");
                let name = match credential {
                    "etcd-password" => "etcd-console",
                    "mysql-password" => "console",
                    other => other.strip_suffix("-password").unwrap_or(other),
                };
                let loaded = format!("LoadCredential={credential}:/etc/galera-console/");
                assert!(unit.lines().any(|line| line.starts_with(&loaded)));
                machine.secrets.path(name).display().to_string()
            });
            (name.to_owned(), file.unwrap_or_else(|| value.to_owned()))
        })
        .collect();
    assert_eq!(variables.len(), credentials.len() + 1, "{variables:?}");
    let settings = deploy_file("systemd/console.toml");
    let endpoints = "\"https://etcd1:2379\", \"https://etcd2:2379\", \"https://etcd3:2379\"";
    let (ca, own_ca) = (
        "/etc/galera-console/etcd-ca.pem",
        machine.secrets.path("etcd-ca"),
    );
    for replaced in [endpoints, ca] {
        assert!(settings.contains(replaced), "{replaced}");
    }
    let settings = settings
        .replace(
            endpoints,
            &format!("\"{}\"", machine.etcd.endpoints().join("\", \"")),
        )
        .replace(ca, own_ca.to_str().unwrap());
    let file = machine.data.path().join("console.toml");
    std::fs::write(&file, settings).unwrap();
    let command = command.replace("/etc/galera-console/console.toml", file.to_str().unwrap());
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    let compose = deployments().remove(0);
    let accounts: Vec<String> = compose
        .accounts
        .1
        .iter()
        .map(|argument| machine.secrets.replaced(argument))
        .collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let output = console_command(&accounts)
        .envs(machine.replaced(&compose.accounts.0))
        .output()
        .unwrap();
    assert_eq!(code_and_output(&output).0, 0, "{output:?}");
    starts("systemd", &arguments, variables, machine.data.path()).await;
}

/// Each manifest really sets what the threat model rests on, rather than in a comment.
#[test]
fn every_manifest_sets_secrets_accounts_tls_and_proxies() {
    for deployment in deployments() {
        let name = deployment.name;
        let value = |wanted: &str| {
            let wanted = format!("GALERA_CONSOLE_{wanted}");
            let found = deployment.console.iter().find(|(name, _)| *name == wanted);
            let (_, value) = found.unwrap_or_else(|| panic!("{name} lacks {wanted}"));
            assert!(!value.is_empty(), "{name}: {wanted} is empty");
            value.as_str()
        };
        for endpoint in value("ETCD_ENDPOINTS").split(',') {
            assert!(endpoint.starts_with("https://"), "{name}: {endpoint}");
        }
        assert_eq!(value("ETCD_USER"), "console", "{name}");
        for file in [
            "ETCD_CA",
            "ETCD_PASSWORD_FILE",
            "STATE_SECRET_FILE",
            "ORDER_KEY_FILE",
        ] {
            assert!(value(file).starts_with("/run/secrets/"), "{name}: {file}");
        }
        for proxy in value("TRUSTED_PROXIES").split(',') {
            assert!(!proxy.ends_with("/0"), "{name} trusts every client");
        }
        let accounts = &deployment.accounts.1;
        assert!(accounts.iter().any(|word| word == "--enable-auth"));
    }
}

/// etcd before 3.6 does not report its quota, so the console has to be configured with that of the same deployment.
#[test]
fn every_manifest_sets_the_quota_that_its_etcd_has() {
    let image = deploy_file("../Dockerfile");
    let of_image = image.split_once("ETCD_QUOTA_BACKEND_BYTES=").unwrap().1;
    let of_image = of_image.split_whitespace().next().unwrap();
    let kubernetes = entries(&deploy_file("kubernetes/etcd.yaml"), "- name: etcd", "env:");
    let chart = deploy_file("../tests/chart/rendered.yaml");
    let chart = entries(&chart, "- name: etcd", "env:");
    let bytes = |text: &str| -> u64 {
        let unit = text.trim_start_matches(|found: char| found.is_ascii_digit());
        let number: u64 = text.strip_suffix(unit).unwrap().parse().unwrap();
        match unit {
            "" => number,
            "MiB" => number << 20,
            "GiB" => number << 30,
            unit => panic!("{unit}"),
        }
    };
    let value = |variables: &Variables, wanted: &str| {
        let found = variables.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    for deployment in deployments() {
        let name = deployment.name;
        let of_etcd = match name {
            "Kubernetes" => value(&kubernetes, "ETCD_QUOTA_BACKEND_BYTES").unwrap(),
            "Helm" => value(&chart, "ETCD_QUOTA_BACKEND_BYTES").unwrap(),
            // Its etcd is not the chart's.
            "Helm with sign-on" => continue,
            _ => of_image.to_owned(),
        };
        let assumed = value(&deployment.console, "GALERA_CONSOLE_ETCD_QUOTA");
        let assumed = assumed.unwrap_or_else(|| panic!("{name} sets no quota"));
        assert_eq!(bytes(&assumed), bytes(&of_etcd), "{name}");
    }
}

#[test]
fn an_unknown_variable_of_a_manifest_is_refused() {
    let output = console_command(&["check-config"])
        .env("GALERA_CONSOLE_ETCD_ENDPOINT", "http://etcd1:2379")
        .output()
        .unwrap();
    let (code, text) = code_and_output(&output);
    assert_eq!(code, 64, "{text}");
    assert!(
        text.contains("GALERA_CONSOLE_ETCD_ENDPOINT: unknown variable"),
        "{text}"
    );
}
