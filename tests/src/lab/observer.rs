//! Asks every node directly, all the time, and remembers whether there ever were two Primary components of one name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

use crate::background::runtime;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for one node.
const ANSWER: Duration = Duration::from_secs(1);

/// What one node said.
struct Word {
    name: String,
    members: BTreeSet<String>,
}

#[derive(Default)]
struct Record {
    looks: usize,
    primaries: usize,
    violations: Vec<String>,
}

impl Record {
    fn add(&mut self, words: &[Word]) {
        self.looks += 1;
        self.primaries += words.len();
        self.violations.extend(rivals(words));
    }
}

/// A running observer; it ends with this value.
pub struct Observer {
    record: Arc<Mutex<Record>>,
    task: tokio::task::JoinHandle<()>,
}

impl Observer {
    /// Watches the nodes that are reached with `nodes`, each with the address that others know it by.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(nodes: Vec<(String, Opts)>) -> Result<Self> {
        let record = Arc::<Mutex<Record>>::default();
        let seen = Arc::clone(&record);
        let task = runtime()?.spawn(async move {
            loop {
                let words = nodes.iter().map(|(name, options)| ask(name, options));
                let words: Vec<Word> = futures::future::join_all(words)
                    .await
                    .into_iter()
                    .flatten()
                    .collect();
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(&words);
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { record, task })
    }

    /// Ends, and fails when there ever were two Primary components, or when too little was seen to say so.
    ///
    /// # Errors
    /// As said.
    pub fn finish(self) -> Result<()> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(
            record.violations.is_empty(),
            "two at once: {:?}",
            record.violations
        );
        ensure!(
            record.looks > 10 && record.primaries > 10,
            "seen too little: {} looks, {} Primary answers",
            record.looks,
            record.primaries
        );
        Ok(())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a node says when it is Primary.
async fn ask(name: &str, options: &Opts) -> Option<Word> {
    let work = async {
        let mut connection = Conn::new(options.clone()).await?;
        let rows: Vec<(String, String)> = connection
            .query(
                "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_incoming_addresses')",
            )
            .await?;
        connection.disconnect().await?;
        anyhow::Ok(rows)
    };
    let rows = tokio::time::timeout(ANSWER, work).await.ok()?.ok()?;
    let value = |name: &str| {
        rows.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    if value("wsrep_cluster_status")? != "Primary" {
        return None;
    }
    let members = value("wsrep_incoming_addresses")?;
    Some(Word {
        name: name.to_owned(),
        members: members.split(',').map(ToOwned::to_owned).collect(),
    })
}

/// Pairs of Primary nodes of which neither is in the other's component.
fn rivals(words: &[Word]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, one) in words.iter().enumerate() {
        for other in &words[index + 1..] {
            if !one.members.contains(&other.name) && !other.members.contains(&one.name) {
                found.push(format!(
                    "{} in {:?} and {} in {:?}",
                    one.name, one.members, other.name, other.members
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(name: &str, members: &[&str]) -> Word {
        Word {
            name: name.to_owned(),
            members: members.iter().map(|member| (*member).to_owned()).collect(),
        }
    }

    #[test]
    fn two_components_are_noticed_and_one_that_grows_is_not() {
        let apart = [word("a", &["a"]), word("b", &["b", "c"])];
        assert_eq!(rivals(&apart).len(), 1);
        let growing = [word("a", &["a"]), word("b", &["a", "b"])];
        assert!(rivals(&growing).is_empty());
    }
}
