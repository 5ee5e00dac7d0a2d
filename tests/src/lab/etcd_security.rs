//! TLS and accounts of a lab's etcd, as a deployment has them.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use galera::observe::registration::RegistryKeys;
use registry::{EtcdSettings, KeyAccess, KeyPermission, Registry, Secret, role_layout};

use super::agent::write_secret;
use super::certificates::{CertificateAuthority, CertificateFiles, Validity};

/// The account that changes roles and accounts.
const ROOT: &str = "root";
/// The account of the lab's consoles.
const CONSOLE: &str = "console";
/// The account of the lab's agents.
const AGENT: &str = "agent";

/// What secures an etcd.
#[derive(Clone, Debug)]
pub struct EtcdSecurity {
    directory: PathBuf,
    authority: PathBuf,
    member: CertificateFiles,
}

impl EtcdSecurity {
    /// New certificates for `address` and passwords, as files in `directory`.
    ///
    /// # Errors
    /// If they cannot be made or written.
    pub fn create(directory: &Path, address: Ipv4Addr) -> Result<Self> {
        let authority = CertificateAuthority::create(directory, "etcd-authority")?;
        let member = authority.issue(&address.to_string(), Validity::Now)?;
        let security = Self {
            directory: directory.to_owned(),
            authority: authority.certificate().to_owned(),
            member,
        };
        for account in [ROOT, CONSOLE, AGENT] {
            write_secret(&security.password_file(account), &password(account))?;
        }
        Ok(security)
    }

    /// Arguments of a member.
    pub(super) fn member_arguments(&self) -> Vec<String> {
        let certificate = self.member.certificate.display();
        let key = self.member.key.display();
        vec![
            format!("--cert-file={certificate}"),
            format!("--key-file={key}"),
        ]
    }

    /// The authority of the members' certificates.
    #[must_use]
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// The connection of an administrator to `endpoints`.
    #[must_use]
    pub fn root_settings(&self, endpoints: Vec<String>) -> EtcdSettings {
        EtcdSettings {
            user: Some(ROOT.to_owned()),
            password: Some(Secret::new(password(ROOT))),
            ..self.settings(endpoints)
        }
    }

    fn settings(&self, endpoints: Vec<String>) -> EtcdSettings {
        EtcdSettings {
            ca: Some(self.authority.clone()),
            ..EtcdSettings::new(endpoints)
        }
    }

    /// Settings of consoles.
    #[must_use]
    pub fn console_arguments(&self) -> Vec<String> {
        let authority = self.authority.display().to_string();
        let password = self.password_file(CONSOLE).display().to_string();
        [
            "--etcd-ca",
            &authority,
            "--etcd-user",
            CONSOLE,
            "--etcd-password-file",
            &password,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Settings of agents.
    #[must_use]
    pub fn agent_environment(&self) -> [(&'static str, String); 3] {
        [
            ("ETCD_CA", self.authority.display().to_string()),
            ("ETCD_USER", AGENT.to_owned()),
            (
                "ETCD_PASSWORD_FILE",
                self.password_file(AGENT).display().to_string(),
            ),
        ]
    }

    /// Creates roles and accounts for the consoles and the agents of `cluster`, and makes etcd require accounts.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub(super) async fn require_accounts(
        &self,
        endpoints: Vec<String>,
        cluster: &str,
    ) -> Result<()> {
        let admin = Registry::connect(self.settings(endpoints))?;
        let keys = RegistryKeys::new("/galera");
        let mut console = role_layout::console(&keys, "/galera-console");
        // Every console of a lab has a dedicated state prefix.
        let dedicated = KeyPermission::prefix("/console-", KeyAccess::ReadWrite);
        console.permissions.push(dedicated);
        let agents = role_layout::agents(&keys, &cluster.parse()?);
        for (account, role) in [(CONSOLE, &console), (AGENT, &agents)] {
            admin.apply_role(role).await?;
            let password = Secret::new(password(account));
            admin.apply_account(account, &password, &role.name).await?;
        }
        admin
            .apply_account(ROOT, &Secret::new(password(ROOT)), ROOT)
            .await?;
        admin.require_accounts().await?;
        Ok(())
    }

    fn password_file(&self, account: &str) -> PathBuf {
        self.directory.join(format!("etcd-{account}.password"))
    }
}

fn password(account: &str) -> String {
    format!("{account}-of-the-lab")
}
