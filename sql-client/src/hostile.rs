//! A server that violates the protocol, for tests (feature `hostile`).
//!
//! It listens on a free port of 127.0.0.1 in threads without a runtime, plays one script to every client, and records
//! what they send.

mod misbehavior;
mod replay;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

pub use misbehavior::Misbehavior;
use misbehavior::MisbehaviorStep;
pub use replay::{conversation, replay, replay_framed};

/// The password that clients of a hostile server use: tests search for it in what they sent.
pub const PASSWORD: &str = "never-sent-to-a-hostile-server";

/// A listening server, stopped on drop.
#[derive(Debug)]
pub struct HostileServer {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl HostileServer {
    /// Listens, and plays `misbehavior` to every client.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(misbehavior: Misbehavior) -> Self {
        Self::with_script(misbehavior.script())
    }

    /// Listens, sends the first `bytes` bytes of a correct conversation, and closes.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn closing_after(bytes: usize) -> Self {
        let [mut sign_in, mut response] = conversation();
        response.truncate(bytes.saturating_sub(sign_in.len()));
        sign_in.truncate(bytes);
        let script = match response.is_empty() {
            true => vec![MisbehaviorStep::Bytes(sign_in)],
            false => vec![
                MisbehaviorStep::Bytes(sign_in),
                MisbehaviorStep::Receive,
                MisbehaviorStep::Receive,
                MisbehaviorStep::Bytes(response),
            ],
        };
        Self::with_script(script)
    }

    fn with_script(script: Vec<MisbehaviorStep>) -> Self {
        #[expect(clippy::expect_used, reason = "a test cannot continue without it")]
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        #[expect(clippy::expect_used, reason = "a listener has an address")]
        let address = listener.local_addr().expect("an address");
        let received = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let stopped = Arc::<AtomicBool>::default();
        let accepting = {
            let (received, stopped) = (Arc::clone(&received), Arc::clone(&stopped));
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let (script, received) = (script.clone(), Arc::clone(&received));
                    thread::spawn(move || play(stream, &script, &received));
                }
            })
        };
        Self {
            address,
            received,
            stopped,
            accepting: Some(accepting),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every packet that clients have sent so far, without headers.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether a client has sent [`PASSWORD`] as it is.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.received().iter().any(|packet| reveals(packet))
    }
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Ends the wait for a client.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn reveals(sent: &[u8]) -> bool {
    let password = PASSWORD.as_bytes();
    sent.windows(password.len()).any(|part| part == password)
}

/// Plays `script` until it ends or the client is gone, and reads on until the client is gone.
fn play(mut stream: TcpStream, script: &[MisbehaviorStep], received: &Mutex<Vec<Vec<u8>>>) {
    let mut number = 0_u8;
    for step in script {
        let done = match step {
            MisbehaviorStep::Packet(payload) => send(&mut stream, &mut number, payload),
            MisbehaviorStep::Bytes(bytes) => stream.write_all(bytes).is_ok(),
            MisbehaviorStep::Trickle(payload) => {
                let _ = stream.set_nodelay(true);
                framed(&mut number, payload)
                    .iter()
                    .all(|byte| stream.write_all(&[*byte]).is_ok())
            }
            MisbehaviorStep::Endlessly(payload) => {
                while send(&mut stream, &mut number, payload) {}
                false
            }
            MisbehaviorStep::Receive => receive(&mut stream, &mut number, received),
            MisbehaviorStep::Silence => {
                while receive(&mut stream, &mut number, received) {}
                false
            }
        };
        if !done {
            return;
        }
    }
}

fn send(stream: &mut TcpStream, number: &mut u8, payload: &[u8]) -> bool {
    stream.write_all(&framed(number, payload)).is_ok()
}

fn framed(number: &mut u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let [a, b, c, _] = length.to_le_bytes();
    let packet = [&[a, b, c, *number], payload].concat();
    *number = number.wrapping_add(1);
    packet
}

fn receive(stream: &mut TcpStream, number: &mut u8, received: &Mutex<Vec<Vec<u8>>>) -> bool {
    let mut header = [0; 4];
    if stream.read_exact(&mut header).is_err() {
        return false;
    }
    let [a, b, c, sent] = header;
    *number = sent.wrapping_add(1);
    let length = u64::from(u32::from_le_bytes([a, b, c, 0]));
    let mut payload = Vec::new();
    let read = stream.take(length).read_to_end(&mut payload);
    received
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(payload);
    read.is_ok()
}
