//! Initializes a data directory and its accounts on the node that founds the cluster.

use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use super::children::Children;
use super::command::{ServerCommand, Workspace, last_error};
use super::datadir::DataDir;
use super::error::RunError;
use super::{accounts, system_user};
use crate::settings::run::RunSettings;

/// Time for the installer; allows for slow disks.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);
const INSTALLER: &str = "mariadb-install-db";

/// Initializes the empty directory. An interrupted initialization is recognised by its mark and repeated.
///
/// # Errors
/// [`RunError::Unavailable`] if the installer is missing, [`RunError::Internal`] if it fails.
pub(super) async fn initialize(
    data: &DataDir,
    command: &ServerCommand,
    settings: &RunSettings,
    children: &Children,
    workspace: &Workspace,
) -> Result<(), RunError> {
    data.begin_initialization()?;
    let statements =
        accounts::initial_statements(&settings.accounts, system_user::name().as_deref());
    let statements = workspace.write("accounts.sql", &statements)?;
    // A dedicated directory: a server that starts empties its tmpdir.
    let temporary = workspace.file("tmp");
    fs::create_dir_all(&temporary)
        .map_err(|error| RunError::from_io("cannot create", &temporary, &error))?;
    let output = workspace.output("install.log")?;
    let errors = output
        .try_clone()
        .map_err(|error| RunError::Internal(error.to_string()))?;
    let mut installer = command.installer_command(INSTALLER);
    installer
        .arg(format!("--datadir={}", data.path().display()))
        .arg(format!("--tmpdir={}", temporary.display()))
        .args([
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            // Nothing is replicated yet, and some SST methods refuse to start without a cluster address.
            "--wsrep-on=OFF",
        ])
        .arg(format!("--extra-file={}", statements.display()))
        .stdout(output)
        .stderr(errors);
    let mut child = children.spawn_helper(&mut installer).map_err(|error| {
        RunError::Unavailable(format!(
            "{INSTALLER} cannot be run: {error}; is MariaDB installed?"
        ))
    })?;
    let ended = timeout(INSTALL_TIMEOUT, child.wait()).await.map_err(|_| {
        RunError::Internal(format!(
            "{INSTALLER} did not finish within {} s",
            INSTALL_TIMEOUT.as_secs()
        ))
    })?;
    // The passwords are in the database now.
    let _ = fs::remove_file(&statements);
    let log = fs::read(workspace.file("install.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if !ended.is_success() || !data.path().join("mysql").is_dir() || log.contains("[ERROR]") {
        return Err(RunError::Internal(format!(
            "{INSTALLER} failed ({ended}): {}",
            last_error(&log)
        )));
    }
    accounts::record_initial_passwords(data.path(), &settings.accounts);
    Ok(())
}
