//! The one statement, in the dialect of the server that executes it (I20).

use crate::observe::wsrep::WsrepStatus;

/// How a server takes provider options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementDialect {
    /// `wsrep_provider_options`, as everywhere.
    ProviderOptions,
    /// MariaDB with the plugin `wsrep_provider`, where every option is a variable and the other way fails.
    ProviderPlugin,
}

impl StatementDialect {
    /// The dialect of a server, by its variables.
    #[must_use]
    pub fn of(status: &WsrepStatus) -> Self {
        if status.provider_plugin {
            Self::ProviderPlugin
        } else {
            Self::ProviderOptions
        }
    }

    /// The statement that makes the executor's component Primary. It is a trigger whatever its value says, so it is
    /// never sent as a probe, and nothing of it comes from outside.
    #[must_use]
    pub const fn bootstrap_statement(self) -> &'static str {
        match self {
            Self::ProviderOptions => "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'",
            Self::ProviderPlugin => "SET GLOBAL wsrep_provider_pc_bootstrap=ON",
        }
    }
}
