//! Every table has the same rows on every node, whether they were acknowledged or not.

use std::collections::BTreeMap;

use acceptance::lab::homogeneous::{HomogeneousLab, HomogeneousNode};
use anyhow::{Context, Result, ensure};

/// Tables that replicate. In `mysql` each node keeps statistics, logs and Galera's own views for itself.
const TABLES: &str = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
    WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'sys') \
    AND NOT (TABLE_SCHEMA = 'mysql' AND (ENGINE = 'CSV' OR TABLE_NAME LIKE 'wsrep%' OR TABLE_NAME LIKE '%\\_stats' \
    OR TABLE_NAME IN ('gtid_slave_pos', 'transaction_registry'))) ORDER BY 1, 2";

/// Fails unless all nodes have the same tables with the same rows.
///
/// # Errors
/// Names the tables that differ, with each node's checksum.
pub(super) async fn check_equal(lab: &HomogeneousLab) -> Result<()> {
    let numbers: Vec<usize> = lab.nodes().iter().map(HomogeneousNode::number).collect();
    lab.wait_until_applied(&numbers).await?;
    let mut sums: BTreeMap<String, Vec<Option<u64>>> = BTreeMap::new();
    for (index, node) in lab.nodes().iter().enumerate() {
        for (table, sum) in checksums(node).await? {
            let of_table = sums.entry(table).or_default();
            // A node without the table has no sum.
            of_table.resize(index, None);
            of_table.push(sum);
        }
    }
    sums.retain(|_, sums| sums.len() < lab.nodes().len() || sums.iter().any(|sum| *sum != sums[0]));
    ensure!(sums.is_empty(), "tables differ between the nodes: {sums:?}");
    Ok(())
}

async fn checksums(node: &HomogeneousNode) -> Result<Vec<(String, Option<u64>)>> {
    let tables: Vec<(String, String)> = node.query("root", TABLES).await?;
    ensure!(!tables.is_empty(), "node {} has no tables", node.number());
    let names: Vec<String> = tables
        .iter()
        .map(|(schema, table)| format!("`{schema}`.`{table}`"))
        .collect();
    let statement = format!("CHECKSUM TABLE {} EXTENDED", names.join(", "));
    node.query("root", &statement)
        .await
        .with_context(|| format!("the checksums of node {}", node.number()))
}
