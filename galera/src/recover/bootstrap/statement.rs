//! The bootstrap statement, in the dialect of the server that runs it (I20, I38).
//!
//! A statement that was sent may run late: the machine pauses with the statement in a socket, is declared stopped, another
//! component becomes Primary, and the machine resumes. No clock of the console can prevent that, so the server judges it.
//! [`STATEMENT_DEADLINE`] stores a deadline by the server's own clock in a variable of the session, before the intention
//! is recorded. The statement bootstraps only before that deadline, and otherwise sets an option that does not exist,
//! which fails. `SYSDATE` is evaluated when it is reached, where `NOW` is the time at which the statement was received. A
//! session without the variable compares with NULL, and the statement fails as well.

use crate::observe::wsrep::WsrepStatus;

/// Makes the comparison of times independent of the server's time zone and its changes.
pub const STATEMENT_TIME_ZONE: &str = "SET SESSION time_zone='+00:00'";
/// Sets the time after which the server refuses the statement, by its own clock: long enough for
/// [`STATEMENT_WAIT_TIMEOUT`](crate::recover::action::STATEMENT_WAIT_TIMEOUT), and shorter than
/// [`SEND_WINDOW`](crate::recover::action::SEND_WINDOW).
pub const STATEMENT_DEADLINE: &str = "SET @galera_console_deadline=SYSDATE(6)+INTERVAL 5 SECOND";

/// How a server accepts provider options, and what it can judge before it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementDialect {
    /// MariaDB: `wsrep_provider_options`. The server refuses a late statement, and one that finds it Primary.
    ProviderOptions,
    /// MariaDB with the `wsrep_provider` plugin: every option is a variable, and `wsrep_provider_options` is rejected. The
    /// server judges the same.
    ProviderPlugin,
    /// MySQL and Percona servers, where no status may be readable in a statement without quorum: the server refuses a
    /// late statement. (The provider itself ignores one that finds it Primary.)
    MysqlProviderOptions,
}

impl StatementDialect {
    pub const ALL: [Self; 3] = [
        Self::ProviderOptions,
        Self::ProviderPlugin,
        Self::MysqlProviderOptions,
    ];

    /// The dialect of a server, from its variables.
    #[must_use]
    pub fn of(status: &WsrepStatus) -> Self {
        let is_mariadb = status
            .version
            .as_deref()
            .is_some_and(|version| version.to_ascii_lowercase().contains("mariadb"));
        match (status.provider_plugin, is_mariadb) {
            (true, _) => Self::ProviderPlugin,
            (false, true) => Self::ProviderOptions,
            (false, false) => Self::MysqlProviderOptions,
        }
    }

    /// The statement that makes the executor's component Primary, if it runs before the deadline of its session. It may
    /// trigger with any value, so it is never sent as a probe, and no part of it is user input.
    #[must_use]
    pub const fn bootstrap_statement(self) -> &'static str {
        match self {
            Self::ProviderOptions => {
                "SET GLOBAL wsrep_provider_options=IF((SELECT variable_value FROM information_schema.global_status \
                 WHERE variable_name='wsrep_cluster_status')='non-Primary' AND SYSDATE(6)<@galera_console_deadline,\
                 'pc.bootstrap=YES','galera_console.too_late=1')"
            }
            Self::ProviderPlugin => {
                "SET GLOBAL wsrep_provider_pc_bootstrap=IF((SELECT variable_value FROM information_schema.global_status \
                 WHERE variable_name='wsrep_cluster_status')='non-Primary' AND SYSDATE(6)<@galera_console_deadline,\
                 'ON','galera_console_too_late')"
            }
            Self::MysqlProviderOptions => {
                "SET GLOBAL wsrep_provider_options=IF(SYSDATE(6)<@galera_console_deadline,\
                 'pc.bootstrap=YES','galera_console.too_late=1')"
            }
        }
    }

    /// The statement for an operator who runs it manually: without a condition.
    #[must_use]
    pub const fn manual_statement(self) -> &'static str {
        match self {
            Self::ProviderOptions | Self::MysqlProviderOptions => {
                "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'"
            }
            Self::ProviderPlugin => "SET GLOBAL wsrep_provider_pc_bootstrap=ON",
        }
    }

    /// What the server checks when it runs the statement, for the plan.
    pub(super) const fn condition(self) -> &'static str {
        match self {
            Self::ProviderOptions | Self::ProviderPlugin => {
                "The server refuses it more than 5 s after it was prepared, and when it is Primary by then."
            }
            Self::MysqlProviderOptions => {
                "The server refuses it more than 5 s after it was prepared."
            }
        }
    }
}
