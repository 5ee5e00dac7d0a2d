//! Findings on real servers: each fault is made, found, ended, and no longer found.

use std::time::Duration;

use acceptance::api::ConsoleClient;
use acceptance::eventually;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::shared;

/// Variables are read every 15 s.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the lab leaves out for speed, and how it is restored.
const SOUND: [(&str, &str); 2] = [
    (
        "SET GLOBAL wsrep_sync_wait=15",
        "SET GLOBAL wsrep_sync_wait=DEFAULT",
    ),
    (
        "SET GLOBAL innodb_flush_log_at_trx_commit=1",
        "SET GLOBAL innodb_flush_log_at_trx_commit=0",
    ),
];
/// Statements that make a fault and end it, and the code that it is found by.
const FAULTS: [(&str, &str, &str); 7] = [
    (
        "SET GLOBAL innodb_flush_log_at_trx_commit=0",
        "SET GLOBAL innodb_flush_log_at_trx_commit=1",
        "relaxed_durability",
    ),
    (
        "SET GLOBAL wsrep_sync_wait=0",
        "SET GLOBAL wsrep_sync_wait=15",
        "stale_reads",
    ),
    (
        "SET GLOBAL max_allowed_packet=1048576",
        "SET GLOBAL max_allowed_packet=DEFAULT",
        "configuration_drift",
    ),
    (
        "SET GLOBAL wsrep_sst_donor='nobody'",
        "SET GLOBAL wsrep_sst_donor=''",
        "unknown_donor",
    ),
    (
        "SET GLOBAL wsrep_provider_options='pc.ignore_sb=TRUE'",
        "SET GLOBAL wsrep_provider_options='pc.ignore_sb=FALSE'",
        "quorum_ignored",
    ),
    (
        "SET GLOBAL wsrep_provider_options='pc.weight=3'",
        "SET GLOBAL wsrep_provider_options='pc.weight=1'",
        "decisive_votes",
    ),
    (
        "SET GLOBAL wsrep_desync=ON",
        "SET GLOBAL wsrep_desync=OFF",
        "donor_without_joiner",
    ),
];

async fn report(api: &ConsoleClient) -> Result<Value> {
    api.get("/api/v1/clusters/lab/findings").await
}

/// The codes of findings that concern `node`.
fn codes_of(report: &Value, node: &str) -> Vec<String> {
    let findings = report["findings"].as_array().into_iter().flatten();
    let concerned = findings.filter(|finding| {
        let mut nodes = finding["nodes"].as_array().into_iter().flatten();
        nodes.any(|id| id == node)
    });
    concerned
        .filter_map(|finding| finding["code"].as_str())
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_real_servers_are_found_and_no_longer_found_once_they_end() -> Result<()> {
    let lab = shared::lab().await?;
    let api = lab.viewer().await?;
    let all: Vec<String> = (1..=3).map(|n| lab.lab.node(n).id().to_string()).collect();
    for number in 1..=3 {
        for (statement, _) in SOUND {
            lab.lab.node(number).execute(statement).await?;
        }
    }
    eventually("a sound cluster", PATIENCE, async || {
        let report = report(&api).await?;
        let found = codes_of(&report, &all[1]);
        let unread = report["unseen"].to_string().contains("read yet");
        ensure!(
            !unread
                && FAULTS
                    .iter()
                    .all(|(_, _, code)| !found.contains(&(*code).to_owned())),
            "{report:#}"
        );
        Ok(())
    })
    .await?;
    let node = lab.lab.node(2);
    for (make, _, _) in FAULTS {
        node.execute(make).await.context(make)?;
    }
    eventually("every fault to be found", PATIENCE, async || {
        let report = report(&api).await?;
        let found = codes_of(&report, &all[1]);
        for (_, _, code) in FAULTS {
            ensure!(
                found.iter().any(|found| found == code),
                "{code}: {report:#}"
            );
        }
        Ok(())
    })
    .await?;
    for (_, end, _) in FAULTS {
        node.execute(end).await.context(end)?;
    }
    eventually("no fault to be found", PATIENCE, async || {
        let report = report(&api).await?;
        let found = codes_of(&report, &all[1]);
        for (_, _, code) in FAULTS {
            ensure!(
                found.iter().all(|found| found != code),
                "{code}: {report:#}"
            );
        }
        Ok(())
    })
    .await?;
    for number in 1..=3 {
        for (_, statement) in SOUND {
            lab.lab.node(number).execute(statement).await?;
        }
    }
    Ok(())
}
