//! The host that the documents describe: names, addresses, directories and trusted authorities, in the namespaces of this
//! process.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use acceptance::lab::agent::write_secret;
use acceptance::lab::certificates::{CertificateAuthority, CertificateFiles, Validity};
use acceptance::lab::program_directory;
use anyhow::{Context, Result, ensure};

/// The nodes of the cluster `lab`.
pub(crate) const NODES: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 0, 0, 2),
    Ipv4Addr::new(10, 0, 0, 3),
];
/// The addresses of etcd1, etcd2 and etcd3.
pub(crate) const ETCD_HOSTS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 0, 0, 11),
    Ipv4Addr::new(10, 0, 0, 12),
    Ipv4Addr::new(10, 0, 0, 13),
];
/// The names of consoles.
const CONSOLE_NAMES: [&str; 2] = ["galera.example.org", "console.example.org"];
/// Where authorities of the system are.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Files that are made once. Those of the reader are made for each page, by [`DocumentedHost::reset`].
pub(crate) struct DocumentedHost {
    /// What is written goes below it.
    pub(crate) directory: PathBuf,
    pub(crate) authority: PathBuf,
    pub(crate) etcd_certificate: CertificateFiles,
    pub(crate) console_certificate: CertificateFiles,
}

impl DocumentedHost {
    /// Gives this process's namespaces the addresses and names, and separate directories in place of `/etc`, `/run`,
    /// `/var/lib` and `/var/log`.
    ///
    /// # Errors
    /// If something cannot be mounted or made.
    pub(crate) fn prepare(directory: &Path) -> Result<Self> {
        let authority = CertificateAuthority::create(directory, "documents-authority")?;
        let etcd_certificate = authority.issue_for(&["etcd1", "etcd2", "etcd3"], Validity::Now)?;
        let console_certificate = authority.issue_for(&CONSOLE_NAMES, Validity::Now)?;
        run("ip", &["link", "set", "lo", "up"])?;
        for address in NODES.iter().chain(&ETCD_HOSTS) {
            run(
                "ip",
                &["addr", "add", &format!("{address}/32"), "dev", "lo"],
            )?;
        }
        let copy = directory.join("etc");
        run("cp", &["--archive", "/etc", &copy.display().to_string()])?;
        run("mount", &["--bind", &copy.display().to_string(), "/etc"])?;
        for path in ["/run", "/var/lib", "/var/log"] {
            run(
                "mount",
                &["-t", "tmpfs", "-o", "mode=755", "documents", path],
            )?;
        }
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        for (number, address) in (1..).zip(ETCD_HOSTS) {
            hosts.push_str(&format!("{address} etcd{number}\n"));
        }
        for name in CONSOLE_NAMES {
            hosts.push_str(&format!("127.0.0.1 {name}\n"));
        }
        fs::write("/etc/hosts", hosts)?;
        // Nothing outside of this host can be reached, and nothing shall wait for a name server.
        fs::remove_file("/etc/resolv.conf").ok();
        fs::write("/etc/resolv.conf", "")?;
        fs::create_dir_all(
            Path::new(SYSTEM_AUTHORITIES)
                .parent()
                .context("no folder")?,
        )?;
        let mut trusted = fs::read_to_string(SYSTEM_AUTHORITIES).unwrap_or_default();
        trusted.push_str(&fs::read_to_string(authority.certificate())?);
        fs::write(SYSTEM_AUTHORITIES, trusted)?;
        let host = Self {
            directory: directory.to_owned(),
            authority: authority.certificate().to_owned(),
            etcd_certificate,
            console_certificate,
        };
        host.write_programs()?;
        Ok(host)
    }

    /// Where the reader's programs are.
    pub(crate) fn programs(&self) -> PathBuf {
        self.directory.join("bin")
    }

    /// Programs with the names of the documents; `programs` has what they add to the built ones.
    fn write_programs(&self) -> Result<()> {
        fs::create_dir(self.programs())?;
        for (name, text) in [
            ("galera-console", include_str!("programs/galera-console")),
            ("galera-agent", include_str!("programs/galera-agent")),
        ] {
            // Named here if it is not built.
            acceptance::lab::program(name)?;
            let path = self.programs().join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(self.functions(), include_str!("programs/functions"))?;
        Ok(())
    }

    /// Shell functions for what a page assumes.
    pub(crate) fn functions(&self) -> PathBuf {
        self.directory.join("functions")
    }

    /// Variables of every page: programs, and where the built ones are.
    pub(crate) fn variables(&self) -> Result<Vec<(String, String)>> {
        let built = program_directory()?.display().to_string();
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.programs().display()
        );
        Ok([
            ("PATH", path),
            ("BUILT_PROGRAMS", built),
            ("LC_ALL", "C.UTF-8".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec())
    }

    /// Makes the directories and files again that the documents assume.
    ///
    /// # Errors
    /// If a file cannot be made.
    pub(crate) fn reset(&self, passwords: &ReaderPasswords<'_>) -> Result<()> {
        for path in [
            "/etc/galera-console",
            "/etc/galera-agent",
            "/run/secrets",
            "/var/lib/galera-console",
            "/var/lib/galera-arbitrator",
            "/var/log/galera-console",
        ] {
            fs::remove_dir_all(path).ok();
            fs::create_dir_all(path)?;
        }
        let certificate = &self.console_certificate;
        for (from, to) in [
            (&self.authority, "/etc/galera-console/ca.pem"),
            (&self.authority, "/etc/galera-agent/ca.pem"),
            (&certificate.certificate, "/etc/galera-console/tls.crt"),
            (&certificate.key, "/etc/galera-console/tls.key"),
        ] {
            fs::copy(from, to)?;
        }
        for (path, secret) in [
            ("/etc/galera-console/mysql-password", passwords.console),
            ("/etc/galera-agent/password", passwords.agent),
            (
                "/etc/galera-console/metrics-password",
                "of-the-metrics-server",
            ),
            (
                "/etc/galera-console/otlp-headers",
                "Authorization: Bearer of-the-collector",
            ),
            ("/run/secrets/smtp", "of-the-mail-server"),
        ] {
            write_secret(Path::new(path), secret)?;
        }
        Ok(())
    }
}

/// Passwords of the databases' accounts.
pub(crate) struct ReaderPasswords<'a> {
    pub(crate) console: &'a str,
    pub(crate) agent: &'a str,
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("is {program} installed? scripts/setup lab"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
