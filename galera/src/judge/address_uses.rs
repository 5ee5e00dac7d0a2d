//! Which data last used the address of a member (I34, I43).
//!
//! A closed port shows that the process has stopped which used the address last. That is the member's only if no other data
//! used the address since the member did. Agents name their data under a lease that ends with them, so what they reported
//! is kept: what used an address last is known after the end of a lease, a restart of the console, or a loss of etcd.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::FoldSettings;
use super::cluster::node_facts::assess_registration;
use crate::id::NodeId;
use crate::observe::address_use::AddressUse;
use crate::observe::observation::Evidence;
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
    /// Where data are reported now.
    pub(crate) located: &'a LocatedData,
}

/// The addresses at which registered data are reported now, by their identity: a member that moved is not missing at its former
/// address.
#[derive(Debug, Default)]
pub(crate) struct LocatedData(BTreeMap<String, BTreeSet<NodeId>>);

impl LocatedData {
    /// As of `now`, without what the `unconfirmed` nodes report.
    pub(crate) fn of(
        evidence: &Evidence,
        unconfirmed: &BTreeSet<NodeId>,
        now: Timestamp,
        settings: &FoldSettings,
    ) -> Self {
        let mut located = Self::default();
        for (id, seen) in &evidence.registrations {
            let id = id.clone().normalized(settings.default_port);
            let live = seen.leased
                && assess_registration(seen, &evidence.registry_health, now, settings).fresh;
            let is_registered = seen.fields.reported_data() == ReportedData::Registered;
            let data = seen.fields.get("data_id");
            if let Some(data) = data.filter(|_| live && is_registered)
                && !unconfirmed.contains(&id)
            {
                located.0.entry(data.clone()).or_default().insert(id);
            }
        }
        located
    }

    fn is_elsewhere(&self, data: &str, id: &NodeId) -> bool {
        let addresses = self.0.get(data);
        addresses.is_some_and(|addresses| !addresses.contains(id) && !addresses.is_empty())
    }
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
    /// Whose data use the address of `id` now; `None` if nothing shows that.
    pub(crate) fn user(&self, id: &NodeId, known: Option<&AddressUse>) -> Option<AddressUser<'a>> {
        let Some(fields) = self.fields else {
            return self.answers_primary.then_some(AddressUser::Member(None));
        };
        let data = fields.get("data_id").map(String::as_str);
        let member = known.and_then(|known| known.member.as_deref());
        let in_primary_view = self.answers_primary && is_primary(fields);
        if data.is_some() && (data == member || in_primary_view) {
            return Some(AddressUser::Member(data));
        }
        let moved = member.is_some_and(|member| self.located.is_elsewhere(member, id));
        let other = Some(AddressUser::Other(data.unwrap_or_default()));
        match fields.reported_data() {
            ReportedData::Other => other,
            ReportedData::Unregistered
                if registration::reports_no_position(fields) && !is_primary(fields) =>
            {
                other.filter(|_| self.was_member && !moved)
            }
            // A restored etcd registers what an older volume has.
            ReportedData::Registered | ReportedData::Unregistered
                if data.is_some() && member.is_some() && !moved =>
            {
                other
            }
            ReportedData::Registered | ReportedData::Unregistered => {
                data.is_some().then_some(AddressUser::Member(data))
            }
            ReportedData::Unnamed => self.answers_primary.then_some(AddressUser::Member(None)),
        }
    }
}

fn is_primary(fields: &RegisteredFields) -> bool {
    registration::reports_running(fields)
        && fields.status().cluster_status == Some(ClusterStatus::Primary)
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
