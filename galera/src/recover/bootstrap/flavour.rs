//! The commands that an operator types, in the flavour of the server.

use crate::judge::cluster::node_facts::NodeFacts;

/// Whose server a node runs, as far as its commands differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerFlavour {
    /// MariaDB; also assumed of a node that was never seen.
    MariaDb,
    /// Percona XtraDB Cluster and MySQL with the wsrep patch.
    MySql,
}

impl ServerFlavour {
    /// The flavour of a node, from the version that it last reported.
    pub(super) fn of(facts: &NodeFacts<'_>) -> Self {
        let last = facts.probe.and_then(|probe| probe.status.as_ref());
        let version = last.and_then(|(_, status)| status.version.as_deref());
        Self::of_version(version)
    }

    fn of_version(version: Option<&str>) -> Self {
        match version.map(str::to_ascii_lowercase) {
            Some(version) if !version.contains("mariadb") => Self::MySql,
            _ => Self::MariaDb,
        }
    }

    /// Runs a statement on the node. `statement` has no double quote.
    pub(super) fn client_command(self, statement: &str) -> String {
        match self {
            Self::MariaDb => format!("mariadb -e \"{statement}\""),
            Self::MySql => format!("mysql -e \"{statement}\""),
        }
    }

    /// Prints the position of a stopped node's data.
    pub(super) const fn recover_command(self) -> &'static str {
        match self {
            Self::MariaDb => {
                "mariadbd --user=mysql --wsrep-recover --disable-log-error 2>&1 | grep 'Recovered position'"
            }
            // Started as root it refuses to run, and it logs where its configuration says.
            Self::MySql => {
                "mysqld --user=mysql --wsrep-recover --log-error=/dev/stderr 2>&1 | grep 'Recovered position'"
            }
        }
    }

    /// Starts a node as a new Primary component.
    pub(super) const fn bootstrap_command(self) -> &'static str {
        match self {
            Self::MariaDb => "galera_new_cluster",
            Self::MySql => "systemctl start mysql@bootstrap.service",
        }
    }

    /// What to know about [`Self::bootstrap_command`].
    pub(super) const fn bootstrap_note(self) -> &'static str {
        match self {
            Self::MariaDb => "Starts it as a new Primary component.",
            Self::MySql => {
                "Starts it as a new Primary component. With MySQL of Codership: mysqld_bootstrap. Once the others have joined, stop this unit and start mysql."
            }
        }
    }

    /// Starts a node that joins.
    pub(super) const fn start_command(self) -> &'static str {
        match self {
            Self::MariaDb => "systemctl start mariadb",
            Self::MySql => "systemctl start mysql",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_the_flavour() {
        for (version, flavour) in [
            (None, ServerFlavour::MariaDb),
            (Some("10.11.19-MariaDB-log"), ServerFlavour::MariaDb),
            (Some("11.8.9-mariadb-ubu2404"), ServerFlavour::MariaDb),
            (Some("5.7.44-48-57-log"), ServerFlavour::MySql),
            (Some("8.0.36-28.1"), ServerFlavour::MySql),
            (Some("8.4.5-5.1"), ServerFlavour::MySql),
        ] {
            assert_eq!(ServerFlavour::of_version(version), flavour, "{version:?}");
        }
    }
}
