//! Packets: a length of three bytes, a sequence number, and the payload.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::error::Error;
use crate::fields::server_error;
use crate::limits::PACKET_MAX;

/// A connection's transport: TCP, a Unix socket, TLS, or a test's pipe.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> ByteStream for T {}

const BUFFER: usize = 16 << 10;

/// A stream of packets in both directions.
pub(crate) struct PacketStream {
    stream: BufReader<Box<dyn ByteStream>>,
    /// The number of the next packet, in either direction.
    sequence: u8,
    /// Bytes that the server may still send.
    allowance: usize,
}

impl PacketStream {
    pub(crate) fn new(stream: Box<dyn ByteStream>, allowance: usize) -> Self {
        Self {
            stream: BufReader::with_capacity(BUFFER, stream),
            sequence: 0,
            allowance,
        }
    }

    /// The first packet of a conversation follows, of which the server may send `allowance` bytes.
    ///
    /// # Errors
    /// If the server has sent something that was not asked for.
    pub(crate) fn restart(&mut self, allowance: usize) -> Result<(), Error> {
        if !self.stream.buffer().is_empty() {
            return Err(Error::protocol(
                "the server sent a packet that answers nothing",
            ));
        }
        self.sequence = 0;
        self.allowance = allowance;
        Ok(())
    }

    /// Replaces the transport, for TLS.
    ///
    /// # Errors
    /// If the server has already sent more, which would be accepted as if it had come over TLS.
    pub(crate) fn into_stream(self) -> Result<Box<dyn ByteStream>, Error> {
        if !self.stream.buffer().is_empty() {
            return Err(Error::protocol("the server sent data before TLS began"));
        }
        Ok(self.stream.into_inner())
    }

    /// Continues the numbering of `before` on this transport.
    pub(crate) const fn numbered_from(mut self, sequence: u8) -> Self {
        self.sequence = sequence;
        self
    }

    pub(crate) const fn sequence(&self) -> u8 {
        self.sequence
    }

    /// The next payload.
    ///
    /// # Errors
    /// An error packet with a wrong number answers nothing that was sent: [`Error::Ended`].
    pub(crate) async fn read(&mut self) -> Result<Vec<u8>, Error> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await?;
        let [a, b, c, number] = header;
        let length = u32::from_le_bytes([a, b, c, 0]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > PACKET_MAX {
            return Err(Error::Protocol(
                format!("a packet of {length} bytes exceeds the limit of {PACKET_MAX}").into(),
            ));
        }
        self.allowance = length
            .checked_add(header.len())
            .and_then(|used| self.allowance.checked_sub(used))
            .ok_or(Error::protocol(
                "the response exceeds the limit of its size",
            ))?;
        // Grows with what arrives, not with what is announced.
        let mut payload = Vec::new();
        (&mut self.stream)
            .take(u64::from(u32::from_le_bytes([a, b, c, 0])))
            .read_to_end(&mut payload)
            .await?;
        if payload.len() != length {
            return Err(Error::Closed);
        }
        let expected = self.sequence;
        self.sequence = number.wrapping_add(1);
        match server_error(&payload) {
            _ if number == expected => Ok(payload),
            Some(error) => Err(Error::Ended(error?)),
            None => Err(Error::Protocol(
                format!("packet {number} arrived instead of packet {expected}").into(),
            )),
        }
    }

    /// Sends one packet.
    pub(crate) async fn write(&mut self, payload: &[u8]) -> Result<(), Error> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let [a, b, c, 0] = length.to_le_bytes() else {
            return Err(Error::Io(io::ErrorKind::InvalidInput.into()));
        };
        let mut packet = Vec::with_capacity(payload.len().saturating_add(4));
        packet.extend_from_slice(&[a, b, c, self.sequence]);
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&packet).await?;
        self.stream.flush().await?;
        Ok(())
    }
}
