//! Variables with which a server refuses work, or does it only in part.

/// The variables, of `SHOW GLOBAL VARIABLES`; those that a server does not have are off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceOptions {
    /// `wsrep_on`; `None` if it was not read.
    pub wsrep_on: Option<bool>,
    /// `wsrep_reject_queries` is `ALL` or `ALL_KILL`.
    pub rejects_queries: bool,
    /// `offline_mode` (MySQL).
    pub offline: bool,
    /// `read_only` or `super_read_only`, in any mode but `OFF`.
    pub read_only: bool,
    /// `wsrep_desync`.
    pub desync: bool,
    /// `pxc_maint_mode` (Percona) is not `DISABLED`.
    pub maintenance: bool,
}

impl ServiceOptions {
    /// The names, in lower case, quoted and separated for a statement.
    pub const NAMES: &str = "'wsrep_on', 'wsrep_reject_queries', 'offline_mode', 'read_only', 'super_read_only', \
         'wsrep_desync', 'pxc_maint_mode'";

    /// Takes the value of the variable `name`, in lower case; others are skipped.
    pub(super) fn apply(&mut self, name: &[u8], value: &str) {
        let value = value.trim();
        let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
        // A value of a later version limits the server as well.
        let is_set = !is(&["OFF", "0", "NONE", "DISABLED", ""]);
        match name {
            b"wsrep_on" => self.wsrep_on = super::parse_on_off(value),
            b"wsrep_reject_queries" => self.rejects_queries = is_set,
            b"offline_mode" => self.offline = is_set,
            b"read_only" | b"super_read_only" => self.read_only |= is_set,
            b"wsrep_desync" => self.desync = is_set,
            b"pxc_maint_mode" => self.maintenance = is_set,
            _ => {}
        }
    }
}
