//! The table of scenarios and releases.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use acceptance::lab::release::ServerRelease;
use acceptance::version_matrix::Scenario;
use anyhow::{Context, Result};

/// Around the table in the file of figures.
const MARKS: [&str; 2] = ["<!-- test-matrix -->\n", "<!-- /test-matrix -->"];

/// What one cluster passed.
pub(crate) struct MatrixColumn {
    title: String,
    times: Vec<(Scenario, Option<Duration>)>,
    rows: Option<usize>,
}

impl MatrixColumn {
    /// Of a cluster of one release.
    ///
    /// # Errors
    /// If it is not unpacked.
    pub(crate) fn new(release: ServerRelease) -> Result<Self> {
        let versions = release.versions()?;
        let title = format!(
            "MariaDB {}, Galera {}, etcd {}",
            versions.mariadb, versions.galera, versions.etcd
        );
        Ok(Self {
            title,
            times: Vec::new(),
            rows: None,
        })
    }

    /// Of a cluster whose release changes.
    ///
    /// # Errors
    /// If one of them is not unpacked.
    pub(crate) fn upgrade(from: ServerRelease, to: ServerRelease) -> Result<Self> {
        let (from, to) = (from.versions()?, to.versions()?);
        let title = format!(
            "MariaDB {} → {}, Galera {} → {}",
            from.mariadb, to.mariadb, from.galera, to.galera
        );
        Ok(Self {
            title,
            times: Vec::new(),
            rows: None,
        })
    }

    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    pub(crate) fn pass(&mut self, scenario: Scenario, time: Duration) {
        println!("  {scenario}: {:.1} s", time.as_secs_f64());
        self.times.push((scenario, Some(time)));
    }

    pub(crate) fn fail(&mut self, scenario: Scenario, error: &anyhow::Error) {
        println!("  {scenario}: FAILED: {error:#}");
        self.times.push((scenario, None));
    }

    pub(crate) fn set_rows(&mut self, rows: usize) {
        println!("  {rows} acknowledged rows, none missing, never two Primary components");
        self.rows = Some(rows);
    }

    pub(crate) fn fail_at_end(&mut self, error: &anyhow::Error) {
        println!("  at the end: FAILED: {error:#}");
    }

    fn cell(&self, scenario: &str) -> String {
        let found = self
            .times
            .iter()
            .find(|(played, _)| played.to_string() == scenario);
        match found {
            Some((_, Some(time))) => format!("{:.1} s", time.as_secs_f64()),
            Some((_, None)) => "**failed**".to_owned(),
            None => String::new(),
        }
    }
}

/// All columns.
#[derive(Default)]
pub(crate) struct MatrixTable {
    columns: Vec<MatrixColumn>,
}

impl MatrixTable {
    pub(crate) fn push(&mut self, column: MatrixColumn) {
        self.columns.push(column);
    }

    pub(crate) fn has_failures(&self) -> bool {
        let failed = |column: &MatrixColumn| {
            column.rows.is_none() || column.times.iter().any(|(_, time)| time.is_none())
        };
        self.columns.iter().any(failed)
    }

    /// Replaces what is between the marks.
    ///
    /// # Errors
    /// If the file has no marks or cannot be written.
    pub(crate) fn write_between_marks(&self, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let [begin, end] = MARKS;
        let parts = text.split_once(begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(end)?;
            Some((before, after))
        });
        let (before, after) =
            parts.with_context(|| format!("no {begin:?} and {end:?} in {}", file.display()))?;
        fs::write(file, format!("{before}{begin}{self}{end}{after}"))?;
        Ok(())
    }
}

impl fmt::Display for MatrixTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = self
            .columns
            .iter()
            .map(|column| format!(" {} |", column.title));
        writeln!(f, "| scenario |{}", titles.collect::<String>())?;
        writeln!(f, "|---|{}", "---|".repeat(self.columns.len()))?;
        let mut scenarios = Scenario::EVERY_RELEASE
            .map(|scenario| scenario.to_string())
            .to_vec();
        scenarios.push(Scenario::Upgrade(ServerRelease::Installed).to_string());
        for scenario in scenarios {
            let cells = self
                .columns
                .iter()
                .map(|column| format!(" {} |", column.cell(&scenario)));
            writeln!(f, "| {scenario} |{}", cells.collect::<String>())?;
        }
        let rows = self.columns.iter().map(|column| match column.rows {
            Some(rows) => format!(" {rows}, none |"),
            None => " |".to_owned(),
        });
        writeln!(
            f,
            "| acknowledged rows, and missing ones |{}",
            rows.collect::<String>()
        )
    }
}
