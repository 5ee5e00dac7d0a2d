//! The database accounts that `galera-agent run` makes.

use registry::Secret;

use super::{SettingError, SettingsSource};

/// A database account.
#[derive(Clone, Debug)]
pub struct DatabaseAccount {
    pub user: String,
    pub password: Secret,
}

/// What the founder makes for an application, as the official images do.
#[derive(Clone, Debug, Default)]
pub struct ApplicationSettings {
    /// A database.
    pub database: Option<String>,
    /// An account that may connect from every host, with all privileges on the database.
    pub account: Option<DatabaseAccount>,
}

/// The accounts, by purpose.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// `root@localhost`.
    pub root: DatabaseAccount,
    /// Host from which a second `root` may connect.
    pub root_host: Option<String>,
    /// Account for state transfers.
    pub sst: Option<DatabaseAccount>,
    /// Read-only account.
    pub console: Option<DatabaseAccount>,
    /// Account that may bootstrap.
    pub recovery: Option<DatabaseAccount>,
    pub application: ApplicationSettings,
}

impl AccountSettings {
    /// Reads and validates the variables of `source`.
    ///
    /// # Errors
    /// [`SettingError`] names the variable and the remedy.
    pub fn read(source: &SettingsSource<'_>) -> Result<Self, SettingError> {
        let root = source.required("MYSQL_ROOT_PASSWORD", "the password of root@localhost")?;
        let accounts = Self {
            root: DatabaseAccount {
                user: "root".to_owned(),
                password: password(source, "MYSQL_ROOT_PASSWORD", root)?,
            },
            root_host: sql_safe_text(source, "MYSQL_ROOT_HOST")?,
            sst: account(source, "XTRABACKUP", Some("xtrabackup"))?,
            console: account(source, "CONSOLE", Some("console"))?,
            recovery: account(source, "RECOVERY", Some("recovery"))?,
            application: ApplicationSettings {
                database: database_name(source)?,
                account: account(source, "MYSQL", None)?,
            },
        };
        let own = [&accounts.sst, &accounts.console, &accounts.recovery];
        let own = own.map(|account| account.as_ref().map(|account| &account.user));
        if let Some(account) = &accounts.application.account
            && (account.user == accounts.root.user || own.contains(&Some(&account.user)))
        {
            let why = format!(
                "{:?} is the name of another account that the agent makes; choose another name",
                account.user
            );
            return Err(source.invalid("MYSQL_USER", why));
        }
        Ok(accounts)
    }
}

fn account(
    source: &SettingsSource<'_>,
    prefix: &str,
    default: Option<&str>,
) -> Result<Option<DatabaseAccount>, SettingError> {
    let user_name = format!("{prefix}_USER");
    let user = sql_safe_text(source, &user_name)?;
    let name = format!("{prefix}_PASSWORD");
    let Some(text) = source.optional(&name)? else {
        return match user {
            Some(user) => Err(source.invalid(
                &name,
                format!("is not set although {user_name} is {user}; set both"),
            )),
            None => Ok(None),
        };
    };
    let Some(user) = user.or_else(|| default.map(ToOwned::to_owned)) else {
        let why = format!("is not set although {name} is; set both");
        return Err(source.invalid(&user_name, why));
    };
    Ok(Some(DatabaseAccount {
        user,
        password: password(source, &name, text)?,
    }))
}

/// A name that needs no quoting beyond backticks.
fn database_name(source: &SettingsSource<'_>) -> Result<Option<String>, SettingError> {
    const NAME: &str = "MYSQL_DATABASE";
    let Some(text) = source.optional(NAME)? else {
        return Ok(None);
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if text.len() > 64 || !text.chars().all(plain) {
        let why = format!("{text:?} is invalid; use at most 64 letters, digits and _ -");
        return Err(source.invalid(NAME, why));
    }
    Ok(Some(text))
}

/// Text that is safe between quotes in an SQL statement.
pub(super) fn sql_safe_text(
    source: &SettingsSource<'_>,
    name: &str,
) -> Result<Option<String>, SettingError> {
    let Some(text) = source.optional(name)? else {
        return Ok(None);
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-%:".contains(c);
    if text.len() > 80 || !text.chars().all(plain) {
        let why = format!("{text:?} is invalid; use at most 80 letters, digits and . _ - % :");
        return Err(source.invalid(name, why));
    }
    Ok(Some(text))
}

fn password(source: &SettingsSource<'_>, name: &str, text: String) -> Result<Secret, SettingError> {
    if text.chars().any(char::is_control) || text.len() > 512 {
        let why =
            "contains control characters or is longer than 512 bytes; choose another password";
        return Err(source.invalid(name, why.to_owned()));
    }
    Ok(Secret::new(text))
}
