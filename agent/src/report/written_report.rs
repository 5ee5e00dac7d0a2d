//! What was written, to be compared with what is to be written.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::ReportFields;

/// Written at the heartbeat or with a state, because it changes with every commit.
pub(super) const COMMIT_FIELD: &str = "wsrep_last_committed";

/// What this agent has written to the registry.
#[derive(Debug)]
pub(super) struct WrittenReport {
    /// When a field was last written.
    pub(super) written_at: Instant,
    /// When the stored fields were last compared.
    pub(super) compared_at: Instant,
    /// The fields, each with the revision of its last write.
    pub(super) fields: BTreeMap<&'static str, (String, i64)>,
}

impl WrittenReport {
    fn value(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(|(value, _)| value.as_str())
    }

    /// Whether `fields` has another value of `field`, or only one of them has it.
    pub(super) fn differs(&self, field: &str, fields: &ReportFields) -> bool {
        self.value(field) != fields.get(field).map(String::as_str)
    }

    /// Whether nothing differs but the sequence number.
    pub(super) fn has_same_states(&self, fields: &ReportFields) -> bool {
        self.fields.len() == fields.len()
            && fields.iter().all(|(field, value)| match self.value(field) {
                Some(known) => known == value || *field == COMMIT_FIELD,
                None => false,
            })
    }
}
