//! Makes the accounts of the settings where the data lack them, and changes passwords whose setting changed: over the
//! server's socket, and only while the node is Synced in a Primary component, so that every member gets the change.
//!
//! A password that was changed in the database is never changed back: the log names the account and the remedy.

mod record;
mod statements;

use std::path::{Path, PathBuf};
use std::time::Duration;

use galera::observe::wsrep::LocalState;
use galera::view::ClusterStatus;
use registry::Secret;
use sql_client::{Connection, Error, Login, Peer, connect_socket, native_password_hash};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::observation::ServerState;
use crate::outage_log::OutageLog;
use crate::settings::SettingsSource;
use crate::settings::accounts::AccountSettings;

use record::PasswordRecord;
pub(super) use statements::initial_statements;
use statements::{ManagedAccount, SignIn, managed_accounts};

/// Between two looks at the settings.
const REREAD_INTERVAL: Duration = Duration::from_secs(5);
/// After a problem: a server may block an account after too many failed sign-ins.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Time for one statement; a schema change waits for every member.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Changes accounts only while the server runs and writes reach every member.
const CHANGE_ALLOWED: &str = "SELECT @@GLOBAL.wsrep_on, @@GLOBAL.read_only";

/// Maintains the accounts of one server.
pub(super) struct AccountMaintenance {
    socket: PathBuf,
    system_user: Option<String>,
    settings: AccountSettings,
    record: PasswordRecord,
    settings_log: OutageLog,
    problem_log: OutageLog,
}

/// Records in `directory` the passwords that [`initial_statements`] gave the accounts.
pub(super) fn record_initial_passwords(directory: &Path, settings: &AccountSettings) {
    let mut record = PasswordRecord::read(directory);
    for account in managed_accounts(settings, None) {
        record.set(account.display_name(), configured_hash(&account));
    }
}

/// What is to be done about an account that does not sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccountRemedy {
    Create,
    /// Its setting changed since it last signed in.
    ChangePassword,
    /// Nothing: a person changed it, or the setting was never right.
    Report,
    /// Nothing: it is not this agent's.
    Leave,
}

/// What became of a sign-in.
enum SignInOutcome {
    /// As this very account.
    SignedIn(Connection),
    /// As another account that shadows it on this host, which shows nothing about it.
    Shadowed,
    Denied,
}

impl AccountMaintenance {
    /// Of the server on `directory` that listens on `socket`.
    #[must_use]
    pub(super) fn new(
        directory: &Path,
        socket: &Path,
        settings: AccountSettings,
        system_user: Option<String>,
    ) -> Self {
        Self {
            socket: socket.to_path_buf(),
            system_user,
            settings,
            record: PasswordRecord::read(directory),
            settings_log: OutageLog::default(),
            problem_log: OutageLog::default(),
        }
    }

    /// Checks the accounts once `server` is Synced and Primary, and again when a setting changes. Runs until dropped.
    pub(super) async fn run(mut self, mut server: watch::Receiver<ServerState>) {
        let mut due = Some(Instant::now());
        let mut reread_at = Instant::now();
        loop {
            if reread_at <= Instant::now() {
                reread_at = Instant::now() + REREAD_INTERVAL;
                if self.reread_settings() {
                    due = Some(Instant::now());
                }
            }
            let writable = is_writable(&server.borrow_and_update());
            if writable && due.is_some_and(|at| at <= Instant::now()) {
                let problems = Box::pin(self.check()).await;
                let problems = problems.unwrap_or_else(|error| vec![error]);
                due = (!problems.is_empty()).then(|| Instant::now() + RETRY_INTERVAL);
                self.log(&problems);
            }
            tokio::select! {
                changed = server.changed() => if changed.is_err() { return },
                () = sleep(REREAD_INTERVAL) => {}
            }
        }
    }

    /// Reads the settings again: files with passwords may change. Returns whether they did.
    fn reread_settings(&mut self) -> bool {
        let source = SettingsSource::new(|name| std::env::var_os(name));
        match AccountSettings::read(&source) {
            Ok(settings) => {
                let changed = self.hashes(&settings) != self.hashes(&self.settings);
                self.settings = settings;
                self.settings_log.recovered();
                changed
            }
            Err(error) => {
                if self.settings_log.failed(&error.to_string()).is_some() {
                    tracing::warn!("Cannot read a password again, keeping the former: {error}");
                }
                false
            }
        }
    }

    fn hashes(&self, settings: &AccountSettings) -> Vec<(String, String)> {
        let accounts = managed_accounts(settings, self.system_user.as_deref());
        let hash = |account: &ManagedAccount| (account.display_name(), configured_hash(account));
        accounts.iter().map(hash).collect()
    }

    fn log(&mut self, problems: &[String]) {
        if problems.is_empty() {
            if self.problem_log.recovered().is_some() {
                tracing::info!("Every account has the password of its setting");
            }
            return;
        }
        let text = problems.join("; ");
        if self.problem_log.failed(&text).is_some() {
            tracing::warn!("Accounts: {text}");
        }
    }

    /// Checks every account. Returns what needs a person.
    ///
    /// # Errors
    /// If the server does not respond or refuses a statement.
    async fn check(&mut self) -> Result<Vec<String>, String> {
        let accounts = managed_accounts(&self.settings, self.system_user.as_deref());
        let mut problems = Vec::new();
        for account in &accounts {
            match self.sign_in(account).await? {
                SignInOutcome::SignedIn(mut conn) => {
                    self.remember(account);
                    if lacks_privileges(account, &mut conn).await? {
                        let grant: Vec<String> = account.grant().into_iter().collect();
                        self.change(account, &grant, "Granted its privileges to")
                            .await?;
                    }
                    conn.close().await;
                }
                SignInOutcome::Shadowed => self.repair(account, false, &mut problems).await?,
                SignInOutcome::Denied => self.repair(account, true, &mut problems).await?,
            }
        }
        Ok(problems)
    }

    /// Makes `account` or changes its password, where that is this agent's to do; `denied` if it does not sign in.
    async fn repair(
        &mut self,
        account: &ManagedAccount,
        denied: bool,
        problems: &mut Vec<String>,
    ) -> Result<(), String> {
        let Some(mut admin) = self.administrator().await? else {
            problems.push(self.no_administrator());
            return Ok(());
        };
        let exists = exists(account, &mut admin).await?;
        admin.close().await;
        let known = self.record.hash(&account.display_name());
        match remedy(account, exists, denied, known) {
            AccountRemedy::Create => {
                self.change(account, &account.creation(), "Created").await?;
                self.remember(account);
            }
            AccountRemedy::ChangePassword => {
                let what = "Its setting changed: changed the password of";
                self.change(account, &[account.rotation()], what).await?;
                self.remember(account);
            }
            AccountRemedy::Report => problems.push(format!(
                "{variable} is not the password of account {name} in the database; set {variable} to that password, or run \
                 ALTER USER {quoted} IDENTIFIED BY '…' as an administrator",
                variable = account.variable,
                name = account.display_name(),
                quoted = account.name(),
            )),
            AccountRemedy::Leave => self.remember(account),
        }
        Ok(())
    }

    fn remember(&mut self, account: &ManagedAccount) {
        if matches!(account.sign_in, SignIn::Password(_)) {
            self.record
                .set(account.display_name(), configured_hash(account));
        }
    }

    fn no_administrator(&self) -> String {
        let user = self.system_user.as_deref().unwrap_or("none");
        format!(
            "the server denies access to root@localhost with MYSQL_ROOT_PASSWORD and, by the plugin unix_socket, to the system \
             user {user}: accounts are neither made nor changed; set MYSQL_ROOT_PASSWORD to the password of root@localhost"
        )
    }

    /// A connection that may change accounts: as root, otherwise as the system user.
    async fn administrator(&self) -> Result<Option<Connection>, String> {
        let accounts = managed_accounts(&self.settings, self.system_user.as_deref());
        let own = |account: &&ManagedAccount| {
            account.host == "localhost"
                && (account.variable == "MYSQL_ROOT_PASSWORD"
                    || matches!(account.sign_in, SignIn::SystemUser))
        };
        for account in accounts.iter().filter(own) {
            if let SignInOutcome::SignedIn(conn) = self.sign_in(account).await? {
                return Ok(Some(conn));
            }
        }
        Ok(None)
    }

    /// Runs `statements` about `account` as the administrator, if the server may write.
    async fn change(
        &self,
        account: &ManagedAccount,
        statements: &[String],
        what: &str,
    ) -> Result<(), String> {
        let Some(mut admin) = self.administrator().await? else {
            return Err(self.no_administrator());
        };
        let name = account.display_name();
        let allowed = query(&mut admin, CHANGE_ALLOWED).await?;
        let on = |column: usize| {
            let value = allowed.first().and_then(|row| row.get(column));
            value.and_then(Option::as_deref) == Some("1")
        };
        if !on(0) || on(1) {
            return Err(format!(
                "account {name} is neither made nor changed while wsrep_on is OFF or read_only is ON"
            ));
        }
        // With the method RSU the change would stay on this node.
        query(&mut admin, "SET SESSION wsrep_OSU_method='TOI'").await?;
        for statement in statements {
            query(&mut admin, statement)
                .await
                .map_err(|error| format!("account {name} could not be made or changed: {error}"))?;
        }
        admin.close().await;
        tracing::info!("{what} account {name}");
        Ok(())
    }

    async fn sign_in(&self, account: &ManagedAccount) -> Result<SignInOutcome, String> {
        let password = match &account.sign_in {
            SignIn::Password(password) => password.expose(),
            SignIn::SystemUser => "",
        };
        let login = Login {
            user: &account.user,
            password,
        };
        let opening = async {
            let stream = connect_socket(&self.socket).await?;
            Connection::open(stream, Peer::Socket, login).await
        };
        let mut conn = match timeout(STATEMENT_TIMEOUT, opening).await {
            Ok(Ok(conn)) => conn,
            Ok(Err(Error::Server(error))) if matches!(error.code, 1044 | 1045 | 1698) => {
                return Ok(SignInOutcome::Denied);
            }
            // The account uses a plugin that needs no password of a setting, such as the system's accounts (PAM).
            Ok(Err(Error::UnsupportedPlugin(_))) => return Ok(SignInOutcome::Denied),
            Ok(Err(error)) => return Err(format!("{}: {error}", self.socket.display())),
            Err(_) => return Err(format!("{} does not respond", self.socket.display())),
        };
        let rows = query(&mut conn, "SELECT CURRENT_USER()").await?;
        let current = rows.into_iter().flatten().flatten().next();
        Ok(match current == Some(account.display_name()) {
            true => SignInOutcome::SignedIn(conn),
            false => {
                conn.close().await;
                SignInOutcome::Shadowed
            }
        })
    }
}

/// What to do about an account; `known` is the hash of the password with which it last signed in.
fn remedy(
    account: &ManagedAccount,
    exists: bool,
    denied: bool,
    known: Option<&str>,
) -> AccountRemedy {
    let is_password = matches!(account.sign_in, SignIn::Password(_));
    match known {
        _ if !exists => AccountRemedy::Create,
        Some(known) if is_password && known != configured_hash(account) => {
            AccountRemedy::ChangePassword
        }
        _ if denied && is_password => AccountRemedy::Report,
        _ => AccountRemedy::Leave,
    }
}

fn configured_hash(account: &ManagedAccount) -> String {
    match &account.sign_in {
        SignIn::Password(password) => native_password_hash(Secret::expose(password)),
        SignIn::SystemUser => String::new(),
    }
}

/// Whether the account was created without the privileges that it needs, as when the agent ended in between.
async fn lacks_privileges(account: &ManagedAccount, conn: &mut Connection) -> Result<bool, String> {
    if account.grant().is_none() {
        return Ok(false);
    }
    let grants = query(conn, "SHOW GRANTS").await?;
    let mut grants = grants.into_iter().flatten().flatten();
    Ok(grants.all(|grant| grant.starts_with("GRANT USAGE ON *.*")))
}

async fn exists(account: &ManagedAccount, admin: &mut Connection) -> Result<bool, String> {
    let [user, host] = [&account.user, &account.host].map(|text| statements::quoted(text));
    let statement = format!("SELECT COUNT(*) FROM mysql.user WHERE User={user} AND Host={host}");
    let rows = query(admin, &statement).await?;
    Ok(rows.into_iter().flatten().flatten().next().as_deref() != Some("0"))
}

async fn query(conn: &mut Connection, statement: &str) -> Result<Vec<sql_client::Row>, String> {
    match timeout(STATEMENT_TIMEOUT, conn.query(statement)).await {
        Ok(rows) => rows.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "the server did not respond within {} s",
            STATEMENT_TIMEOUT.as_secs()
        )),
    }
}

/// Whether a write reaches every member now.
fn is_writable(server: &ServerState) -> bool {
    let ServerState::Responding { reading, .. } = server else {
        return false;
    };
    let status = &reading.status;
    status.cluster_status == Some(ClusterStatus::Primary)
        && status.local_state == Some(LocalState::Synced)
        && status.ready != Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(variable: &'static str, name: &str) -> ManagedAccount {
        let source = SettingsSource::new(|name| {
            ["MYSQL_ROOT_PASSWORD", "CONSOLE_PASSWORD"]
                .contains(&name)
                .then(|| "new".into())
        });
        let settings = AccountSettings::read(&source).unwrap();
        let accounts = managed_accounts(&settings, Some("mysql"));
        let found = |account: &&ManagedAccount| {
            account.variable == variable && account.display_name() == name
        };
        accounts.iter().find(found).unwrap().clone()
    }

    #[test]
    fn only_a_changed_setting_changes_a_password() {
        let console = account("CONSOLE_PASSWORD", "console@%");
        let (new, old) = (native_password_hash("new"), native_password_hash("old"));
        for (exists, denied, known, expected) in [
            (false, true, None, AccountRemedy::Create),
            (false, true, Some(&new), AccountRemedy::Create),
            (true, true, Some(&old), AccountRemedy::ChangePassword),
            (true, false, Some(&old), AccountRemedy::ChangePassword),
            // A person changed it in the database, or another node with another setting.
            (true, true, Some(&new), AccountRemedy::Report),
            // These data were never seen with a right setting.
            (true, true, None, AccountRemedy::Report),
            (true, false, None, AccountRemedy::Leave),
            (true, false, Some(&new), AccountRemedy::Leave),
        ] {
            let found = remedy(&console, exists, denied, known.map(String::as_str));
            assert_eq!(found, expected, "{exists} {denied} {known:?}");
        }
        // An application's account of the system user's name.
        let own = account("", "mysql@localhost");
        assert_eq!(remedy(&own, true, true, None), AccountRemedy::Leave);
        assert_eq!(remedy(&own, false, true, None), AccountRemedy::Create);
    }
}
