//! Parsers of single values. Every error says what is wrong with the text and shows a valid example.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use console_core::net::PublicUrl;
use galera::access::Role;
use galera::recover::plan::ActionKind;
use galera::{ClusterName, NodeId};
use ipnet::IpNet;
use monitor::MetricsNodes;
use registry::Secret;

use super::{ApprovalPolicy, read_password};
use crate::allowed_hosts::HostPattern;

pub(super) fn non_empty_text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty".to_owned()),
        trimmed if trimmed.chars().any(char::is_control) => {
            Err("contains control characters".to_owned())
        }
        trimmed => Ok(trimmed.to_owned()),
    }
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("is empty; give a path".to_owned())
    } else {
        Ok(PathBuf::from(text))
    }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let bad = || {
        format!(
            "{text:?} is not a valid address; use ADDRESS:PORT, e.g. 127.0.0.1:3000 or [::1]:3000"
        )
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    match host {
        "" => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        "localhost" => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err(bad()),
    }
}

/// A network; a bare address is a network with a single host.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| {
        format!("{text:?} is not a valid network; use ADDRESS or ADDRESS/BITS, e.g. 10.0.0.0/8")
    })
}

pub(super) fn public_url(text: &str) -> Result<PublicUrl, String> {
    let bad = |why: &str| format!("{text:?} {why}; use e.g. https://console.example.org");
    let uri: http::Uri = text.parse().map_err(|_| bad("is not a valid URL"))?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(bad("does not start with https:// or http://")),
    };
    let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("contains credentials"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(bad(
            "has a path; the console must be served at the root of its host",
        ));
    }
    let default_port = if https { 443 } else { 80 };
    let host = authority.host().to_ascii_lowercase();
    let authority = match authority.port_u16() {
        Some(port) if port != default_port => format!("{host}:{port}"),
        _ => host,
    };
    Ok(PublicUrl { https, authority })
}

pub(super) fn host_pattern(text: &str) -> Result<HostPattern, String> {
    HostPattern::parse(text).ok_or_else(|| {
        format!("{text:?} is not a host; use e.g. console.example.org or 10.0.0.7:3000, without a scheme or path")
    })
}

/// The token in the file of `--metrics-token-file`.
pub(super) fn metrics_token(path: &Path) -> Result<Secret, String> {
    const SHORTEST: usize = 16;
    let token = read_password(path)?;
    let text = token.expose();
    if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{} must contain at least {SHORTEST} printable characters without spaces; use e.g. openssl rand -hex 32",
            path.display()
        ));
    }
    Ok(token)
}

/// The secret in the file of `--audit-anchor-secret-file`.
pub(super) fn webhook_secret(path: &Path) -> Result<Secret, String> {
    let secret = read_password(path)?;
    if !notify::is_webhook_secret(secret.expose()) {
        return Err(format!(
            "{} must contain 16 to 256 printable characters without spaces; use e.g. openssl rand -hex 32",
            path.display()
        ));
    }
    Ok(secret)
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!(
            "{text:?} is not a valid port; use a number from 1 to 65535"
        )),
    }
}

/// `COUNT` for every kind and `KIND=COUNT` for single ones, separated by commas.
pub(super) fn approvals(text: &str) -> Result<ApprovalPolicy, String> {
    let (mut otherwise, mut kinds) = (None, BTreeMap::new());
    for part in text.split(',').map(str::trim) {
        let before = match part.split_once('=') {
            Some((kind, count)) => {
                kinds.insert(action_kind(kind.trim())?, approval_count(count.trim())?)
            }
            None => otherwise.replace(approval_count(part)?),
        };
        if before.is_some() {
            return Err(format!("{text:?} sets the same kind twice"));
        }
    }
    Ok(ApprovalPolicy {
        // A text that names single kinds only leaves the default for the others.
        default_count: otherwise.unwrap_or(1),
        per_kind: kinds,
        clusters: Vec::new(),
    })
}

fn action_kind(kind: &str) -> Result<ActionKind, String> {
    let found = ActionKind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind);
    found.ok_or_else(|| {
        format!("unknown kind of action {kind:?}; expected bootstrap, cleanup or decommission")
    })
}

fn approval_count(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count) if count <= 16 => Ok(count),
        _ => Err(format!(
            "{text:?} is not a valid number of approvals; use a number from 0 to 16"
        )),
    }
}

/// A duration of at least `min`; `None` for 0.
pub(super) fn optional_duration(text: &str, min: Duration) -> Result<Option<Duration>, String> {
    if text.trim() == "0" {
        return Ok(None);
    }
    duration_between(text, min, Duration::from_secs(30 * 86_400)).map(Some)
}

pub(super) fn role(text: &str) -> Result<Role, String> {
    text.parse()
        .map_err(|error: galera::access::ParseRoleError| error.to_string())
}

/// Which nodes have separate series.
pub(super) fn metrics_nodes(text: &str) -> Result<MetricsNodes, String> {
    match text {
        "all" => Ok(MetricsNodes::All),
        "unhealthy" => Ok(MetricsNodes::Unhealthy),
        "none" => Ok(MetricsNodes::None),
        _ => Err(format!("{text:?} is not one of all, unhealthy and none")),
    }
}

/// Maximum number of changes kept.
pub(super) fn change_count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if (1_000..=10_000_000).contains(&count) => Ok(count),
        _ => Err(format!(
            "{text:?} is not a valid number of changes; use a number from 1000 to 10000000"
        )),
    }
}

/// Maximum number of something that clients use.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=1_000_000).contains(&count) => Ok(count),
        _ => Err(format!(
            "{text:?} is not a valid limit; use a number from 1 to 1000000"
        )),
    }
}

/// Parses `512MiB`, `8GiB` or a number of bytes.
pub(super) fn byte_size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: Option<u64> = match unit.trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let size = number.parse::<u64>().ok().zip(factor);
    match size.and_then(|(number, factor)| number.checked_mul(factor)) {
        Some(bytes) if bytes >= 1 << 20 => Ok(bytes),
        _ => Err(format!(
            "{text:?} is not a valid size; use at least 1MiB, with a unit, e.g. 512MiB or 8GiB"
        )),
    }
}

/// Parses `500ms`, `1s`, `1.5s`, `2m`, `12h` or `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!(
            "{text:?} is not a valid duration; use a number with a unit, e.g. 500ms, 3s, 5m, 12h or 7d"
        )
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(bad)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(bad()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())
}

/// Formats a duration so that [`duration`] can parse it.
pub(super) fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

pub(super) fn duration_between(
    text: &str,
    shortest: Duration,
    longest: Duration,
) -> Result<Duration, String> {
    let value = duration(text)?;
    if (shortest..=longest).contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "{text:?} is out of range; use {} to {}",
        format_duration(shortest),
        format_duration(longest)
    ))
}

pub(super) fn prefix(text: &str) -> Result<String, String> {
    let bad = |why: &str| format!("{text:?} {why}; use e.g. /galera");
    let rest = text
        .strip_prefix('/')
        .ok_or_else(|| bad("does not start with /"))?;
    if rest.is_empty() || rest.split('/').any(str::is_empty) {
        return Err(bad("has an empty segment or ends with /"));
    }
    if text.len() > 200 || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(bad(
            "is longer than 200 characters or contains other than printable ASCII characters",
        ));
    }
    Ok(text.to_owned())
}

/// One `NAME=HOST[:PORT],…`; members are normalised to `default_port`.
pub(super) fn cluster(
    text: &str,
    default_port: u16,
) -> Result<(ClusterName, BTreeSet<NodeId>), String> {
    // No address has an equals sign, but a name may.
    let (name, members) = text.rsplit_once('=').ok_or_else(|| {
        format!("{text:?} is not a valid cluster; use NAME=HOST[:PORT],…, e.g. lab=10.0.0.1,10.0.0.2:3307")
    })?;
    let name =
        ClusterName::from_wsrep_name(name.trim()).map_err(|error| format!("{text:?}: {error}"))?;
    let mut nodes = BTreeSet::new();
    for member in members.split(',').map(str::trim) {
        let node: NodeId = member
            .parse()
            .map_err(|error| format!("cluster {name}: member {member:?}: {error}"))?;
        if !nodes.insert(node.normalized(default_port)) {
            return Err(format!("cluster {name} lists {member} twice"));
        }
    }
    Ok((name, nodes))
}

/// All clusters; names are unique.
pub(super) fn clusters(
    texts: &[String],
    default_port: u16,
) -> Result<BTreeMap<ClusterName, BTreeSet<NodeId>>, Vec<String>> {
    let mut clusters = BTreeMap::new();
    let mut errors = Vec::new();
    for text in texts {
        match cluster(text, default_port) {
            Ok((name, nodes)) => {
                if clusters.insert(name.clone(), nodes).is_some() {
                    errors.push(format!(
                        "cluster {name} is given twice; list all its members in one place"
                    ));
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(clusters)
    } else {
        Err(errors)
    }
}
