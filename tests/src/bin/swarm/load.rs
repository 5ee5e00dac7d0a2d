//! Clients of a deployed stack, and the account that they write with.

use std::net::Ipv4Addr;
use std::sync::Arc;

use acceptance::load::{AcknowledgedRow, ConnectTarget, TargetSelector, missing_rows, schema};
use anyhow::Result;

use crate::container_observer::{ContainerObserver, DatabaseLogin};
use crate::docker::{self, Container};

/// How many write at the same time.
pub(crate) const WRITERS: u64 = 3;
/// The password of the account that writes; it lives as long as the stack.
const PASSWORD: &str = "writes-and-reads";

/// The account that writes.
pub(crate) fn login() -> DatabaseLogin {
    DatabaseLogin {
        user: "writer".to_owned(),
        password: PASSWORD.to_owned(),
    }
}

/// Creates the table and the account through `node`, as root.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn prepare(node: &Container) -> Result<()> {
    let statements = schema(PASSWORD).join("; ");
    let script = format!(
        "MYSQL_PWD=$(cat \"$MYSQL_ROOT_PASSWORD_FILE\") mariadb --user=root --execute=\"{statements}\""
    );
    docker::shell(node, &script).await.map(drop)
}

/// To any node that is Synced, each writer to another one.
pub(crate) fn target_synced_nodes(observer: &Arc<ContainerObserver>) -> TargetSelector {
    let observer = Arc::clone(observer);
    Arc::new(move |writer, turn| {
        let nodes = observer.nodes();
        let synced: Vec<_> = nodes
            .iter()
            .filter(|(_, answer)| answer.as_ref().is_some_and(|answer| answer.is_synced()))
            .collect();
        let turn = usize::try_from(writer + turn).unwrap_or_default();
        let (container, _) = synced.get(turn.checked_rem(synced.len())?)?;
        Some(ConnectTarget {
            node: container.task.clone(),
            options: login().options(container.host_address),
        })
    })
}

/// To one address, whatever is behind it.
pub(crate) fn target_address(address: Ipv4Addr) -> TargetSelector {
    Arc::new(move |_, _| {
        Some(ConnectTarget {
            node: address.to_string(),
            options: login().options(address),
        })
    })
}

/// How many of `rows` are not on a node.
///
/// # Errors
/// If it does not respond in time.
pub(crate) async fn count_missing(node: &Container, rows: &[AcknowledgedRow]) -> Result<usize> {
    let missing = missing_rows(login().options(node.host_address), rows).await?;
    Ok(missing.len())
}
