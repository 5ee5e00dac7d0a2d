//! Fields of a packet.

use crate::error::{Error, ServerError, bounded_text};

const SHORT: Error = Error::protocol("a packet is shorter than its fields");

/// The fields of a packet that are not read yet.
pub(crate) struct PacketFields<'a>(&'a [u8]);

impl<'a> PacketFields<'a> {
    pub(crate) const fn new(packet: &'a [u8]) -> Self {
        Self(packet)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (field, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Bytes up to a NUL, which is skipped, or all bytes if there is none: old servers omit the last one.
    pub(crate) fn until_nul(&mut self) -> &'a [u8] {
        let mut parts = self.0.splitn(2, |byte| *byte == 0);
        let field = parts.next().unwrap_or_default();
        self.0 = parts.next().unwrap_or_default();
        field
    }

    /// A length-encoded integer; `None` is NULL.
    pub(crate) fn length(&mut self) -> Result<Option<u64>, Error> {
        let number = match self.u8()? {
            byte @ ..=0xfa => u64::from(byte),
            0xfb => return Ok(None),
            0xfc => u64::from(self.u16()?),
            0xfd => {
                let [a, b, c] = self.array()?;
                u64::from(u32::from_le_bytes([a, b, c, 0]))
            }
            0xfe => u64::from_le_bytes(self.array()?),
            0xff => return Err(Error::protocol("a packet has an invalid length")),
        };
        Ok(Some(number))
    }

    /// Bytes after their length; `None` is NULL.
    pub(crate) fn sized_bytes(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| SHORT)?;
        self.bytes(length).map(Some)
    }
}

/// The packet as the server's error; `None` if it is something else.
pub(crate) fn server_error(packet: &[u8]) -> Option<Result<ServerError, Error>> {
    let (0xff, body) = packet.split_first()? else {
        return None;
    };
    let mut fields = PacketFields::new(body);
    let parsed = fields.u16().map(|code| {
        let text = fields.rest();
        // A state of five characters follows a #, except before the client has announced its capabilities.
        let text = match text.split_first() {
            Some((b'#', rest)) => rest.get(5..).unwrap_or_default(),
            _ => text,
        };
        ServerError {
            code,
            message: bounded_text(text),
        }
    });
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_four_sizes() {
        for (bytes, expected) in [
            (&[0xfa][..], Some(250)),
            (&[0xfb], None),
            (&[0xfc, 1, 2], Some(513)),
            (&[0xfd, 1, 2, 3], Some(197_121)),
            (&[0xfe, 0, 0, 0, 0, 0, 0, 0, 0x80], Some(1 << 63)),
        ] {
            assert_eq!(PacketFields::new(bytes).length().unwrap(), expected);
        }
        assert!(PacketFields::new(&[0xff]).length().is_err());
        assert!(PacketFields::new(&[0xfe, 0]).length().is_err());
        assert!(PacketFields::new(&[5, 1, 2]).sized_bytes().is_err());
    }

    #[test]
    fn an_error_has_its_state_removed() {
        let with_state = server_error(b"\xff\x15\x04#28000Access denied")
            .unwrap()
            .unwrap();
        assert_eq!(
            (with_state.code, with_state.message.as_str()),
            (1045, "Access denied")
        );
        let without = server_error(b"\xff\x10\x04Too many").unwrap().unwrap();
        assert_eq!((without.code, without.message.as_str()), (1040, "Too many"));
        assert!(server_error(b"\xff\x10").unwrap().is_err());
        assert!(server_error(b"").is_none() && server_error(b"\x00").is_none());
    }
}
