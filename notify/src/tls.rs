//! Explanations of TLS errors. They appear in the delivery log and are read by the administrator of a target, who need not
//! know TLS libraries.

use std::error::Error as StdError;

use tls_files::{explain_tls_error, find_tls_error};

/// Explains a TLS failure in `error` or one of its causes, and its remedy with the `setting` of authorities. The text continues a sentence that names the
/// server.
pub(super) fn explain_tls(
    error: &(dyn StdError + 'static),
    setting: &'static str,
) -> Option<String> {
    explain_tls_error(find_tls_error(error)?, setting)
}
