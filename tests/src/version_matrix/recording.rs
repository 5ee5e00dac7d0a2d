//! Recordings of what a release answers, from which docs/dialects.md and the unit tests of parsers are made.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::lab::homogeneous::HomogeneousNode;

/// A recording's name and the statement whose rows it has, of two columns each.
const STATEMENTS: [(&str, &str); 4] = [
    ("status", "SHOW GLOBAL STATUS LIKE 'wsrep_%'"),
    ("variables", "SHOW GLOBAL VARIABLES LIKE 'wsrep_%'"),
    (
        "options",
        "SELECT 'wsrep_provider_options', REPLACE(@@wsrep_provider_options, '; ', '\n')",
    ),
    (
        "grants",
        "SELECT 'grants', GROUP_CONCAT(privilege_type ORDER BY privilege_type SEPARATOR '\n') \
         FROM information_schema.user_privileges WHERE grantee = \"'root'@'localhost'\"",
    ),
];

pub(super) async fn record(node: &HomogeneousNode, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let versions = node.release().versions()?;
    for (name, statement) in STATEMENTS {
        let rows: Vec<(String, String)> = node.query("root", statement).await?;
        let lines = rows
            .iter()
            .map(|(name, value)| format!("{name}\t{value}\n"));
        let file = format!(
            "mariadb-{}-galera-{}-{name}.tsv",
            versions.mariadb, versions.galera
        );
        fs::write(directory.join(file), lines.collect::<String>())?;
    }
    Ok(())
}
