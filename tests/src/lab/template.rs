//! One initialised data directory, made once on a machine for each server version and copied into every lab.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::directory;
use super::process::{Program, tail};

/// Increment when the contents of the template change.
const REVISION: u32 = 2;

/// Passwords of the database accounts that every lab has.
#[derive(Clone, Serialize, Deserialize)]
pub struct LabAccounts {
    /// `console`: USAGE and nothing else, reads the status.
    pub console: String,
    /// `agent`: USAGE and nothing else.
    pub agent: String,
    /// `app`: everything in the database `demo`.
    pub app: String,
    /// `recovery`: SUPER, which setting provider options needs, and nothing else.
    pub recovery: String,
}

/// The initialised directory.
pub struct DataTemplate {
    directory: PathBuf,
    /// The accounts in it.
    pub accounts: LabAccounts,
}

impl DataTemplate {
    /// The template of the installed server; created if there is none.
    ///
    /// # Errors
    /// If MariaDB is not installed or cannot be initialised.
    pub async fn load_or_create() -> Result<Self> {
        let base = directory::base()?;
        let lock = File::create(base.join("template.guard"))?;
        // Another process holds it for a few seconds at most.
        let _lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
        let directory = base.join(format!("template-{}-r{REVISION}", server_version().await?));
        if !directory.join("accounts.json").is_file() {
            create(&base, &directory).await?;
        }
        let accounts = serde_json::from_slice(&fs::read(directory.join("accounts.json"))?)?;
        Ok(Self {
            directory,
            accounts,
        })
    }

    /// Copies the data directory to `target`, which must not exist.
    ///
    /// # Errors
    /// If the copy fails.
    pub async fn copy_to(&self, target: &Path) -> Result<()> {
        let mut command = tokio::process::Command::new("cp");
        command
            .args(["--archive", "--reflink=auto", "--"])
            .arg(self.directory.join("data"))
            .arg(target);
        let output = command.output().await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Gives `path` to the user that the server runs as.
    ///
    /// # Errors
    /// If that is not permitted.
    pub fn chown_to_server(&self, path: &Path) -> Result<()> {
        let owner = fs::metadata(self.directory.join("data"))?;
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))?;
        Ok(())
    }
}

/// The user that the server is to run as: rsync state transfers fail when that is root.
#[must_use]
pub fn server_user() -> Option<&'static str> {
    rustix::process::getuid().is_root().then_some("mysql")
}

async fn server_version() -> Result<String> {
    let output = tokio::process::Command::new("mariadbd")
        .args(["--no-defaults", "--version"])
        .output()
        .await;
    let output = output.context("is MariaDB installed? scripts/setup lab")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .split_once("Ver ")
        .and_then(|(_, rest)| rest.split_whitespace().next());
    let version = version.with_context(|| format!("a version in {text:?}"))?;
    Ok(version.replace(
        |c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c),
        "_",
    ))
}

fn password() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

async fn create(base: &Path, directory: &Path) -> Result<()> {
    let work = base.join(format!("template.{}", std::process::id()));
    fs::remove_dir_all(&work).ok();
    fs::create_dir(&work)?;
    let accounts = LabAccounts {
        console: password(),
        agent: password(),
        app: password(),
        recovery: password(),
    };
    let statements = work.join("accounts.sql");
    fs::write(&statements, "")?;
    fs::set_permissions(&statements, fs::Permissions::from_mode(0o600))?;
    fs::write(&statements, account_statements(&accounts))?;
    install(&work, &statements).await?;
    fs::remove_file(&statements)?;
    // Written last: its presence marks a complete template.
    let file = work.join("accounts.json");
    fs::write(&file, serde_json::to_vec(&accounts)?)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    fs::remove_dir_all(directory).ok();
    fs::rename(&work, directory).context("putting the template in its place")
}

fn account_statements(accounts: &LabAccounts) -> String {
    let LabAccounts {
        console,
        agent,
        app,
        recovery,
    } = accounts;
    // Anonymous accounts would shadow 'name'@'%' on localhost. FLUSH makes CREATE USER possible while bootstrapping.
    format!(
        "DELETE FROM mysql.global_priv WHERE User = '';\n\
         FLUSH PRIVILEGES;\n\
         CREATE DATABASE demo;\n\
         CREATE USER console@'%' IDENTIFIED BY '{console}';\n\
         CREATE USER agent@'%' IDENTIFIED BY '{agent}';\n\
         CREATE USER app@'%' IDENTIFIED BY '{app}';\n\
         GRANT ALL ON demo.* TO app@'%';\n\
         CREATE USER recovery@'%' IDENTIFIED BY '{recovery}';\n\
         GRANT SUPER ON *.* TO recovery@'%';\n"
    )
}

async fn install(work: &Path, statements: &Path) -> Result<()> {
    let data = work.join("data");
    let log = work.join("install.log");
    fs::create_dir(&data)?;
    let mut program = Program::new("mariadb-install-db", "mariadb-install-db", &log)
        .arg("--no-defaults")
        .arg(format!("--datadir={}", data.display()))
        .args([
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ])
        .args([
            "--innodb-log-file-size=16M",
            "--innodb-buffer-pool-size=32M",
        ])
        .arg(format!("--extra-file={}", statements.display()));
    if let Some(user) = server_user() {
        program = program.arg(format!("--user={user}"));
    }
    let process = program.start()?;
    process.wait(Duration::from_secs(120)).await?;
    let status = process.status();
    ensure!(
        status.is_some_and(|status| status.success()) && data.join("ibdata1").is_file(),
        "mariadb-install-db failed:\n{}",
        tail(&log, 25)
    );
    Ok(())
}
