//! Makes a new data directory with its accounts, for the one node that founds.

use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use super::children::Children;
use super::command::{ServerCommand, Workspace, complaint};
use super::datadir::DataDir;
use super::failure::Failure;
use crate::settings::homogeneous::{Account, Run};

/// Time for the installer; slow disks included.
const LIMIT: Duration = Duration::from_secs(300);
const INSTALLER: &str = "mariadb-install-db";

/// Initializes the empty directory. One that is interrupted is recognised by its mark and begun anew.
///
/// # Errors
/// [`Failure::Unavailable`] when the installer is missing, [`Failure::Internal`] when it fails.
pub(super) async fn initialize(
    data: &DataDir,
    command: &ServerCommand,
    settings: &Run,
    children: &Children,
    workspace: &Workspace,
) -> Result<(), Failure> {
    data.begin()?;
    let statements = workspace.write("accounts.sql", &accounts(settings))?;
    // A directory of its own: a server that starts empties its directory for temporary tables.
    let temporary = workspace.file("tmp");
    fs::create_dir_all(&temporary)
        .map_err(|error| Failure::of("cannot create", &temporary, &error))?;
    let output = workspace.output("install.log")?;
    let errors = output
        .try_clone()
        .map_err(|error| Failure::Internal(error.to_string()))?;
    let mut installer = command.installer(INSTALLER);
    installer
        .arg(format!("--datadir={}", data.path().display()))
        .arg(format!("--tmpdir={}", temporary.display()))
        .args([
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            // Nothing is replicated yet, and some transfer methods refuse a start without a cluster's address.
            "--wsrep-on=OFF",
        ])
        .arg(format!("--extra-file={}", statements.display()))
        .stdout(output)
        .stderr(errors);
    let mut child = children.helper(&mut installer).map_err(|error| {
        Failure::Unavailable(format!(
            "{INSTALLER} cannot be run: {error}; is MariaDB installed?"
        ))
    })?;
    let ended = timeout(LIMIT, child.ended()).await.map_err(|_| {
        Failure::Internal(format!(
            "{INSTALLER} did not end within {} s",
            LIMIT.as_secs()
        ))
    })?;
    // The passwords are in the database now and need not lie about.
    let _ = fs::remove_file(&statements);
    let log = fs::read(workspace.file("install.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if !ended.is_success() || !data.path().join("mysql").is_dir() || log.contains("[ERROR]") {
        return Err(Failure::Internal(format!(
            "{INSTALLER} failed ({ended}): {}",
            complaint(&log)
        )));
    }
    Ok(())
}

/// One statement a line, as the bootstrapping server wants it.
fn accounts(settings: &Run) -> String {
    let mut text = String::from(
        // Anonymous accounts would shadow all others on this host. FLUSH makes CREATE USER possible while bootstrapping.
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
    create(
        &mut text,
        settings.transfer.as_ref(),
        "localhost",
        Some(transfer),
    );
    create(&mut text, settings.console.as_ref(), "%", None);
    // SET GLOBAL wsrep_provider_options asks for no less.
    create(&mut text, settings.recovery.as_ref(), "%", Some("SUPER"));
    text
}

fn create(text: &mut String, account: Option<&Account>, host: &str, privileges: Option<&str>) {
    let Some(account) = account else { return };
    let name = format!("{}@{}", quoted(&account.user), quoted(host));
    let password = quoted(account.password.expose());
    *text += &format!("CREATE USER IF NOT EXISTS {name} IDENTIFIED BY {password};\n");
    if let Some(privileges) = privileges {
        *text += &format!("GRANT {privileges} ON *.* TO {name};\n");
    }
}

/// Text between quotes; control characters were refused with the settings.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_be_left() {
        assert_eq!(quoted(r"a'b\c"), r"'a''b\\c'");
    }
}
