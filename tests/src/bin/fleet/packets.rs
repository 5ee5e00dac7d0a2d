//! The server's side of the MySQL protocol, as far as a probe uses it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest packet that is accepted, in bytes; statements of probes are shorter.
const PACKET_MAX: u32 = 64 * 1024;

/// Rows of two texts, as SHOW returns them.
pub(crate) type StatusPairs = Vec<(String, String)>;

/// The greeting of a server without TLS that accepts any account.
pub(crate) fn greeting() -> Vec<u8> {
    [
        b"\x0a5.5.5-10.11.19-MariaDB\0",
        // Number of the connection, first part of the challenge.
        &[1, 0, 0, 0][..],
        b"challeng\0",
        // Capabilities around character set and status, then the challenge's length.
        &[0x0f, 0xa2, 45, 2, 0, 0x08, 0x00, 21],
        &[0; 10],
        b"e-of-20-byte\0mysql_native_password\0",
    ]
    .concat()
}

/// The answer to a statement without rows.
pub(crate) fn ok() -> Vec<u8> {
    vec![0, 0, 0, 2, 0, 0, 0]
}

/// The packets of a result, framed; the first one has number 1.
pub(crate) fn result(rows: &StatusPairs) -> Vec<u8> {
    let definition = b"\x03def\0\0\0\x04name\0\x0c\x2d\0\0\x01\0\0\xfd\0\0\0\0\0";
    let end = [0xfe, 0, 0, 2, 0];
    let mut framed = Vec::with_capacity(64 * (rows.len() + 5));
    let mut number = 1;
    for payload in [&[2][..], definition, definition, &end] {
        frame(&mut framed, &mut number, payload);
    }
    let mut row = Vec::new();
    for (name, value) in rows {
        row.clear();
        put_text(&mut row, name);
        put_text(&mut row, value);
        frame(&mut framed, &mut number, &row);
    }
    frame(&mut framed, &mut number, &end);
    framed
}

/// Appends `payload` as the packet with this number.
pub(crate) fn frame(framed: &mut Vec<u8>, number: &mut u8, payload: &[u8]) {
    let [a, b, c, _] = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    framed.extend([a, b, c, *number]);
    framed.extend_from_slice(payload);
    *number = number.wrapping_add(1);
}

fn put_text(row: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length) if length < 251 => row.push(length),
        _ => {
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            row.push(0xfc);
            row.extend(length.to_le_bytes());
        }
    }
    row.extend_from_slice(text.as_bytes());
}

/// Sends one packet.
pub(crate) async fn send(
    stream: &mut TcpStream,
    mut number: u8,
    payload: &[u8],
) -> std::io::Result<()> {
    let mut framed = Vec::with_capacity(payload.len() + 4);
    frame(&mut framed, &mut number, payload);
    stream.write_all(&framed).await
}

/// The payload of the next packet.
pub(crate) async fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let header = stream.read_u32_le().await?;
    let length = header & 0x00ff_ffff;
    if length > PACKET_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}
