//! Configuration: what differs between members, and what is risky on any of them.

use std::collections::{BTreeMap, BTreeSet};

use super::server::ObservedServer;
use super::{Finding, FindingCode, FindingSeverity, manual, name_list};

/// What must be the same on all members, because write-sets or tables depend on it.
const SAME_FOR_CORRECTNESS: [&str; 7] = [
    "binlog_format",
    "default_storage_engine",
    "innodb_page_size",
    "lower_case_table_names",
    "pxc_strict_mode",
    "sql_mode",
    "wsrep_certify_nonpk",
];
/// What is usually meant to be the same: a difference shows only after clients move to another member.
const SAME_FOR_OPERATION: [&str; 24] = [
    "character_set_server",
    "collation_server",
    "gcache.size",
    "gcs.fc_factor",
    "gcs.fc_limit",
    "innodb_autoinc_lock_mode",
    "innodb_buffer_pool_size",
    "innodb_flush_log_at_trx_commit",
    "innodb_snapshot_isolation",
    "log_bin",
    "max_allowed_packet",
    "max_connections",
    "pc.ignore_quorum",
    "pc.ignore_sb",
    "pc.recovery",
    "sync_binlog",
    "transaction_isolation",
    "wsrep_gtid_mode",
    "wsrep_max_ws_rows",
    "wsrep_max_ws_size",
    "wsrep_osu_method",
    "wsrep_slave_threads",
    "wsrep_sst_method",
    "wsrep_sync_wait",
];

pub(super) fn check(servers: &[ObservedServer<'_>], found: &mut Vec<Finding>) {
    drift(
        servers,
        &SAME_FOR_CORRECTNESS,
        FindingSeverity::Warning,
        found,
    );
    drift(servers, &SAME_FOR_OPERATION, FindingSeverity::Notice, found);
    let each = [
        autoinc_lock_mode,
        binlog_format,
        relaxed_durability,
        stale_reads,
        traffic_not_encrypted,
        primary_not_recovered,
    ];
    for rule in each {
        found.extend(rule(servers));
    }
    found.extend(auto_increment_overlap(servers));
}

/// One finding for each variable that differs between servers that have it.
fn drift(
    servers: &[ObservedServer<'_>],
    names: &[&str],
    severity: FindingSeverity,
    found: &mut Vec<Finding>,
) {
    for name in names {
        let known: Vec<_> = servers
            .iter()
            .filter_map(|server| Some((server, server.text(name)?)))
            .collect();
        let meanings: BTreeSet<String> = known
            .iter()
            .map(|(server, value)| match server.details {
                Some(details) => details.meaning(name, value),
                None => (*value).to_owned(),
            })
            .collect();
        if meanings.len() < 2 {
            continue;
        }
        let values: BTreeSet<&str> = known.iter().map(|(_, value)| *value).collect();
        let shown = values.iter().map(|value| match *value {
            "" => "an empty value",
            value => value,
        });
        let shown: Vec<&str> = shown.collect();
        found.push(Finding {
            code: FindingCode::ConfigurationDrift,
            severity,
            nodes: known.iter().map(|(server, _)| server.id()).collect(),
            message: format!("{name} differs between members: {}.", shown.join(", ")),
            evidence: known.iter().map(|(server, _)| server.variable(name)).collect(),
            remedy: format!(
                "Set {name} to one value in the configuration of every member, unless the difference is on purpose."
            ),
            manual: manual::CONFIGURATION,
            subject: Some((*name).to_owned()),
        });
    }
}

/// The servers of which `wrong` is true; `None` if it is of none.
fn servers_with<'a, 'b>(
    servers: &'b [ObservedServer<'a>],
    wrong: impl Fn(&ObservedServer<'a>) -> bool,
) -> Option<Vec<&'b ObservedServer<'a>>> {
    let concerned: Vec<_> = servers.iter().filter(|server| wrong(server)).collect();
    (!concerned.is_empty()).then_some(concerned)
}

/// A finding about a variable of `concerned`.
fn about_variable(
    code: FindingCode,
    severity: FindingSeverity,
    concerned: &[&ObservedServer<'_>],
    variable: &str,
    consequence: &str,
    remedy: &str,
) -> Finding {
    let names = name_list(concerned.iter().map(|server| server.node));
    let values: BTreeSet<&str> = concerned
        .iter()
        .filter_map(|server| server.text(variable))
        .collect();
    let values: Vec<&str> = values.into_iter().collect();
    Finding {
        code,
        severity,
        nodes: concerned.iter().map(|server| server.id()).collect(),
        message: format!(
            "{variable} is {} on {names}: {consequence}.",
            values.join(" or ")
        ),
        evidence: concerned
            .iter()
            .map(|server| server.variable(variable))
            .collect(),
        remedy: remedy.to_owned(),
        manual: match variable.contains('.') {
            true => manual::PARAMETERS,
            false => manual::CONFIGURATION,
        },
        subject: None,
    }
}

fn autoinc_lock_mode(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    const NAME: &str = "innodb_autoinc_lock_mode";
    let wrong = |server: &ObservedServer<'_>| server.number(NAME).is_some_and(|mode| mode != 2);
    servers_with(servers, wrong).map(|concerned| {
        about_variable(
            FindingCode::AutoincLockMode,
            FindingSeverity::Warning,
            &concerned,
            NAME,
            "parallel applying of inserts can deadlock permanently",
            "Set innodb_autoinc_lock_mode=2 in the configuration and restart one member after the other.",
        )
    })
}

fn binlog_format(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    const NAME: &str = "binlog_format";
    let wrong = |server: &ObservedServer<'_>| {
        let format = server.text(NAME);
        format.is_some_and(|format| !format.eq_ignore_ascii_case("ROW"))
    };
    servers_with(servers, wrong).map(|concerned| {
        about_variable(
            FindingCode::BinlogFormat,
            FindingSeverity::Critical,
            &concerned,
            NAME,
            "Galera replicates rows only, and members can diverge",
            "SET GLOBAL binlog_format='ROW', and in the configuration.",
        )
    })
}

fn relaxed_durability(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    const NAME: &str = "innodb_flush_log_at_trx_commit";
    let relaxed = |server: &ObservedServer<'_>| server.number(NAME).is_some_and(|mode| mode != 1);
    servers_with(servers, relaxed).map(|concerned| {
        // As long as one member flushes every commit, a failure of all of them at once loses nothing.
        let all = concerned.len() == servers.len();
        let consequence = if all {
            "committed transactions of the last second are lost when all members crash together"
        } else {
            "a member that crashes with its operating system restarts with less than it committed"
        };
        let severity = if all {
            FindingSeverity::Warning
        } else {
            FindingSeverity::Notice
        };
        about_variable(
            FindingCode::RelaxedDurability,
            severity,
            &concerned,
            NAME,
            consequence,
            "SET GLOBAL innodb_flush_log_at_trx_commit=1 where no committed transaction may be lost; it costs commits per \
             second on slow disks.",
        )
    })
}

fn stale_reads(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    const NAME: &str = "wsrep_sync_wait";
    if servers.len() < 2 {
        return None;
    }
    let off = |server: &ObservedServer<'_>| server.number(NAME) == Some(0);
    servers_with(servers, off).map(|concerned| {
        about_variable(
            FindingCode::StaleReads,
            FindingSeverity::Notice,
            &concerned,
            NAME,
            "a client that reads from one member need not see what it has just written on another",
            "Where an application must read its own writes on another member, set wsrep_sync_wait=1 in its session.",
        )
    })
}

fn traffic_not_encrypted(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    const NAME: &str = "socket.ssl";
    let plain = |server: &ObservedServer<'_>| server.switch(NAME) == Some(false);
    servers_with(servers, plain).map(|concerned| {
        about_variable(
            FindingCode::TrafficNotEncrypted,
            FindingSeverity::Notice,
            &concerned,
            NAME,
            "write-sets cross the network readable, and any host that reaches the port can join",
            "Set socket.ssl_key, socket.ssl_cert and socket.ssl_ca in wsrep_provider_options, or keep the group in a \
             separate network.",
        )
    })
}

fn primary_not_recovered(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    const NAME: &str = "pc.recovery";
    let off = |server: &ObservedServer<'_>| server.switch(NAME) == Some(false);
    servers_with(servers, off).map(|concerned| {
        about_variable(
            FindingCode::PrimaryNotRecovered,
            FindingSeverity::Notice,
            &concerned,
            NAME,
            "after all members lost power, they do not become Primary again automatically",
            "Set pc.recovery=TRUE in wsrep_provider_options.",
        )
    })
}

/// With automatic control off, members must be given different offsets by hand.
fn auto_increment_overlap(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    let mut by_offset: BTreeMap<u64, Vec<&ObservedServer<'_>>> = BTreeMap::new();
    for server in servers {
        let manual = server.switch("wsrep_auto_increment_control") == Some(false);
        if let Some(offset) = server.number("auto_increment_offset").filter(|_| manual) {
            by_offset.entry(offset).or_default().push(server);
        }
    }
    let (offset, concerned) = by_offset
        .into_iter()
        .find(|(_, servers)| servers.len() > 1)?;
    Some(Finding {
        code: FindingCode::AutoIncrementOverlap,
        severity: FindingSeverity::Notice,
        nodes: concerned.iter().map(|server| server.id()).collect(),
        message: format!(
            "auto_increment_offset is {offset} on {}, and wsrep_auto_increment_control is OFF: inserts on several members \
             conflict.",
            name_list(concerned.iter().map(|server| server.node))
        ),
        evidence: concerned
            .iter()
            .map(|server| server.variable("auto_increment_offset"))
            .collect(),
        remedy:
            "SET GLOBAL wsrep_auto_increment_control=ON, unless clients write to one member only."
                .to_owned(),
        manual: manual::VARIABLES,
        subject: None,
    })
}
