//! The floods: each runs in tasks until it is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::header::{COOKIE, HOST, ORIGIN};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{FloodedConsole, flood_size};

/// Concurrent clients of the floods that send requests.
const CLIENTS: usize = 64;
/// The longest wait for a response.
const PATIENCE: Duration = Duration::from_secs(10);

/// What attackers do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flood {
    Nothing,
    /// Connections of one address that send nothing.
    IdleSockets,
    /// Clients of many addresses that request a file and never read it, again and again.
    SlowReaders,
    /// Wrong passwords for the viewer and for unknown names, each from another address.
    SignIns,
    /// The sign-in page and a status page that does not exist, without a session.
    AnonymousPages,
    /// Requests with wrong API tokens, as many as the console answers.
    WrongTokens,
    /// WebSocket connections of an account that subscribe again and again and never read.
    WebSockets,
}

impl Flood {
    pub(super) const ALL: [Self; 7] = [
        Self::Nothing,
        Self::IdleSockets,
        Self::SlowReaders,
        Self::SignIns,
        Self::AnonymousPages,
        Self::WrongTokens,
        Self::WebSockets,
    ];

    /// Starts the attack on `console`; it ends when the set is dropped.
    pub(super) async fn start(self, console: &FloodedConsole) -> JoinSet<()> {
        let (address, mut clients) = (console.address(), JoinSet::new());
        match self {
            Self::Nothing => {}
            Self::IdleSockets => {
                let mut sockets = Vec::new();
                for _ in 0..flood_size() {
                    sockets.extend(connect(address, Ipv4Addr::new(127, 0, 0, 2)).await.ok());
                }
                clients.spawn(async move {
                    let _sockets = sockets;
                    std::future::pending::<()>().await;
                });
            }
            Self::SlowReaders => {
                for group in 0..flood_size() / 100 {
                    clients.spawn(read_nothing(address, group));
                }
            }
            Self::SignIns => {
                for client in 0..CLIENTS {
                    clients.spawn(guess_passwords(address, client));
                }
            }
            Self::AnonymousPages => {
                for client in 0..CLIENTS {
                    clients.spawn(request_pages(address, client));
                }
            }
            Self::WrongTokens => {
                for client in 0..CLIENTS {
                    clients.spawn(send_wrong_tokens(address, client));
                }
            }
            Self::WebSockets => {
                for client in 0..CLIENTS {
                    clients.spawn(subscribe(address, client, console.viewer.clone()));
                }
            }
        }
        clients
    }
}

/// A connection to `address` from `source`.
pub(super) async fn connect(address: SocketAddr, source: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    socket.connect(address).await
}

/// The address of an attacker.
fn attacker(number: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(256 + number % 60_000)
        .unwrap_or(256)
        .to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// A client that requests a file and does not read it.
pub(super) async fn slow_reader(address: SocketAddr, source: usize) -> Option<TcpStream> {
    let mut stream = connect(address, attacker(source)).await.ok()?;
    let request = format!("GET /pkg/c.wasm HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    Some(stream)
}

async fn read_nothing(address: SocketAddr, source: usize) {
    // Longer than it takes until the console closes them.
    let mut rounds = interval(Duration::from_secs(10));
    let mut streams = Vec::new();
    loop {
        rounds.tick().await;
        streams.clear();
        for _ in 0..100 {
            streams.extend(slow_reader(address, source).await);
        }
    }
}

async fn exchange(address: SocketAddr, source: usize, line: &str, body: &str) -> Option<usize> {
    let mut stream = connect(address, attacker(source)).await.ok()?;
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.ok()?.ok()
}

async fn guess_passwords(address: SocketAddr, client: usize) {
    for attempt in 0_usize.. {
        let source = attempt * CLIENTS + client;
        let name = match attempt % 2 {
            0 => "vera".to_owned(),
            _ => format!("name{source}"),
        };
        let body = format!(r#"{{"username":"{name}","password":"wrong password"}}"#);
        exchange(address, source, "POST /api/v1/session", &body).await;
    }
}

async fn request_pages(address: SocketAddr, client: usize) {
    for page in ["GET /sign-in", "GET /status/shop"].iter().cycle() {
        exchange(address, client, page, "").await;
    }
}

/// Sends requests without waiting for the responses, which it reads.
async fn send_wrong_tokens(address: SocketAddr, client: usize) {
    for round in 0_usize.. {
        let Ok(stream) = connect(address, attacker(client)).await else {
            continue;
        };
        let (mut reader, mut writer) = stream.into_split();
        let requests = async {
            for n in 0_usize.. {
                let token = wrong_token((round << 32) | (client << 24) | n);
                let request = format!(
                    "GET /api/v1/clusters HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
                );
                if writer.write_all(request.as_bytes()).await.is_err() {
                    return;
                }
            }
        };
        let answers = async {
            let mut buffer = vec![0; 1 << 16];
            while matches!(reader.read(&mut buffer).await, Ok(read) if read > 0) {}
        };
        tokio::select! {
            () = requests => {}
            () = answers => {}
        }
    }
}

/// An unknown token with the right checksum.
fn wrong_token(number: usize) -> String {
    let text = format!("gct_{number:016x}_{}", "0".repeat(64));
    let digest = sha2::Sha256::digest(&text);
    let sum: String = digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    text + &sum
}

async fn subscribe(address: SocketAddr, client: usize, cookies: String) -> () {
    let _ = try_subscribe(address, client, &cookies).await;
    // Only those that the limits refuse come here.
    std::future::pending::<()>().await;
}

async fn try_subscribe(address: SocketAddr, client: usize, cookies: &str) -> Option<()> {
    let stream = connect(address, attacker(client)).await.ok()?;
    let mut request = format!("ws://{address}/api/v1/live")
        .into_client_request()
        .ok()?;
    let headers = request.headers_mut();
    headers.insert(HOST, address.to_string().parse().ok()?);
    headers.insert(ORIGIN, format!("http://{address}").parse().ok()?);
    headers.insert(COOKIE, cookies.parse().ok()?);
    let (socket, _) = client_async(request, stream).await.ok()?;
    let (mut sender, _receiver) = socket.split();
    loop {
        let message = r#"{"subscribe":["overview","cluster/lab","actions"]}"#;
        sender.send(Message::text(message)).await.ok()?;
        tokio::task::yield_now().await;
    }
}
