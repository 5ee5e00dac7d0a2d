//! Prometheus with the files of `deploy/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::prometheus::PrometheusServer;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::shared;

/// Longest wait for a scrape and an evaluation, each due every second.
const PATIENCE: Duration = Duration::from_secs(180);

fn deploy_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}

/// The shipped configuration with this console's address, without a token, and every second.
fn configuration(console: &str) -> Result<String> {
    let shipped = std::fs::read_to_string(deploy_file("prometheus/scrape.yml"))?;
    let without_token = shipped.lines().filter(|line| {
        !["authorization:", "type: Bearer", "credentials_file:"]
            .iter()
            .any(|field| line.trim_start().starts_with(field))
    });
    let text: Vec<&str> = without_token.collect();
    let rules = deploy_file("prometheus/alerts.yml");
    let text = text
        .join("\n")
        .replace("15s", "1s")
        .replace("- alerts.yml", &format!("- {}", rules.display()))
        .replace(
            r#""console-1:3001", "console-2:3001""#,
            &format!("{console:?}"),
        );
    ensure!(text.contains(console), "no targets in {text}");
    Ok(format!("global: {{evaluation_interval: 1s}}\n{text}\n"))
}

/// Every `expr` below `value`.
fn expressions<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str));
            fields.values().for_each(|field| expressions(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_console_and_evaluates_what_is_shipped() -> Result<()> {
    let lab = shared::lab().await?;
    let url = lab.console.url();
    let address = url.strip_prefix("http://").context("an address")?;
    let directory = lab.lab.directory();
    let prometheus = PrometheusServer::start(directory, &configuration(address)?).await?;

    eventually("a scrape of the console", PATIENCE, async || {
        let targets = prometheus.get("targets", &[]).await?;
        let target = &targets["activeTargets"][0];
        ensure!(target["health"] == "up", "{target:#}");
        Ok(())
    })
    .await?;
    let query = "galera_console_node_state{state=\"synced\"} == 1";
    let synced = prometheus.get("query", &[("query", query)]).await?;
    let nodes = synced["result"].as_array().map_or(0, Vec::len);
    ensure!(nodes == 3, "{synced:#}");

    eventually("an evaluation of every alert", PATIENCE, async || {
        let groups = prometheus.get("rules", &[]).await?;
        let groups = groups["groups"].as_array().context("groups")?;
        let mut rules = groups.iter().filter_map(|group| group["rules"].as_array());
        ensure!(rules.clone().count() > 0, "no rules");
        let failed = rules.find_map(|rules| rules.iter().find(|rule| rule["health"] != "ok"));
        ensure!(failed.is_none(), "{failed:#?}");
        Ok(())
    })
    .await?;

    let dashboard = std::fs::read_to_string(deploy_file("grafana/dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let mut panels = Vec::new();
    expressions(&dashboard, &mut panels);
    ensure!(panels.len() > 10, "{panels:?}");
    for panel in panels {
        let every = panel.replace("$cluster", ".*").replace("$node", ".*");
        prometheus.get("query", &[("query", &every)]).await?;
    }
    Ok(())
}
