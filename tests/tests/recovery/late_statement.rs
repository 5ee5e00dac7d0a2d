//! A real server judges whether the bootstrap statement is late (I38). The statements are the ones that the console sends,
//! with an account that has SUPER and nothing else.

use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::node::GaleraNode;
use anyhow::{Context, Result, bail, ensure};
use galera::recover::bootstrap::{STATEMENT_DEADLINE, STATEMENT_TIME_ZONE, StatementDialect};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::shared;
use crate::views::PATIENCE;

const STATEMENT: &str = StatementDialect::ProviderOptions.bootstrap_statement();
/// Incorrect arguments to SET.
const REFUSED: u16 = 1210;
/// Longer than the deadline of a statement.
const PAUSE: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn i38_a_late_statement_makes_no_server_primary() -> Result<()> {
    let lab = shared::lab().await?;
    let node = lab.lab.node(1);
    lab.lab.node(2).kill();
    lab.lab.node(3).kill();
    eventually("n1 to lose quorum", PATIENCE, async || {
        ensure!(status(node).await? == "non-Primary");
        Ok(())
    })
    .await?;

    let mut connection = node.recovery().await?;
    expect_refused(&mut connection, "without a deadline").await?;
    connection.query_drop(STATEMENT_TIME_ZONE).await?;
    let past = STATEMENT_DEADLINE.replace('+', "-");
    connection.query_drop(past).await?;
    expect_refused(&mut connection, "after the deadline").await?;
    ensure!(status(node).await? == "non-Primary");

    check_paused_in_flight(node).await?;

    // Another time zone moves neither time.
    connection
        .query_drop("SET SESSION time_zone='+09:00'")
        .await?;
    for prepared in [STATEMENT_TIME_ZONE, STATEMENT_DEADLINE, STATEMENT] {
        connection.query_drop(prepared).await?;
    }
    eventually("n1 to be Primary", PATIENCE, async || {
        ensure!(status(node).await? == "Primary");
        Ok(())
    })
    .await?;
    expect_refused(&mut connection, "in a Primary component").await
}

/// The statement lies in the server's socket while the machine is paused, and is run after the deadline.
async fn check_paused_in_flight(node: &GaleraNode) -> Result<()> {
    let mut connection = node.recovery().await?;
    for prepared in [STATEMENT_TIME_ZONE, STATEMENT_DEADLINE] {
        connection.query_drop(prepared).await?;
    }
    node.pause()?;
    let mut sent = Box::pin(connection.query_drop(STATEMENT));
    let answered = tokio::time::timeout(PAUSE, &mut sent).await;
    node.resume()?;
    ensure!(
        answered.is_err(),
        "the paused server answered: {answered:?}"
    );
    let answer = tokio::time::timeout(PATIENCE, sent).await;
    expect_error(
        answer.context("no answer after the pause")?,
        "after a pause",
    )?;
    ensure!(status(node).await? == "non-Primary");
    Ok(())
}

async fn expect_refused(connection: &mut Conn, when: &str) -> Result<()> {
    expect_error(connection.query_drop(STATEMENT).await, when)
}

fn expect_error(answer: mysql_async::Result<()>, when: &str) -> Result<()> {
    match answer {
        Err(mysql_async::Error::Server(error)) if error.code == REFUSED => Ok(()),
        other => bail!("{when}: {other:?}"),
    }
}

async fn status(node: &GaleraNode) -> Result<String> {
    let mut rows = node.wsrep().await?;
    rows.remove("wsrep_cluster_status").context("no status")
}
