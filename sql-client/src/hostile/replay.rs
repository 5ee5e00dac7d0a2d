//! A client against recorded bytes of a server, for fuzzing.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::misbehavior::{definition, end, greeting, ok};
use super::{PASSWORD, framed, reveals};
use crate::{Connection, Error, Login, Peer, Row, Tls};

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
