//! What real servers and their files show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use ::galera::observe::saved_state::GraState;
use anyhow::Result;
use galera_specification::NodeIndex;
use galera_specification::script::{
    FileObservation, NodeObservation, OpenServer, ServerObservation,
};
use mysql_async::prelude::Queryable;

use super::{ScriptLab, TABLE};
use crate::lab::node::GaleraNode;

/// Longest wait for what a server reports; a paused one accepts connections and sends nothing.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

impl ScriptLab {
    pub(super) async fn observe(&self) -> Vec<NodeObservation> {
        let mut observations = Vec::new();
        for node in self.galera.nodes() {
            let server = self.observe_server(node).await;
            let files = (server == ServerObservation::Stopped).then(|| read_files(node));
            observations.push(NodeObservation { server, files });
        }
        if self.network.hosts().len() > self.galera.nodes().len() {
            let arbitrator = self.arbitrator.lock().await;
            let runs = arbitrator.as_ref().is_some_and(super::LabProcess::is_alive);
            let server = if runs {
                ServerObservation::Running
            } else {
                ServerObservation::Stopped
            };
            observations.push(NodeObservation {
                server,
                files: None,
            });
        }
        observations
    }

    async fn observe_server(&self, node: &GaleraNode) -> ServerObservation {
        if node.pid().is_none() {
            return ServerObservation::Stopped;
        }
        match tokio::time::timeout(STATUS_TIMEOUT, self.read_status(node)).await {
            Ok(Ok(open)) => ServerObservation::Open(open),
            Ok(Err(error)) if is_refused(&error) => ServerObservation::Closed,
            Ok(Err(_)) | Err(_) => ServerObservation::Silent,
        }
    }

    async fn read_status(&self, node: &GaleraNode) -> Result<OpenServer> {
        let mut connection = node.root().await?;
        let rows: Vec<(String, String)> = connection
            .query("SHOW GLOBAL STATUS LIKE 'wsrep_%'")
            .await?;
        let rows: BTreeMap<String, String> = rows.into_iter().collect();
        // Outside a Primary component only dirty reads are permitted.
        connection
            .query_drop("SET SESSION wsrep_sync_wait = 0, SESSION wsrep_dirty_reads = ON")
            .await?;
        let writes: Vec<u64> = connection
            .query(format!("SELECT number FROM {TABLE}"))
            .await?;
        connection.disconnect().await?;
        let text = |name: &str| rows.get(name).map_or("", String::as_str);
        let number = |name: &str| text(name).parse().unwrap_or(u64::MAX);
        let primary = text("wsrep_cluster_status") == "Primary";
        Ok(OpenServer {
            primary,
            state: text("wsrep_local_state_comment").to_owned(),
            size: text("wsrep_cluster_size").parse().unwrap_or(usize::MAX),
            members: self.listed_members(text("wsrep_incoming_addresses")),
            weight: number("wsrep_cluster_weight"),
            conf_id: primary.then(|| number("wsrep_cluster_conf_id")),
            seqno: number("wsrep_last_committed").saturating_sub(self.first_seqno),
            writes: writes.into_iter().collect(),
        })
    }

    fn listed_members(&self, listed: &str) -> BTreeSet<NodeIndex> {
        let hosts = listed
            .split(',')
            .filter_map(|address| address.split(':').next());
        let index = |host: &str| {
            let mut nodes = self.galera.nodes().iter();
            nodes.position(|node| node.address().to_string() == host)
        };
        hosts.filter_map(index).collect()
    }
}

/// Whether nothing listens on its socket.
fn is_refused(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<mysql_async::Error>();
    match cause {
        Some(mysql_async::Error::Io(mysql_async::IoError::Io(cause))) => matches!(
            cause.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::NotFound
        ),
        _ => false,
    }
}

fn read_files(node: &GaleraNode) -> FileObservation {
    let bytes = fs::read(node.data().join("grastate.dat")).unwrap_or_default();
    let state = GraState::parse(&bytes);
    FileObservation {
        clean: state.seqno.is_some(),
        safe_to_bootstrap: state.safe_to_bootstrap == Some(true),
        saved_view: node.data().join("gvwstate.dat").exists(),
    }
}
