//! Initializes a data directory and its accounts on the node that founds the cluster.

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use tokio::time::timeout;

use super::children::{Children, ProcessExit};
use super::command::{PrivateDirectory, ServerCommand, last_error};
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
    workspace: &PrivateDirectory,
) -> Result<(), RunError> {
    data.begin_initialization()?;
    let statements =
        accounts::initial_statements(&settings.accounts, system_user::name().as_deref());
    let statements = workspace.write("accounts.sql", &statements)?;
    // A dedicated directory: a server that starts empties its tmpdir.
    let temporary = workspace.file("tmp");
    fs::create_dir_all(&temporary)
        .map_err(|error| RunError::from_io("cannot create", &temporary, &error))?;
    let takes_statements = installer_takes_statements(command, children, workspace).await?;
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
        ]);
    if takes_statements {
        installer.arg(format!("--extra-file={}", statements.display()));
    }
    run_to_end(INSTALLER, installer, data, children, workspace).await?;
    if !takes_statements {
        let mut server = command.installer_command(&command.name());
        let input = File::open(&statements)
            .map_err(|error| RunError::from_io("cannot read", &statements, &error))?;
        server
            .arg("--bootstrap")
            .arg(format!("--datadir={}", data.path().display()))
            .arg(format!("--tmpdir={}", temporary.display()))
            .args(["--skip-name-resolve", "--wsrep-on=OFF"])
            .stdin(input);
        run_to_end(&command.name(), server, data, children, workspace).await?;
    }
    // The passwords are in the database now.
    let _ = fs::remove_file(&statements);
    accounts::record_initial_passwords(data.path(), &settings.accounts);
    Ok(())
}

/// Whether the installer runs further statements (`--extra-file`). That of MariaDB 10.5 passes the option on to the server,
/// which refuses it.
async fn installer_takes_statements(
    command: &ServerCommand,
    children: &Children,
    workspace: &PrivateDirectory,
) -> Result<bool, RunError> {
    let mut installer = command.installer_command(INSTALLER);
    let output = workspace.output("install-help")?;
    installer
        .arg("--help")
        .stdout(share(&output)?)
        .stderr(output);
    // The exit code is 1 after the help too.
    wait_for(INSTALLER, installer, children).await?;
    let help = fs::read(workspace.file("install-help")).unwrap_or_default();
    Ok(takes_statements(&String::from_utf8_lossy(&help)))
}

/// Whether the help of an installer lists the option.
fn takes_statements(help: &str) -> bool {
    // Not `--defaults-extra-file`.
    help.lines()
        .any(|line| line.trim_start().starts_with("--extra-file"))
}

/// Runs a program that initializes, and judges its log.
async fn run_to_end(
    name: &str,
    mut command: Command,
    data: &DataDir,
    children: &Children,
    workspace: &PrivateDirectory,
) -> Result<(), RunError> {
    let output = workspace.output("install.log")?;
    command.stdout(share(&output)?).stderr(output);
    let ended = wait_for(name, command, children).await?;
    let log = fs::read(workspace.file("install.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if !ended.is_success() || !data.path().join("mysql").is_dir() || log.contains("[ERROR]") {
        return Err(RunError::Internal(format!(
            "{name} failed ({ended}): {}",
            last_error(&log)
        )));
    }
    Ok(())
}

async fn wait_for(
    name: &str,
    mut command: Command,
    children: &Children,
) -> Result<ProcessExit, RunError> {
    let mut child = children.spawn_helper(&mut command).map_err(|error| {
        RunError::Unavailable(format!(
            "{name} cannot be run: {error}; is MariaDB installed?"
        ))
    })?;
    timeout(INSTALL_TIMEOUT, child.wait()).await.map_err(|_| {
        RunError::Internal(format!(
            "{name} did not finish within {} s",
            INSTALL_TIMEOUT.as_secs()
        ))
    })
}

fn share(file: &File) -> Result<File, RunError> {
    file.try_clone()
        .map_err(|error| RunError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::takes_statements;

    #[test]
    fn the_installer_of_mariadb_10_5_takes_no_statements() {
        // Of `mariadb-install-db --help` of 10.5.23, and what that of 10.11.18 has besides.
        let help = "  --datadir=path       The path to the MariaDB data directory.\n  --defaults-extra-file=name\n";
        let later = "  --extra-file=file    Add user defined SQL file, to be executed following\n";
        assert!(!takes_statements(help));
        assert!(takes_statements(&format!("{help}{later}")));
    }
}
