//! `galera-agent check`: the health endpoint's answer as an exit code, for container health checks.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// For each place that is queried; shorter than the time-out of the image's health check.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of a response that are read at most.
const RESPONSE_MAX: u64 = 16 * 1024;

/// Where the agent answers: on its socket, which earlier versions do not have, and on the health endpoint.
#[derive(Clone, Debug)]
pub enum HealthPlace {
    Socket(PathBuf),
    Endpoint(SocketAddr),
    SocketOrEndpoint(PathBuf, SocketAddr),
}

impl HealthPlace {
    /// `None` if both are off.
    #[must_use]
    pub fn new(socket: Option<PathBuf>, endpoint: Option<SocketAddr>) -> Option<Self> {
        match (socket, endpoint) {
            (Some(path), Some(address)) => Some(Self::SocketOrEndpoint(path, address)),
            (Some(path), None) => Some(Self::Socket(path)),
            (None, Some(address)) => Some(Self::Endpoint(address)),
            (None, None) => None,
        }
    }
}

/// There is no response, or it is not galera-agent's.
#[derive(Debug, thiserror::Error)]
#[error("no response from the agent at {place}: {error}")]
pub struct CheckError {
    pub place: String,
    pub error: io::Error,
}

/// Queries the agent at `place`. Returns whether it is healthy, and the response line.
///
/// With `live`, any response counts as healthy (I24). The endpoint is used instead of the socket only if no process
/// listens on the socket or this user may not connect to it. An agent that listens and does not respond is not healthy.
///
/// # Errors
/// [`CheckError`].
pub async fn query_health(place: &HealthPlace, live: bool) -> Result<(bool, String), CheckError> {
    let address = match place {
        HealthPlace::Socket(path) => {
            let querying = async { query(UnixStream::connect(path).await?, live).await };
            return within_timeout(&path.display(), querying).await;
        }
        HealthPlace::SocketOrEndpoint(path, address) => {
            let querying = async {
                match UnixStream::connect(path).await {
                    Err(error) if is_unused(&error) => Ok(None),
                    connected => query(connected?, live).await.map(Some),
                }
            };
            match within_timeout(&path.display(), querying).await? {
                Some(response) => return Ok(response),
                None => address,
            }
        }
        HealthPlace::Endpoint(address) => address,
    };
    let querying = async { query(connect(*address).await?, live).await };
    within_timeout(address, querying).await
}

/// Whether no process listens on the socket, or only another user may connect.
fn is_unused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::ConnectionRefused
            | ErrorKind::PermissionDenied
    )
}

async fn within_timeout<T>(
    place: &impl Display,
    querying: impl Future<Output = io::Result<T>>,
) -> Result<T, CheckError> {
    let outcome = match timeout(TIMEOUT, querying).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let text = format!("not within {} s", TIMEOUT.as_secs());
            Err(io::Error::new(ErrorKind::TimedOut, text))
        }
    };
    outcome.map_err(|error| CheckError {
        place: place.to_string(),
        error,
    })
}

async fn query(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    live: bool,
) -> io::Result<(bool, String)> {
    let path = if live { "/live" } else { "/" };
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.take(RESPONSE_MAX).read_to_end(&mut response).await?;
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    let status = head.split_whitespace().nth(1);
    match status {
        Some("200") => Ok((true, body.trim().to_owned())),
        Some("503") => Ok((false, body.trim().to_owned())),
        _ => Err(io::Error::other("the responder is not galera-agent")),
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    if !address.ip().is_unspecified() {
        return TcpStream::connect(address).await;
    }
    let loopback = |ip: IpAddr| SocketAddr::new(ip, address.port());
    match TcpStream::connect(loopback(Ipv4Addr::LOCALHOST.into())).await {
        Ok(stream) => Ok(stream),
        Err(_) => TcpStream::connect(loopback(Ipv6Addr::LOCALHOST.into())).await,
    }
}

#[cfg(test)]
mod tests;
