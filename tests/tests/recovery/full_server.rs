//! Recovery of a survivor on which every connection is in use (error 1040).

use std::time::Duration;

use acceptance::Lab;
use acceptance::lab::node::GaleraNode;
use acceptance::recovery_team::{RecoveryTeam, attest_stopped};
use anyhow::{Result, bail, ensure};
use galera::recover::action::ActionState;
use mysql_async::Conn;

/// Longest wait for the views to settle.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The least that the server accepts.
const MAX_CONNECTIONS: usize = 10;
/// Too many connections.
const FULL: u16 = 1040;

/// A console that is started only then reads the server and sends the statement with the connection that the server reserves.
#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_without_a_free_connection_is_recovered() -> Result<()> {
    let lab = Lab::builder().start().await?;
    let node = lab.node(1);
    node.execute(&format!("SET GLOBAL max_connections={MAX_CONNECTIONS}"))
        .await?;
    let clients = fill_connections(node).await?;
    let console = lab.console().await?;
    let team = RecoveryTeam::sign_in(&console).await?;
    lab.node(2).kill();
    lab.node(3).kill();
    let lost = [lab.node(2).id().clone(), lab.node(3).id().clone()];
    let declared = attest_stopped(&lost);
    let plan = team
        .executable_plan_within(SETTLE_TIMEOUT, "bootstrap", &declared)
        .await?;
    let action = team.request("bootstrap", &plan, &declared).await?;
    team.act(&team.approver, &action, "approve").await?;
    let ended = team.wait_for_end(&action).await?.action;
    ensure!(ended.state == ActionState::Succeeded, "{ended:#?}");
    drop(clients);
    Ok(())
}

/// Opens connections until the server has none left.
async fn fill_connections(node: &GaleraNode) -> Result<Vec<Conn>> {
    let mut clients = Vec::new();
    while clients.len() <= MAX_CONNECTIONS {
        match node.app().await {
            Ok(client) => clients.push(client),
            Err(error) => match error.downcast_ref() {
                Some(mysql_async::Error::Server(error)) if error.code == FULL => {
                    return Ok(clients);
                }
                _ => return Err(error),
            },
        }
    }
    bail!("{} clients are connected", clients.len());
}
