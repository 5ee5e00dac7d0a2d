//! The server's greeting, and the client's answers to it.

use crate::error::Error;
use crate::fields::PacketFields;
use crate::limits::PACKET_MAX;

/// Capabilities: `CLIENT_…` of the protocol.
mod capability {
    /// Set by a client that uses none of MariaDB's extensions.
    pub(super) const MYSQL: u32 = 1;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const SSL: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
}

/// utf8mb4.
const CHARACTER_SET: u8 = 45;

/// The first packet of a server.
pub(crate) struct ServerGreeting<'a> {
    capabilities: u32,
    /// The default plugin's challenge.
    pub(crate) challenge: Vec<u8>,
    /// Name of the server's default authentication plugin; empty if it has none.
    pub(crate) plugin: &'a [u8],
}

impl<'a> ServerGreeting<'a> {
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Self, Error> {
        let mut fields = PacketFields::new(packet);
        let version = fields.u8()?;
        if version != 10 {
            return Err(Error::Protocol(
                format!("the greeting has protocol version {version} instead of 10").into(),
            ));
        }
        fields.until_nul();
        let _connection_id = fields.bytes(4)?;
        let first = fields.bytes(8)?;
        let _filler = fields.u8()?;
        let low = fields.u16()?;
        let _character_set = fields.u8()?;
        let _status = fields.u16()?;
        let high = fields.u16()?;
        let capabilities = u32::from(low) | u32::from(high) << 16;
        if capabilities & capability::PROTOCOL_41 == 0
            || capabilities & capability::SECURE_CONNECTION == 0
        {
            return Err(Error::protocol("the server is older than MySQL 4.1"));
        }
        let announced = usize::from(fields.u8()?);
        let _reserved = fields.bytes(10)?;
        // The rest of the challenge and a NUL.
        let second = fields.bytes(announced.saturating_sub(first.len()).max(13))?;
        let second = second.strip_suffix(&[0]).unwrap_or(second);
        let plugin = match capabilities & capability::PLUGIN_AUTH {
            0 => &[],
            _ => fields.until_nul(),
        };
        Ok(Self {
            capabilities,
            challenge: [first, second].concat(),
            plugin,
        })
    }

    pub(crate) const fn offers_tls(&self) -> bool {
        self.capabilities & capability::SSL != 0
    }

    /// The request to continue over TLS.
    pub(crate) fn tls_request(&self) -> Vec<u8> {
        self.prefix(true)
    }

    /// The request to sign in as `user`, with `plugin`'s answer to the challenge.
    ///
    /// # Errors
    /// If the account's name cannot be sent.
    pub(crate) fn sign_in_request(
        &self,
        user: &str,
        plugin: &str,
        answer: &[u8],
        tls: bool,
    ) -> Result<Vec<u8>, Error> {
        if user.contains('\0') {
            return Err(Error::protocol("the account's name contains a NUL"));
        }
        let mut packet = self.prefix(tls);
        packet.extend_from_slice(user.as_bytes());
        packet.push(0);
        let length =
            u8::try_from(answer.len()).map_err(|_| Error::protocol("the answer is too long"))?;
        packet.push(length);
        packet.extend_from_slice(answer);
        if self.capabilities & capability::PLUGIN_AUTH != 0 {
            packet.extend_from_slice(plugin.as_bytes());
            packet.push(0);
        }
        Ok(packet)
    }

    fn prefix(&self, tls: bool) -> Vec<u8> {
        let mut capabilities = capability::MYSQL
            | capability::PROTOCOL_41
            | capability::TRANSACTIONS
            | capability::SECURE_CONNECTION
            | (self.capabilities & capability::PLUGIN_AUTH);
        if tls {
            capabilities |= capability::SSL;
        }
        let largest = u32::try_from(PACKET_MAX).unwrap_or(u32::MAX);
        let mut packet = capabilities.to_le_bytes().to_vec();
        packet.extend_from_slice(&largest.to_le_bytes());
        packet.push(CHARACTER_SET);
        packet.extend_from_slice(&[0; 23]);
        packet
    }
}
