//! Initializes a data directory and its accounts on the node that founds the cluster.

use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use super::children::Children;
use super::command::{ServerCommand, Workspace, last_error};
use super::datadir::DataDir;
use super::error::RunError;
use crate::settings::run::{DatabaseAccount, RunSettings};

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
    let statements = workspace.write("accounts.sql", &account_statements(settings))?;
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
    Ok(())
}

/// One statement per line, as the server's bootstrap mode requires.
fn account_statements(settings: &RunSettings) -> String {
    let mut text = String::from(
        // Anonymous accounts would shadow all others on this host. CREATE USER requires FLUSH in bootstrap mode.
        "DELETE FROM mysql.global_priv WHERE User = '' OR Host <> 'localhost';\n\
         DELETE FROM mysql.db WHERE Db LIKE 'test%';\n\
         DROP DATABASE IF EXISTS test;\n\
         FLUSH PRIVILEGES;\n",
    );
    let root = quoted(settings.root.password.expose());
    text += &format!("ALTER USER root@localhost IDENTIFIED BY {root};\n");
    if let Some(host) = settings
        .root_host
        .as_deref()
        .filter(|host| *host != "localhost")
    {
        let host = quoted(host);
        text += &format!("CREATE USER root@{host} IDENTIFIED BY {root};\n");
        text += &format!("GRANT ALL ON *.* TO root@{host} WITH GRANT OPTION;\n");
    }
    let transfer = "RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR";
    append_account(
        &mut text,
        settings.sst.as_ref(),
        "localhost",
        Some(transfer),
    );
    append_account(&mut text, settings.console.as_ref(), "%", None);
    // Required for SET GLOBAL wsrep_provider_options.
    append_account(&mut text, settings.recovery.as_ref(), "%", Some("SUPER"));
    text
}

fn append_account(
    text: &mut String,
    account: Option<&DatabaseAccount>,
    host: &str,
    privileges: Option<&str>,
) {
    let Some(account) = account else { return };
    let name = format!("{}@{}", quoted(&account.user), quoted(host));
    let password = quoted(account.password.expose());
    *text += &format!("CREATE USER IF NOT EXISTS {name} IDENTIFIED BY {password};\n");
    if let Some(privileges) = privileges {
        *text += &format!("GRANT {privileges} ON *.* TO {name};\n");
    }
}

/// Quotes text for SQL; the settings exclude control characters.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_escaped() {
        assert_eq!(quoted(r"a'b\c"), r"'a''b\\c'");
    }
}
