//! The fields of a registration, with the status in them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use super::{RegistrationRecord, ReportedData, status_from_fields};
use crate::observe::wsrep::WsrepStatus;

/// The recognized fields of one node (the last segments of its keys) and their values. Immutable: the status is parsed
/// once, and clones share both.
#[derive(Clone, Debug, Default)]
pub struct RegisteredFields(Arc<ParsedFields>);

#[derive(Debug, Default)]
struct ParsedFields {
    values: BTreeMap<String, String>,
    status: WsrepStatus,
    registration: Option<RegistrationRecord>,
}

impl RegisteredFields {
    /// The status in these fields (see [`status_from_fields`]).
    #[must_use]
    pub fn status(&self) -> &WsrepStatus {
        &self.0.status
    }

    /// The durable registration, if there is one.
    #[must_use]
    pub fn registration(&self) -> Option<&RegistrationRecord> {
        self.0.registration.as_ref()
    }

    /// Which data the agent reports on.
    #[must_use]
    pub fn reported_data(&self) -> ReportedData {
        let reported = self.get("data_id").map(String::as_str);
        ReportedData::compare(self.registration(), reported)
    }
}

impl Deref for RegisteredFields {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0.values
    }
}

impl PartialEq for RegisteredFields {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.values == other.0.values
    }
}

impl Eq for RegisteredFields {}

impl From<BTreeMap<String, String>> for RegisteredFields {
    fn from(values: BTreeMap<String, String>) -> Self {
        let status = status_from_fields(&values);
        let registration = values
            .get("registered")
            .map(|value| RegistrationRecord::parse(value.as_bytes()));
        Self(Arc::new(ParsedFields {
            values,
            status,
            registration,
        }))
    }
}

impl FromIterator<(String, String)> for RegisteredFields {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(fields: I) -> Self {
        BTreeMap::from_iter(fields).into()
    }
}
