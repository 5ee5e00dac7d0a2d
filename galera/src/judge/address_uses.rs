//! Which data last used the address of a member (I34, I43).
//!
//! A closed port shows that the process has stopped which used the address last. That is the member's only if no other data
//! used the address since the member did. Agents name their data under a lease that ends with them, so what they reported
//! is kept: what used an address last is known after the end of a lease, a restart of the console, or a loss of etcd.

use crate::observe::address_use::AddressUse;
use crate::observe::registration::{self, RegisteredFields, ReportedData, is_plain_id};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// What is observed at the address of a node now.
#[derive(Clone, Copy)]
pub(crate) struct AddressReport<'a> {
    /// What its agent reports under a live lease.
    pub(crate) fields: Option<&'a RegisteredFields>,
    /// Whether a server there answers that it is Primary.
    pub(crate) answers_primary: bool,
    /// Whether the node was a member of the last Primary view.
    pub(crate) was_member: bool,
}

/// Whose data use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressUser<'a> {
    /// The member's, with their identity if it is reported.
    Member(Option<&'a str>),
    /// Other data, with their identity; empty if they are not named.
    Other(&'a str),
}

impl<'a> AddressReport<'a> {
    /// Whose data use the address now; `None` if nothing shows that.
    pub(crate) fn user(&self, known: Option<&AddressUse>) -> Option<AddressUser<'a>> {
        let Some(fields) = self.fields else {
            return self.answers_primary.then_some(AddressUser::Member(None));
        };
        let data = fields.get("data_id").map(String::as_str);
        let member = known.and_then(|known| known.member.as_deref());
        if data.is_some() && data == member {
            return Some(AddressUser::Member(data));
        }
        let other = Some(AddressUser::Other(data.unwrap_or_default()));
        match fields.reported_data() {
            ReportedData::Other => other,
            ReportedData::Unregistered
                if registration::reports_no_position(fields) && !self.is_primary(fields) =>
            {
                other.filter(|_| self.was_member)
            }
            // A restored etcd registers what an older volume has.
            ReportedData::Registered | ReportedData::Unregistered
                if data.is_some() && member.is_some() =>
            {
                match self.answers_primary && self.is_primary(fields) {
                    true => Some(AddressUser::Member(data)),
                    false => other,
                }
            }
            ReportedData::Registered | ReportedData::Unregistered => {
                data.is_some().then_some(AddressUser::Member(data))
            }
            ReportedData::Unnamed => self.answers_primary.then_some(AddressUser::Member(None)),
        }
    }

    fn is_primary(&self, fields: &RegisteredFields) -> bool {
        registration::reports_running(fields)
            && fields.status().cluster_status == Some(ClusterStatus::Primary)
    }
}

impl AddressUse {
    /// The use of the address after `user` was seen there at `at`, if it differs from the `known` one.
    pub(crate) fn after(
        known: Option<&Self>,
        user: AddressUser<'_>,
        at: Timestamp,
    ) -> Option<Self> {
        let before = known.map(|known| (known.member.as_deref(), known.other.as_deref()));
        let (member, other) = before.unwrap_or_default();
        let plain = |id: &str| is_plain_id(id).then(|| id.to_owned());
        let (now_member, now_other) = match user {
            AddressUser::Member(data) => (
                data.and_then(plain).or_else(|| member.map(str::to_owned)),
                None,
            ),
            AddressUser::Other(data) => (
                member.map(str::to_owned),
                Some(plain(data).unwrap_or_default()),
            ),
        };
        if (now_member.as_deref(), now_other.as_deref()) == (member, other) {
            return None;
        }
        let next = known.map(|known| known.at.shifted(1));
        Some(Self {
            member: now_member,
            other: now_other,
            at: next.map_or(at, |next| next.max(at)),
        })
    }
}
