//! `galera-agent may-stop`: whether this node may be stopped now, from the registry and from the members themselves.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use galera::NodeId;
use galera::insight::stop_check::{StopAnswer, StopCheck, StopEffect, stop_check};
use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::Evidence;
use galera::observe::registration::ParsedKey;
use galera::view::{ClusterStatus, RegistryHealth};
use registry::{Listing, Registry};
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::now;
use crate::probe::StatusProbe;
use crate::settings::stop_check::StopCheckSettings;
use crate::settings::{DEFAULT_MYSQL_PORT, DatabaseSettings};

/// Between two attempts of [`wait_until_allowed`].
const INTERVAL: Duration = Duration::from_secs(2);
/// Servers that are read, and names that are resolved, at the same time.
const CONCURRENT_MAX: usize = 16;
/// Registered names that are resolved; a cluster of Galera has fewer members.
const REGISTRATIONS_MAX: usize = 256;
/// How long the resolution of one name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer for people and programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReport {
    pub answer: StopAnswer,
    /// The answer in one sentence, and a line for each thing to know.
    pub text: String,
}

impl StopReport {
    /// 0 yes, 1 no, 2 cannot tell.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.answer {
            StopAnswer::Yes => 0,
            StopAnswer::No => 1,
            StopAnswer::CannotTell => 2,
        }
    }
}

impl From<StopCheck> for StopReport {
    fn from(check: StopCheck) -> Self {
        let mut text = check.summary;
        for finding in &check.findings {
            let effect = match finding.effect {
                StopEffect::Blocks => "no",
                StopEffect::Unknown => "unknown",
                StopEffect::Notice => "note",
            };
            let _ = write!(text, "\n{effect}: {}", finding.message);
        }
        for forecast in &check.returns {
            let _ = write!(text, "\nreturn: {}", forecast.message);
        }
        Self {
            answer: check.answer,
            text,
        }
    }
}

/// Asks until the answer is yes, for `limit` at most. Returns the last answer.
pub async fn wait_until_allowed(
    settings: &StopCheckSettings,
    registry: &Registry,
    limit: Duration,
) -> StopReport {
    let deadline = Instant::now() + limit;
    loop {
        let report = ask(settings, registry).await;
        if report.answer == StopAnswer::Yes || Instant::now() + INTERVAL > deadline {
            return report;
        }
        sleep(INTERVAL).await;
    }
}

/// Reads the registry, this node's server and the members of its Primary view once, now.
///
/// A client of etcd can register any address with any state. Only the members that this node's server lists while it is Primary
/// are read and count; other registrations are those of unconfirmed nodes.
pub async fn ask(settings: &StopCheckSettings, registry: &Registry) -> StopReport {
    let prefix = settings.keys.cluster_prefix(&settings.cluster);
    let listing = Box::pin(registry.list(prefix)).await;
    let error = listing.as_ref().err().map(ToString::to_string);
    let health = RegistryHealth {
        reachable: error.is_none(),
        since: now(),
        error: error.clone(),
    };
    let own = settings.node.clone().normalized(DEFAULT_MYSQL_PORT);
    let mut evidence = Evidence::new(settings.cluster.clone(), health);
    evidence.first_view = false;
    evidence.configured_members.insert(own.clone());
    if let Ok(listing) = &listing {
        add_registrations(settings, listing, &mut evidence);
    }
    evidence.probes.entry(own.clone()).or_default();
    read_members(settings, &mut evidence).await;
    add_members(&own, &mut evidence).await;
    read_members(settings, &mut evidence).await;
    let fold_settings = FoldSettings {
        default_port: DEFAULT_MYSQL_PORT,
        ..FoldSettings::default()
    };
    let view = fold(&evidence, now(), &fold_settings, None);
    let check = stop_check(&view, std::slice::from_ref(&own));
    let mut report = StopReport::from(check);
    if let Some(error) = error {
        let _ = write!(
            report.text,
            "\nnote: the registry cannot be read, so only members that the servers name were asked: {error}"
        );
    }
    report
}

/// Adds the members that `own` lists, each under its registered name if that leads to a listed address.
async fn add_members(own: &NodeId, evidence: &mut Evidence) {
    let status = evidence
        .probes
        .get(own)
        .and_then(|probe| probe.status.as_ref());
    let Some((_, status)) =
        status.filter(|(_, status)| status.cluster_status == Some(ClusterStatus::Primary))
    else {
        return;
    };
    let mut listed: BTreeSet<NodeId> = status
        .incoming_addresses
        .iter()
        .filter_map(|address| address.node())
        .map(|node| node.clone().normalized(DEFAULT_MYSQL_PORT))
        .collect();
    let registered = evidence.registrations.keys().take(REGISTRATIONS_MAX);
    let named: Vec<NodeId> = registered
        .filter(|id| *id != own && !listed.contains(*id))
        .chain([own])
        .cloned()
        .collect();
    let resolved = stream::iter(named)
        .map(|id| async {
            let addresses = resolve(&id).await;
            (id, addresses)
        })
        .buffer_unordered(CONCURRENT_MAX)
        .collect::<Vec<_>>();
    for (id, addresses) in resolved.await {
        let found = addresses.into_iter().find_map(|address| {
            let node = NodeId::new(&address.ip().to_string(), Some(address.port())).ok()?;
            let node = node.normalized(DEFAULT_MYSQL_PORT);
            listed.contains(&node).then_some((address, node))
        });
        if let Some((address, node)) = found {
            if node != id {
                listed.remove(&node);
            }
            evidence.probes.entry(id).or_default().connected_to = Some(address);
        }
    }
    for id in listed {
        evidence.probes.entry(id).or_default();
    }
}

/// The addresses of `id`; none if its name has none.
async fn resolve(id: &NodeId) -> Vec<SocketAddr> {
    let port = id.port().unwrap_or(DEFAULT_MYSQL_PORT);
    let found = timeout(RESOLVE_TIMEOUT, lookup_host((id.host(), port))).await;
    found
        .ok()
        .and_then(Result::ok)
        .map(Iterator::collect)
        .unwrap_or_default()
}

fn add_registrations(settings: &StopCheckSettings, listing: &Listing, evidence: &mut Evidence) {
    let at = now();
    for entry in &listing.entries {
        let ParsedKey::Node {
            cluster,
            node,
            field,
        } = settings.keys.parse(&entry.key)
        else {
            continue;
        };
        if cluster != settings.cluster {
            continue;
        }
        let node = node.normalized(DEFAULT_MYSQL_PORT);
        let registration = evidence.registrations.entry(node).or_default();
        let mut fields = std::collections::BTreeMap::clone(&registration.fields);
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        fields.insert(field.as_str().to_owned(), value);
        registration.fields = fields.into();
        registration.durable |= field.is_durable();
        if entry.lease != 0 {
            registration.leased = true;
            registration.last_put_at = Some(at);
        }
    }
}

/// Reads each server that was not read yet.
async fn read_members(settings: &StopCheckSettings, evidence: &mut Evidence) {
    let pending: Vec<NodeId> = evidence
        .probes
        .iter()
        .filter(|(_, probe)| probe.status.is_none() && probe.error.is_none())
        .map(|(node, _)| node.clone())
        .collect();
    let readings = stream::iter(pending)
        .map(|node| async {
            let database = location(settings, &node);
            let probe = StatusProbe::new(database, settings.cluster.clone());
            (node, Box::pin(probe.probe_once()).await)
        })
        .buffer_unordered(CONCURRENT_MAX)
        .collect::<Vec<_>>();
    for (node, outcome) in readings.await {
        let observation = evidence.probes.entry(node).or_default();
        match outcome {
            Ok(reading) => observation.record_success(now(), reading.status),
            Err(error) => observation.record_failure(now(), error),
        }
    }
}

/// The server of this node where it is configured, any other at its address.
fn location(settings: &StopCheckSettings, node: &NodeId) -> DatabaseSettings {
    if *node == settings.node.clone().normalized(DEFAULT_MYSQL_PORT) {
        return settings.database.clone();
    }
    DatabaseSettings {
        host: node.host().to_owned(),
        port: node.port().unwrap_or(DEFAULT_MYSQL_PORT),
        socket: None,
        ..settings.database.clone()
    }
}
