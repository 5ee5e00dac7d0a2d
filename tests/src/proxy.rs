//! A TCP proxy that breaks connections on demand: slow, late, cut, silent or refused.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::background::runtime;
use crate::lab::ports::ReservedPort;

/// Bytes forwarded in one piece at most.
const CHUNK: usize = 16 * 1024;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxyMode {
    /// Forwarded unchanged.
    Pass,
    /// Every chunk is late by this much.
    Delay(Duration),
    /// So many bytes per second, each way.
    Throttle(u64),
    /// Accepted; nothing is ever answered.
    Blackhole,
    /// Connections are refused; open ones are closed.
    Refuse,
}

/// The mode, the number of cuts so far, and the request text after which replies are dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ProxyControl {
    mode: ProxyMode,
    cuts: u64,
    drop_replies_after: Option<&'static str>,
}

/// A proxy; it ends when dropped.
pub struct ChaosProxy {
    address: SocketAddr,
    control: watch::Sender<ProxyControl>,
    _port: ReservedPort,
    _stop: DropGuard,
}

impl ChaosProxy {
    /// Listens on a free port of `address` and passes connections on to `target`.
    ///
    /// # Errors
    /// If no port is free.
    pub fn start(address: Ipv4Addr, target: SocketAddr) -> Result<Self> {
        let port = ReservedPort::reserve(address)?;
        let address = SocketAddr::from((address, port.number()));
        // Bound here, so that it accepts connections before the task runs.
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let (orders, received) = watch::channel(ProxyControl {
            mode: ProxyMode::Pass,
            cuts: 0,
            drop_replies_after: None,
        });
        let stop = CancellationToken::new();
        let work = serve(listener, address, target, received);
        runtime()?.spawn(stop.clone().run_until_cancelled_owned(work));
        Ok(Self {
            address,
            control: orders,
            _port: port,
            _stop: stop.drop_guard(),
        })
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes everything on.
    pub fn pass(&self) {
        self.set(ProxyMode::Pass);
    }

    /// Passes every chunk on `late` later.
    pub fn delay(&self, late: Duration) {
        self.set(ProxyMode::Delay(late));
    }

    /// Passes on this many bytes per second.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.set(ProxyMode::Throttle(bytes_per_second.max(1)));
    }

    /// Accepts connections and never answers; open ones fall silent.
    pub fn blackhole(&self) {
        self.set(ProxyMode::Blackhole);
    }

    /// Refuses connections and cuts the open ones.
    pub fn refuse(&self) {
        self.set(ProxyMode::Refuse);
    }

    /// Cuts the open connections; new ones are served as before.
    pub fn cut(&self) {
        self.control.send_modify(|order| order.cuts += 1);
    }

    /// Forwards requests but drops all replies on a connection once a client has sent `words`.
    pub fn drop_replies_after(&self, words: &'static str) {
        self.control
            .send_modify(|order| order.drop_replies_after = Some(words));
    }

    fn set(&self, mode: ProxyMode) {
        self.control.send_modify(|order| order.mode = mode);
    }
}

async fn serve(
    first: std::net::TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut orders: watch::Receiver<ProxyControl>,
) {
    let connections = TaskTracker::new();
    // Relays end with this token, that is, when this future is dropped.
    let stop = CancellationToken::new();
    let _end = stop.clone().drop_guard();
    let mut listener = TcpListener::from_std(first).ok();
    loop {
        let order = *orders.borrow_and_update();
        match (&listener, order.mode) {
            (Some(_), ProxyMode::Refuse) => listener = None,
            (None, ProxyMode::Refuse) => {
                if orders.changed().await.is_err() {
                    return;
                }
            }
            (None, _) => {
                listener = TcpListener::bind(address).await.ok();
                if listener.is_none() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            (Some(open), _) => tokio::select! {
                changed = orders.changed() => if changed.is_err() { return },
                accepted = open.accept() => if let Ok((stream, _)) = accepted {
                    let relay = relay(stream, target, orders.clone());
                    connections.spawn(stop.clone().run_until_cancelled_owned(relay));
                },
            },
        }
    }
}

async fn relay(client: TcpStream, target: SocketAddr, orders: watch::Receiver<ProxyControl>) {
    let cuts = orders.borrow().cuts;
    let mut severed = orders.clone();
    let is_severed = |order: &ProxyControl| order.cuts != cuts || order.mode == ProxyMode::Refuse;
    tokio::select! {
        _ = severed.wait_for(is_severed) => {}
        () = pass(client, target, orders) => {}
    }
}

async fn pass(client: TcpStream, target: SocketAddr, mut orders: watch::Receiver<ProxyControl>) {
    if orders
        .wait_for(|order| order.mode != ProxyMode::Blackhole)
        .await
        .is_err()
    {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    // Whether the client has sent the text after which replies are dropped.
    let (mute, muted) = watch::channel(false);
    let heard = |sent: &[u8]| {
        let words = orders.borrow().drop_replies_after;
        if words.is_some_and(|words| contains(sent, words.as_bytes())) {
            mute.send_replace(true);
        }
        true
    };
    let answered = |_: &[u8]| !*muted.borrow();
    tokio::join!(
        copy_one_way(client_reads, server_writes, orders.clone(), heard),
        copy_one_way(server_reads, client_writes, orders.clone(), answered)
    );
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

async fn copy_one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut orders: watch::Receiver<ProxyControl>,
    passes: impl Fn(&[u8]) -> bool,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let limit = match orders.borrow().mode {
            // Small enough for a smooth flow: twenty chunks a second at least.
            ProxyMode::Throttle(speed) => {
                usize::try_from(speed / 20).unwrap_or(CHUNK).clamp(1, CHUNK)
            }
            _ => CHUNK,
        };
        let Ok(count @ 1..) = from.read(&mut buffer[..limit]).await else {
            if !passes(&[]) {
                // Not even the end of the stream is forwarded.
                std::future::pending::<()>().await;
            }
            to.shutdown().await.ok();
            return;
        };
        let Ok(order) = orders
            .wait_for(|order| order.mode != ProxyMode::Blackhole)
            .await
            .map(|order| *order)
        else {
            return;
        };
        match order.mode {
            ProxyMode::Delay(late) => tokio::time::sleep(late).await,
            ProxyMode::Throttle(speed) => {
                let seconds = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / speed as f64;
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            ProxyMode::Pass | ProxyMode::Blackhole | ProxyMode::Refuse => {}
        }
        if !passes(&buffer[..count]) {
            continue;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                TaskTracker::new().spawn(async move {
                    let (mut reads, mut writes) = stream.into_split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        address
    }

    async fn round_trip(stream: &mut TcpStream) -> std::io::Result<usize> {
        stream.write_all(b"ping").await?;
        stream.read(&mut [0; 4]).await
    }

    #[tokio::test]
    async fn breaks_connections_in_each_mode() {
        let proxy = ChaosProxy::start(Ipv4Addr::LOCALHOST, echo().await).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(round_trip(&mut stream).await.unwrap(), 4);

        proxy.blackhole();
        let silent =
            tokio::time::timeout(Duration::from_millis(200), round_trip(&mut stream)).await;
        assert!(silent.is_err(), "nothing is answered");
        let mut late = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.pass();
        assert_eq!(round_trip(&mut late).await.unwrap(), 4, "it answers again");

        proxy.cut();
        assert_eq!(
            round_trip(&mut late).await.unwrap_or(0),
            0,
            "the connection is gone"
        );

        proxy.refuse();
        eventually("refusal", Duration::from_secs(60), async || {
            anyhow::ensure!(TcpStream::connect(proxy.address()).await.is_err());
            Ok(())
        })
        .await
        .unwrap();
        proxy.pass();
        eventually("service", Duration::from_secs(60), async || {
            Ok(TcpStream::connect(proxy.address()).await?)
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn forwards_a_request_and_drops_the_reply() {
        let proxy = ChaosProxy::start(Ipv4Addr::LOCALHOST, echo().await).unwrap();
        proxy.drop_replies_after("ping");
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        other.write_all(b"pong").await.unwrap();
        assert_eq!(other.read(&mut [0; 4]).await.unwrap(), 4);
        let mut muted = TcpStream::connect(proxy.address()).await.unwrap();
        let silent = tokio::time::timeout(Duration::from_millis(200), round_trip(&mut muted));
        assert!(silent.await.is_err(), "it is answered");
    }

    #[tokio::test]
    async fn delays_and_throttles() {
        let proxy = ChaosProxy::start(Ipv4Addr::LOCALHOST, echo().await).unwrap();
        proxy.delay(Duration::from_millis(50));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let began = std::time::Instant::now();
        round_trip(&mut stream).await.unwrap();
        assert!(
            began.elapsed() >= Duration::from_millis(100),
            "{:?}",
            began.elapsed()
        );
    }
}
