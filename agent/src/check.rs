//! `galera-agent check`: the health endpoint's answer as an exit code, for container health checks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Applies to connecting, reading and writing separately.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of a response that are read at most.
const RESPONSE_MAX: u64 = 16 * 1024;

/// Queries the agent's health endpoint at `address`. Returns whether it is healthy, and the response line.
///
/// With `live`, any response counts as healthy (I24).
///
/// # Errors
/// If there is no response, or it is not galera-agent's.
pub fn query_health(address: SocketAddr, live: bool) -> io::Result<(bool, String)> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let path = if live { "/live" } else { "/" };
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(RESPONSE_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1);
    match status {
        Some("200") => Ok((true, body.trim().to_owned())),
        Some("503") => Ok((false, body.trim().to_owned())),
        _ => Err(io::Error::other("the responder is not galera-agent")),
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    if !address.ip().is_unspecified() {
        return TcpStream::connect_timeout(&address, TIMEOUT);
    }
    let loopback = |ip: IpAddr| SocketAddr::new(ip, address.port());
    TcpStream::connect_timeout(&loopback(Ipv4Addr::LOCALHOST.into()), TIMEOUT)
        .or_else(|_| TcpStream::connect_timeout(&loopback(Ipv6Addr::LOCALHOST.into()), TIMEOUT))
}
