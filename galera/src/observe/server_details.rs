//! What a server is configured to do and how busy it is, apart from its `wsrep_` status: read every few seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::observe::wsrep::truncate_text;
use crate::timestamp::Timestamp;

/// Variables of the server, by the name under which they are kept. MySQL and MariaDB name some of them differently
/// ([`ALIASES`]).
const VARIABLES: [&str; 37] = [
    "auto_increment_increment",
    "auto_increment_offset",
    "binlog_format",
    "character_set_server",
    "collation_server",
    "default_storage_engine",
    "gtid_domain_id",
    "innodb_autoinc_lock_mode",
    "innodb_buffer_pool_size",
    "innodb_flush_log_at_trx_commit",
    "innodb_page_size",
    "innodb_snapshot_isolation",
    "log_bin",
    "lower_case_table_names",
    "max_allowed_packet",
    "max_connections",
    "pxc_strict_mode",
    "server_id",
    "sql_mode",
    "sync_binlog",
    "system_time_zone",
    "time_zone",
    "transaction_isolation",
    "version",
    "wsrep_auto_increment_control",
    "wsrep_certify_nonpk",
    "wsrep_cluster_address",
    "wsrep_gtid_mode",
    "wsrep_log_conflicts",
    "wsrep_max_ws_rows",
    "wsrep_max_ws_size",
    "wsrep_osu_method",
    "wsrep_slave_threads",
    "wsrep_sst_donor",
    "wsrep_sst_method",
    "wsrep_sync_wait",
    "wsrep_trx_fragment_size",
];
/// Options of the provider, by the name under which they are kept.
const PROVIDER_OPTIONS: [&str; 17] = [
    "evs.inactive_timeout",
    "evs.keepalive_period",
    "evs.suspect_timeout",
    "gcache.recover",
    "gcache.size",
    "gcs.fc_factor",
    "gcs.fc_limit",
    "gcs.fc_master_slave",
    "gcs.fc_single_primary",
    "gmcast.segment",
    "pc.ignore_quorum",
    "pc.ignore_sb",
    "pc.recovery",
    "pc.weight",
    "repl.causal_read_timeout",
    "repl.max_ws_size",
    "socket.ssl",
];
/// Status variables that do not begin with `wsrep_`.
const STATUS: [&str; 9] = [
    "connection_errors_max_connections",
    "innodb_history_list_length",
    "max_used_connections",
    "replicas_running",
    "slaves_connected",
    "slaves_running",
    "threads_connected",
    "threads_running",
    "uptime",
];
/// Other names of variables.
const ALIASES: [(&str, &str); 3] = [
    ("tx_isolation", "transaction_isolation"),
    ("wsrep_applier_threads", "wsrep_slave_threads"),
    ("replicas_running", "slaves_running"),
];
const PROVIDER_PREFIX: &str = "wsrep_provider_";
/// All options in one list.
const PROVIDER_LIST: &str = "wsrep_provider_options";

/// Values of known variables, of options of the provider and of the server's status. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerDetails {
    values: BTreeMap<&'static str, String>,
    read_at: Option<Timestamp>,
}

impl ServerDetails {
    /// The statement that reads the variables. Where the provider's options are variables, each is named.
    #[must_use]
    pub fn variables_statement() -> String {
        let aliases = ALIASES.iter().map(|(alias, _)| (*alias).to_owned());
        let plugin = PROVIDER_OPTIONS
            .iter()
            .map(|option| format!("{PROVIDER_PREFIX}{}", option.replace('.', "_")));
        let names = VARIABLES.iter().map(|name| (*name).to_owned());
        let names = names.chain(aliases).chain(plugin);
        format!(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
            quoted(names.chain([PROVIDER_LIST.to_owned()]))
        )
    }

    /// The statement that reads the status.
    #[must_use]
    pub fn status_statement() -> String {
        format!(
            "SHOW GLOBAL STATUS WHERE Variable_name IN ({})",
            quoted(STATUS.iter().map(|name| (*name).to_owned()))
        )
    }

    /// Parses rows of name and value, of both statements. Unknown names are skipped, long values truncated.
    pub fn from_rows<K: AsRef<str>, V: AsRef<str>>(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut details = Self::default();
        let mut listed = Vec::new();
        for (name, value) in rows {
            let name = name.as_ref().to_ascii_lowercase();
            let value = value.as_ref();
            if name == PROVIDER_LIST {
                for (option, value) in value.split(';').filter_map(|option| option.split_once('='))
                {
                    listed.push((option.trim().to_owned(), value.to_owned()));
                }
            } else if let Some(option) = name.strip_prefix(PROVIDER_PREFIX) {
                // A plugin has one variable for each option: wsrep_provider_gcache_size.
                details.insert(&PROVIDER_OPTIONS, &option.replacen('_', ".", 1), value);
            } else {
                let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
                let name = alias.map_or(name.as_str(), |(_, name)| name);
                details.insert(&VARIABLES, name, value);
                details.insert(&STATUS, name, value);
            }
        }
        // A variable has another spelling (30.000000 for PT30S), and the list, which every server has, is as recent.
        for (option, value) in listed {
            details.insert(&PROVIDER_OPTIONS, &option, &value);
        }
        details
    }

    /// The same, read at `at`.
    #[must_use]
    pub const fn with_time(mut self, at: Timestamp) -> Self {
        self.read_at = Some(at);
        self
    }

    /// When the server started, to about a second; `None` if unknown.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        let uptime = Duration::from_secs(self.number("uptime")?);
        Some(self.read_at?.minus(uptime))
    }

    fn insert(&mut self, known: &'static [&'static str], name: &str, value: &str) {
        if let Ok(index) = known.binary_search(&name) {
            let value = truncate_text(value.trim());
            self.values.insert(known[index], value);
        }
    }

    /// The value of a variable, an option of the provider (`gcache.size`) or a status variable; `None` if the server has
    /// none of this name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of `name`, which is `value`, in one spelling: servers report a switch or a size as it was set.
    #[must_use]
    pub fn meaning(&self, name: &str, value: &str) -> String {
        let numeric = value.bytes().all(|byte| byte.is_ascii_digit());
        match (self.switch(name), self.bytes(name)) {
            (Some(switch), _) if !numeric => switch.to_string(),
            (_, Some(bytes)) => bytes.to_string(),
            _ => value.to_ascii_lowercase(),
        }
    }

    /// A whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// A size with one of the suffixes K, M, G and T, in bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        let (digits, shift) = match text.chars().last()?.to_ascii_uppercase() {
            'K' => (&text[..text.len() - 1], 10),
            'M' => (&text[..text.len() - 1], 20),
            'G' => (&text[..text.len() - 1], 30),
            'T' => (&text[..text.len() - 1], 40),
            _ => (text, 0),
        };
        digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
    }

    /// On or off, in any spelling that Galera accepts.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<bool> {
        let value = self.text(name)?;
        let is = |words: [&str; 4]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
        match (
            is(["ON", "1", "YES", "TRUE"]),
            is(["OFF", "0", "NO", "FALSE"]),
        ) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

fn quoted(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::wsrep::TEXT_MAX;

    #[test]
    fn names_are_sorted_for_the_search() {
        assert!(VARIABLES.is_sorted());
        assert!(PROVIDER_OPTIONS.is_sorted());
        assert!(STATUS.is_sorted());
    }

    #[test]
    fn options_of_a_list_and_of_a_plugin_are_the_same() {
        let list = ServerDetails::from_rows([(
            "wsrep_provider_options",
            "base_dir = /var/lib/mysql/; gcache.size = 128M; pc.recovery = true; gcs.fc_limit = 16; ",
        )]);
        let plugin = ServerDetails::from_rows([
            ("wsrep_provider_gcache_size", "128M"),
            ("wsrep_provider_pc_recovery", "true"),
            ("wsrep_provider_gcs_fc_limit", "16"),
            ("wsrep_provider_base_dir", "/var/lib/mysql/"),
        ]);
        assert_eq!(list, plugin);
        assert_eq!(list.bytes("gcache.size"), Some(128 << 20));
        assert_eq!(list.switch("pc.recovery"), Some(true));
        assert_eq!(list.text("base_dir"), None);
    }

    #[test]
    fn aliases_are_one_variable() {
        let details = ServerDetails::from_rows([
            ("tx_isolation", "REPEATABLE-READ"),
            ("WSREP_APPLIER_THREADS", "4"),
            ("Threads_connected", "7"),
        ]);
        assert_eq!(
            details.text("transaction_isolation"),
            Some("REPEATABLE-READ")
        );
        assert_eq!(details.number("wsrep_slave_threads"), Some(4));
        assert_eq!(details.number("threads_connected"), Some(7));
    }

    #[test]
    fn sizes_that_cannot_be_read_are_unknown() {
        for (value, expected) in [
            ("134217728", Some(134_217_728)),
            ("2g", Some(2 << 30)),
            ("", None),
            ("G", None),
            ("99999999999999999999", None),
            ("18446744073709551615T", None),
            ("é", None),
            ("-1", None),
        ] {
            let details = ServerDetails::from_rows([("wsrep_provider_gcache_size", value)]);
            assert_eq!(details.bytes("gcache.size"), expected, "{value}");
        }
    }

    #[test]
    fn long_values_are_truncated() {
        let details = ServerDetails::from_rows([("sql_mode", "x".repeat(100_000))]);
        assert_eq!(
            details.text("sql_mode").map(|text| text.chars().count()),
            Some(TEXT_MAX + 1)
        );
    }
}
