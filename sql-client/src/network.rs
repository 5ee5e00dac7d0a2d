//! Connections to a server, without deadlines.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::{TcpStream, UnixStream};

/// Connects to the first of `addresses` that accepts.
///
/// # Errors
/// The last attempt's.
pub async fn connect_tcp(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addresses).await?;
    // Statements are single small packets.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects to the Unix socket at `path`.
///
/// # Errors
/// As the system reports it: not found if no server runs.
pub async fn connect_socket(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}
