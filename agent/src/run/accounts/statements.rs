//! The SQL of the accounts. Statements contain the hash of a password, never the password: they reach logs, other members
//! and the write-set cache on disk.

use sql_client::native_password_hash;

use crate::settings::accounts::{AccountSettings, DatabaseAccount};

/// How an account signs in.
#[derive(Clone, Debug)]
pub(super) enum SignIn {
    Password(registry::Secret),
    /// As the system user of the same name, over the server's socket.
    SystemUser,
}

/// An account that the agent makes where it is missing.
#[derive(Clone, Debug)]
pub(super) struct ManagedAccount {
    /// The variable that holds its password, for messages.
    pub(super) variable: &'static str,
    pub(super) user: String,
    pub(super) host: String,
    pub(super) sign_in: SignIn,
    /// What it is granted on `*.*`; `None` for no privilege.
    privileges: Option<&'static str>,
}

impl ManagedAccount {
    fn new(
        variable: &'static str,
        account: &DatabaseAccount,
        host: &str,
        privileges: Option<&'static str>,
    ) -> Self {
        Self {
            variable,
            user: account.user.clone(),
            host: host.to_owned(),
            sign_in: SignIn::Password(account.password.clone()),
            privileges,
        }
    }

    /// `'user'@'host'`.
    #[must_use]
    pub(super) fn name(&self) -> String {
        format!("{}@{}", quoted(&self.user), quoted(&self.host))
    }

    /// For messages, without quotes.
    #[must_use]
    pub(super) fn display_name(&self) -> String {
        format!("{}@{}", self.user, self.host)
    }

    fn identified(&self) -> String {
        match &self.sign_in {
            SignIn::Password(password) => format!(
                "IDENTIFIED BY PASSWORD {}",
                quoted(&native_password_hash(password.expose()))
            ),
            SignIn::SystemUser => "IDENTIFIED VIA unix_socket".to_owned(),
        }
    }

    /// Creates it; repeating this changes nothing.
    #[must_use]
    pub(super) fn creation(&self) -> Vec<String> {
        let create = format!(
            "CREATE USER IF NOT EXISTS {} {}",
            self.name(),
            self.identified()
        );
        [create].into_iter().chain(self.grant()).collect()
    }

    /// Grants what it needs.
    #[must_use]
    pub(super) fn grant(&self) -> Option<String> {
        let privileges = self.privileges?;
        let option = match privileges {
            "ALL" => " WITH GRANT OPTION",
            _ => "",
        };
        Some(format!(
            "GRANT {privileges} ON *.* TO {}{option}",
            self.name()
        ))
    }

    /// Replaces its password.
    #[must_use]
    pub(super) fn rotation(&self) -> String {
        format!("ALTER USER {} {}", self.name(), self.identified())
    }
}

/// The accounts of `settings`; `system_user` is the agent's own. `root@localhost` is the first and always exists.
#[must_use]
pub(super) fn managed_accounts(
    settings: &AccountSettings,
    system_user: Option<&str>,
) -> Vec<ManagedAccount> {
    let AccountSettings {
        root,
        root_host,
        sst,
        console,
        recovery,
        application: _,
    } = settings;
    let mut accounts = vec![ManagedAccount::new(
        "MYSQL_ROOT_PASSWORD",
        root,
        "localhost",
        Some("ALL"),
    )];
    if let Some(user) = system_user.filter(|user| *user != root.user) {
        accounts.push(ManagedAccount {
            variable: "",
            user: user.to_owned(),
            host: "localhost".to_owned(),
            sign_in: SignIn::SystemUser,
            privileges: Some("ALL"),
        });
    }
    if let Some(host) = root_host.as_deref().filter(|host| *host != "localhost") {
        let variable = "MYSQL_ROOT_PASSWORD";
        accounts.push(ManagedAccount::new(variable, root, host, Some("ALL")));
    }
    let transfer = "RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR";
    for (variable, account, host, privileges) in [
        ("XTRABACKUP_PASSWORD", sst, "localhost", Some(transfer)),
        ("CONSOLE_PASSWORD", console, "%", None),
        // Required for SET GLOBAL wsrep_provider_options.
        ("RECOVERY_PASSWORD", recovery, "%", Some("SUPER")),
    ] {
        if let Some(account) = account {
            accounts.push(ManagedAccount::new(variable, account, host, privileges));
        }
    }
    accounts
}

/// What a new data directory gets: one statement per line, as the server's bootstrap mode requires.
#[must_use]
pub(in crate::run) fn initial_statements(
    settings: &AccountSettings,
    system_user: Option<&str>,
) -> String {
    let mut statements = vec![
        // Anonymous accounts would shadow all others on this host. CREATE USER requires FLUSH in bootstrap mode.
        "DELETE FROM mysql.global_priv WHERE User = '' OR Host <> 'localhost'".to_owned(),
        "DELETE FROM mysql.db WHERE Db LIKE 'test%'".to_owned(),
        "DROP DATABASE IF EXISTS test".to_owned(),
        "FLUSH PRIVILEGES".to_owned(),
    ];
    let accounts = managed_accounts(settings, system_user);
    if let Some((root, others)) = accounts.split_first() {
        statements.push(root.rotation());
        statements.extend(others.iter().flat_map(ManagedAccount::creation));
    }
    let application = &settings.application;
    if let Some(database) = &application.database {
        statements.push(format!("CREATE DATABASE IF NOT EXISTS `{database}`"));
    }
    if let Some(account) = &application.account {
        let account = ManagedAccount::new("MYSQL_PASSWORD", account, "%", None);
        statements.extend(account.creation());
        if let Some(database) = &application.database {
            // In a GRANT the underscore stands for any character.
            let database = database.replace('_', "\\_");
            statements.push(format!("GRANT ALL ON `{database}`.* TO {}", account.name()));
        }
    }
    statements.iter().map(|text| format!("{text};\n")).collect()
}

/// Quotes text for SQL; the settings exclude control characters.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use crate::settings::SettingsSource;

    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> AccountSettings {
        let value = |name: &str| pairs.iter().find(|(known, _)| *known == name);
        let source = SettingsSource::new(|name| {
            let root = (name == "MYSQL_ROOT_PASSWORD").then_some("r'o\\ot");
            root.or(value(name).map(|(_, value)| *value))
                .map(Into::into)
        });
        AccountSettings::read(&source).unwrap()
    }

    #[test]
    fn no_statement_contains_a_password() {
        let settings = settings(&[
            ("MYSQL_ROOT_HOST", "%"),
            ("XTRABACKUP_PASSWORD", "secret-1"),
            ("CONSOLE_PASSWORD", "secret-2"),
            ("RECOVERY_PASSWORD", "secret-3"),
            ("MYSQL_DATABASE", "shop_eu"),
            ("MYSQL_USER", "shop"),
            ("MYSQL_PASSWORD", "secret-4"),
        ]);
        let text = initial_statements(&settings, Some("mysql"));
        assert!(!text.contains("secret") && !text.contains("o\\"), "{text}");
        for line in [
            "ALTER USER 'root'@'localhost' IDENTIFIED BY PASSWORD '*",
            "CREATE USER IF NOT EXISTS 'mysql'@'localhost' IDENTIFIED VIA unix_socket;",
            "GRANT ALL ON *.* TO 'mysql'@'localhost' WITH GRANT OPTION;",
            "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;",
            "CREATE USER IF NOT EXISTS 'console'@'%' IDENTIFIED BY PASSWORD '*",
            "GRANT SUPER ON *.* TO 'recovery'@'%';",
            "CREATE DATABASE IF NOT EXISTS `shop_eu`;",
            "GRANT ALL ON `shop\\_eu`.* TO 'shop'@'%';",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_second_root_is_made_only_where_a_variable_asks_for_it() {
        for (pairs, count) in [
            (&[][..], 0),
            (&[("MYSQL_ROOT_HOST", "localhost")], 0),
            (&[("MYSQL_ROOT_HOST", "%")], 1),
        ] {
            let text = initial_statements(&settings(pairs), None);
            let found = text.matches("CREATE USER IF NOT EXISTS 'root'").count();
            assert_eq!(found, count, "{text}");
        }
    }

    #[test]
    fn quotes_are_escaped() {
        assert_eq!(quoted(r"a'b\c"), r"'a''b\\c'");
    }
}
