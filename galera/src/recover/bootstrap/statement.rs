//! The bootstrap statement, in the dialect of the server that runs it (I20).

use crate::observe::wsrep::WsrepStatus;

/// How a server accepts provider options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementDialect {
    /// `wsrep_provider_options`, the usual way.
    ProviderOptions,
    /// MariaDB with the `wsrep_provider` plugin: every option is a variable, and `wsrep_provider_options` is rejected.
    ProviderPlugin,
}

impl StatementDialect {
    pub const ALL: [Self; 2] = [Self::ProviderOptions, Self::ProviderPlugin];

    /// The dialect of a server, from its variables.
    #[must_use]
    pub fn of(status: &WsrepStatus) -> Self {
        if status.provider_plugin {
            Self::ProviderPlugin
        } else {
            Self::ProviderOptions
        }
    }

    /// The statement that makes the executor's component Primary. It triggers with any value, so it is never sent as a
    /// probe, and no part of it is user input.
    #[must_use]
    pub const fn bootstrap_statement(self) -> &'static str {
        match self {
            Self::ProviderOptions => "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'",
            Self::ProviderPlugin => "SET GLOBAL wsrep_provider_pc_bootstrap=ON",
        }
    }
}
