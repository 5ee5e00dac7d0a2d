//! A server that violates the protocol, for tests (feature `hostile`).
//!
//! It listens on a free port of 127.0.0.1 in threads without a runtime, plays one script to every client, and records
//! what they send.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Connection, Error, Login, Peer, Row, Tls};

/// The password that clients of a hostile server use: tests search for it in what they sent.
pub const PASSWORD: &str = "never-sent-to-a-hostile-server";

/// What a server does to one client.
#[derive(Clone, Debug)]
enum Step {
    /// Sends a packet with the next number.
    Packet(Vec<u8>),
    /// Sends these bytes as they are.
    Bytes(Vec<u8>),
    /// Sends a packet one byte at a time.
    Trickle(Vec<u8>),
    /// Sends packets with this payload until the client is gone.
    Endlessly(Vec<u8>),
    /// Waits for one packet of the client.
    Receive,
    /// Sends and closes nothing until the client is gone.
    Silence,
}

use Step::{Bytes, Endlessly, Packet, Receive, Silence, Trickle};

/// One way to violate the protocol, or to stretch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names describe them, and Misbehavior::script shows each"
)]
pub enum Misbehavior {
    NeverAnswers,
    EmptyGreeting,
    TruncatedGreeting,
    AnotherProtocol,
    OversizedPacket,
    AnnouncedPacketThatNeverComes,
    WrongSequence,
    EmptyAnswerToSignIn,
    EmptyChallenge,
    ShortChallenge,
    LongChallenge,
    UnknownPlugin,
    SwitchLoop,
    EndlessSignIn,
    FullAuthentication,
    FullAuthenticationWithBadKey,
    Sha256Password,
    ClearPassword,
    OldPassword,
    Dialog,
    ExpensiveParsec,
    TruncatedParsecSalt,
    SilentAfterSignIn,
    Columns45,
    Columns63,
    NoColumns,
    EmptyAnswer,
    LocalFile,
    EndlessColumns,
    EndlessRows,
    EndlessEmptyRows,
    EndlessResults,
    MissingValues,
    ValueBeyondPacket,
    UnsolicitedError,
    ClosesAfterColumns,
    /// Answers correctly, one byte at a time.
    ByteByByte,
    /// Answers with values that are not UTF-8.
    InvalidUtf8,
    /// Answers correctly, with the largest number of warnings.
    Warnings,
}

impl Misbehavior {
    /// Every misbehavior.
    pub const ALL: &[Self] = &[
        Self::NeverAnswers,
        Self::EmptyGreeting,
        Self::TruncatedGreeting,
        Self::AnotherProtocol,
        Self::OversizedPacket,
        Self::AnnouncedPacketThatNeverComes,
        Self::WrongSequence,
        Self::EmptyAnswerToSignIn,
        Self::EmptyChallenge,
        Self::ShortChallenge,
        Self::LongChallenge,
        Self::UnknownPlugin,
        Self::SwitchLoop,
        Self::EndlessSignIn,
        Self::FullAuthentication,
        Self::FullAuthenticationWithBadKey,
        Self::Sha256Password,
        Self::ClearPassword,
        Self::OldPassword,
        Self::Dialog,
        Self::ExpensiveParsec,
        Self::TruncatedParsecSalt,
        Self::SilentAfterSignIn,
        Self::Columns45,
        Self::Columns63,
        Self::NoColumns,
        Self::EmptyAnswer,
        Self::LocalFile,
        Self::EndlessColumns,
        Self::EndlessRows,
        Self::EndlessEmptyRows,
        Self::EndlessResults,
        Self::MissingValues,
        Self::ValueBeyondPacket,
        Self::UnsolicitedError,
        Self::ClosesAfterColumns,
        Self::ByteByByte,
        Self::InvalidUtf8,
        Self::Warnings,
    ];

    fn script(self) -> Vec<Step> {
        let greeted = |rest: Vec<Step>| [vec![Packet(greeting()), Receive], rest].concat();
        let signed_in = |rest: Vec<Step>| greeted([vec![Packet(ok(0)), Receive], rest].concat());
        let switch = |plugin: &str, challenge: &[u8]| {
            Packet([&[0xfe][..], plugin.as_bytes(), &[0], challenge].concat())
        };
        let columns = || [Packet(vec![2]), column(), column(), Packet(end(0))];
        match self {
            Self::NeverAnswers => vec![Silence],
            Self::EmptyGreeting => vec![Packet(Vec::new()), Silence],
            Self::TruncatedGreeting => {
                let mut short = greeting();
                short.truncate(30);
                vec![Packet(short), Silence]
            }
            Self::AnotherProtocol => {
                vec![
                    Bytes(b"\x16\x00\x00\x00SSH-2.0-OpenSSH_9.2 hello".into()),
                    Silence,
                ]
            }
            Self::OversizedPacket => {
                vec![Bytes(vec![0xff, 0xff, 0xff, 0]), Endlessly(vec![0; 1_000])]
            }
            Self::AnnouncedPacketThatNeverComes => vec![Bytes(vec![0, 0x80, 0, 0]), Silence],
            Self::WrongSequence => vec![Bytes([&[78, 0, 0, 7], &greeting()[..]].concat()), Silence],
            Self::EmptyAnswerToSignIn => greeted(vec![Packet(Vec::new()), Silence]),
            Self::EmptyChallenge => greeted(vec![switch("mysql_native_password", &[]), Silence]),
            Self::ShortChallenge => greeted(vec![switch("client_ed25519", &[7; 8]), Silence]),
            Self::LongChallenge => {
                greeted(vec![switch("caching_sha2_password", &[7; 64]), Silence])
            }
            Self::UnknownPlugin => greeted(vec![switch("from_outer_space", &[7; 20]), Silence]),
            Self::SwitchLoop => greeted(vec![
                switch("mysql_native_password", &[7; 20]),
                Receive,
                switch("mysql_native_password", &[7; 20]),
                Silence,
            ]),
            Self::EndlessSignIn => greeted(vec![
                switch("caching_sha2_password", &[7; 20]),
                Receive,
                Endlessly(vec![1, 3]),
            ]),
            Self::FullAuthentication => greeted(vec![
                switch("caching_sha2_password", &[7; 20]),
                Receive,
                Packet(vec![1, 4]),
                Receive,
                Packet([&[1][..], RSA_KEY.as_bytes()].concat()),
                Receive,
                Silence,
            ]),
            Self::FullAuthenticationWithBadKey => greeted(vec![
                switch("caching_sha2_password", &[7; 20]),
                Receive,
                Packet(vec![1, 4]),
                Receive,
                Packet(b"\x01-----BEGIN PUBLIC KEY-----\nnot base64".into()),
                Receive,
                Silence,
            ]),
            Self::Sha256Password => {
                greeted(vec![switch("sha256_password", &[7; 20]), Receive, Silence])
            }
            Self::ClearPassword => {
                greeted(vec![switch("mysql_clear_password", &[]), Receive, Silence])
            }
            Self::OldPassword => greeted(vec![Packet(vec![0xfe]), Receive, Silence]),
            Self::Dialog => greeted(vec![switch("dialog", b"\x04Password: "), Receive, Silence]),
            Self::ExpensiveParsec => greeted(vec![
                switch("parsec", &[7; 32]),
                Receive,
                Packet([&[b'P', 20][..], &[7; 18]].concat()),
                Silence,
            ]),
            Self::TruncatedParsecSalt => greeted(vec![
                switch("parsec", &[7; 32]),
                Receive,
                Packet(vec![b'P', 0, 7, 7, 7]),
                Silence,
            ]),
            Self::SilentAfterSignIn => signed_in(vec![Silence]),
            Self::Columns45 => signed_in(vec![Packet(count(1 << 45)), Silence]),
            Self::Columns63 => signed_in(vec![Packet(count(1 << 63)), Silence]),
            Self::NoColumns => signed_in(vec![Packet(vec![0xfc, 0, 0]), Silence]),
            Self::EmptyAnswer => signed_in(vec![Packet(Vec::new()), Silence]),
            Self::LocalFile => signed_in(vec![Packet(b"\xfb/etc/passwd".into()), Receive, Silence]),
            Self::EndlessColumns => signed_in(vec![Packet(vec![2]), Endlessly(vec![3; 100])]),
            Self::EndlessRows => {
                let row = [&[4][..], b"name", &[0xfc, 0, 4], &[b'x'; 1_024]].concat();
                signed_in([&columns()[..], &[Endlessly(row)]].concat())
            }
            Self::EndlessEmptyRows => {
                signed_in([&columns()[..], &[Endlessly(vec![0, 0])]].concat())
            }
            Self::EndlessResults => signed_in(vec![Packet(ok(8)), Endlessly(ok(8))]),
            Self::MissingValues => {
                signed_in([&columns()[..], &[Packet(vec![1, b'x']), Silence]].concat())
            }
            Self::ValueBeyondPacket => {
                let row = [&[1, b'x', 0xfe][..], &u64::MAX.to_le_bytes()].concat();
                signed_in([&columns()[..], &[Packet(row), Silence]].concat())
            }
            Self::UnsolicitedError => signed_in(vec![
                Bytes(b"\x0d\x00\x00\x00\xff\xbf\x0f#HY000idle".into()),
                Silence,
            ]),
            Self::ClosesAfterColumns => signed_in(columns().to_vec()),
            Self::ByteByByte => [
                vec![Trickle(greeting()), Receive, Trickle(ok(0)), Receive],
                vec![
                    Trickle(vec![2]),
                    Trickle(definition()),
                    Trickle(definition()),
                    Trickle(end(0)),
                    Trickle(b"\x04name\x05value".into()),
                    Trickle(end(0)),
                    Silence,
                ],
            ]
            .concat(),
            Self::InvalidUtf8 => {
                let row = Packet(b"\x04n\xffme\x03v\xc3(".into());
                signed_in([&columns()[..], &[row, Packet(end(0)), Silence]].concat())
            }
            Self::Warnings => {
                let last = Packet(vec![0xfe, 0xff, 0xff, 0, 0]);
                let row = Packet(b"\x04name\x05value".into());
                signed_in([&columns()[..], &[row, last, Silence]].concat())
            }
        }
    }

    /// Whether a client gets a complete result, however it came.
    #[must_use]
    pub const fn answers(self) -> bool {
        matches!(self, Self::ByteByByte | Self::InvalidUtf8 | Self::Warnings)
    }

    /// Whether a client waits until its deadline.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(
            self,
            Self::NeverAnswers | Self::AnnouncedPacketThatNeverComes | Self::SilentAfterSignIn
        )
    }
}

/// A valid key, which a client must not use.
const RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMh5Z0YUUNjFyFBP3os3rGTvkm7W2U5v
evFzSZMlK5CgSphX+2ptpEULxL37zpNyZGcJQaps18V1fNTpjSbq5WUCAwEAAQ==
-----END PUBLIC KEY-----
";

/// A MariaDB server's greeting, which does not offer TLS.
fn greeting() -> Vec<u8> {
    [
        b"\x0a5.5.5-10.11.19-MariaDB\0",
        // Number of the connection, first part of the challenge.
        &[7, 0, 0, 0][..],
        b"challeng\0",
        // Capabilities around character set and status, then the challenge's length.
        &[0x0f, 0xa2, 45, 2, 0, 0x08, 0x00, 21],
        &[0; 10],
        b"e-of-20-byte\0mysql_native_password\0",
    ]
    .concat()
}

fn ok(status: u8) -> Vec<u8> {
    vec![0, 0, 0, status, 0, 0, 0]
}

fn end(status: u8) -> Vec<u8> {
    vec![0xfe, 0, 0, status, 0]
}

fn definition() -> Vec<u8> {
    b"\x03def\0\0\0\x04name\0\x0c\x2d\0\0\x01\0\0\xfd\0\0\0\0\0".into()
}

fn column() -> Step {
    Packet(definition())
}

fn count(number: u64) -> Vec<u8> {
    [&[0xfe][..], &number.to_le_bytes()].concat()
}

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
            true => vec![Bytes(sign_in)],
            false => vec![Bytes(sign_in), Receive, Receive, Bytes(response)],
        };
        Self::with_script(script)
    }

    fn with_script(script: Vec<Step>) -> Self {
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
fn play(mut stream: TcpStream, script: &[Step], received: &Mutex<Vec<Vec<u8>>>) {
    let mut number = 0_u8;
    for step in script {
        let done = match step {
            Packet(payload) => send(&mut stream, &mut number, payload),
            Bytes(bytes) => stream.write_all(bytes).is_ok(),
            Trickle(payload) => {
                let _ = stream.set_nodelay(true);
                framed(&mut number, payload)
                    .iter()
                    .all(|byte| stream.write_all(&[*byte]).is_ok())
            }
            Endlessly(payload) => {
                while send(&mut stream, &mut number, payload) {}
                false
            }
            Receive => receive(&mut stream, &mut number, received),
            Silence => {
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

/// What a correct server sends to sign a client in, and to answer its query.
#[must_use]
pub fn conversation() -> [Vec<u8>; 2] {
    let sign_in = [framed(&mut 0, &greeting()), framed(&mut 2, &ok(0))].concat();
    let mut number = 1;
    let mut response = Vec::new();
    for payload in [
        vec![2],
        definition(),
        definition(),
        end(0),
        b"\x04name\x05value".to_vec(),
        end(0),
    ] {
        response.extend(framed(&mut number, &payload));
    }
    [sign_in, response]
}

/// Lets a client sign in with [`PASSWORD`] and query against a server that sends `sign_in`, then `response` once it
/// has the query, and closes. Returns the query's result.
///
/// # Errors
/// The client's.
///
/// # Panics
/// If the client sends its password.
pub async fn replay(sign_in: &[u8], response: &[u8]) -> Result<Vec<Row>, Error> {
    let sent = Arc::<Mutex<Vec<u8>>>::default();
    let stream = ReplayStream {
        ready: sign_in.to_vec(),
        response: response.to_vec(),
        sent: Arc::clone(&sent),
    };
    let peer = Peer::Network {
        host: "localhost",
        tls: &Tls::Off,
    };
    let login = Login {
        user: "console",
        password: PASSWORD,
    };
    let result = match Connection::open(stream, peer, login).await {
        Ok(mut connection) => connection.query("SHOW GLOBAL STATUS").await,
        Err(error) => Err(error),
    };
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(!reveals(&sent), "the client sent its password");
    result
}

/// As [`replay`], with a correct greeting and with correct headers around the payloads in `bytes`, each of which
/// follows its length in one byte: more inputs reach the end of the conversation.
///
/// # Errors
/// The client's.
///
/// # Panics
/// If the client sends its password.
pub async fn replay_framed(bytes: &[u8]) -> Result<Vec<Row>, Error> {
    let (mut sign_in, mut response) = (framed(&mut 0, &greeting()), Vec::new());
    let (mut rest, mut number, mut signed_in) = (bytes, 2, false);
    while let Some((length, after)) = rest.split_first() {
        let (payload, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        match signed_in {
            true => response.extend(framed(&mut number, payload)),
            false => sign_in.extend(framed(&mut number, payload)),
        }
        if !signed_in && payload.first() == Some(&0) {
            (signed_in, number) = (true, 1);
        } else if !signed_in && matches!(payload, [0xfe, ..] | [1, 4] | [b'P', ..]) {
            // The client answers these.
            number = number.wrapping_add(1);
        }
    }
    replay(&sign_in, &response).await
}

/// The client's end of a recorded conversation.
struct ReplayStream {
    ready: Vec<u8>,
    response: Vec<u8>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for ReplayStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = buffer.remaining().min(self.ready.len());
        let rest = self.ready.split_off(count);
        let given = std::mem::replace(&mut self.ready, rest);
        buffer.put_slice(&given);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReplayStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The first packet of a conversation is the query.
        if let [_, _, _, 0, 3, ..] = bytes {
            let response = std::mem::take(&mut self.response);
            self.ready.extend(response);
        }
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
