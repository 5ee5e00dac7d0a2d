//! One listener that is every scripted server: the address that a client connected to tells which.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::task::TaskTracker;

use crate::packets;
use crate::scripted_fleet::{NodeScript, ScriptedCluster, ScriptedFleet};

/// Connections that may wait to be accepted: all probes begin at once.
const BACKLOG: u32 = 8_192;
/// Pause after a connection could not be accepted, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// The first byte of a statement; anything else ends the conversation.
const QUERY: u8 = 0x03;

/// Listens on `port` of every address.
///
/// # Errors
/// If the port is taken.
pub(crate) fn listen(port: u16) -> Result<TcpListener> {
    raise_open_files();
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG).context("listening for probes")
}

/// One descriptor for each connection of the console.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer, a large fleet fails visibly: its probes time out.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Answers every client until it is dropped.
pub(crate) async fn serve(listener: TcpListener, fleet: Arc<ScriptedFleet>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let fleet = Arc::clone(&fleet);
                TaskTracker::new().spawn(async move {
                    // A client that is gone ends its conversation.
                    let _ = converse(stream, &fleet).await;
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse(mut stream: TcpStream, fleet: &ScriptedFleet) -> std::io::Result<()> {
    let IpAddr::V4(address) = stream.local_addr()?.ip() else {
        return Ok(());
    };
    let Some((cluster, index)) = fleet.node_at(address) else {
        return Ok(());
    };
    stream.set_nodelay(true)?;
    if cluster.nodes[index].script() == NodeScript::Silent {
        return Ok(());
    }
    packets::send(&mut stream, 0, &packets::greeting()).await?;
    packets::receive(&mut stream).await?;
    packets::send(&mut stream, 2, &packets::ok()).await?;
    loop {
        let request = packets::receive(&mut stream).await?;
        if cluster.nodes[index].script() == NodeScript::Silent {
            return Ok(());
        }
        let Some((&QUERY, statement)) = request.split_first() else {
            return Ok(());
        };
        answer(&mut stream, statement, fleet, cluster, index).await?;
    }
}

async fn answer(
    stream: &mut TcpStream,
    statement: &[u8],
    fleet: &ScriptedFleet,
    cluster: &ScriptedCluster,
    index: usize,
) -> std::io::Result<()> {
    if statement.starts_with(b"SHOW GLOBAL STATUS") {
        let rows = fleet.status(cluster, index);
        return stream.write_all(&packets::result(&rows)).await;
    }
    if statement.starts_with(b"SHOW GLOBAL VARIABLES") {
        let rows = ScriptedFleet::variables(cluster, index);
        return stream.write_all(&packets::result(&rows)).await;
    }
    packets::send(stream, 1, &packets::ok()).await
}
