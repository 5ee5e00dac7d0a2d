//! A signed-in connection.

use crate::auth::{AuthExchange, AuthPlugin};
use crate::error::Error;
use crate::fields::{PacketFields, server_error};
use crate::greeting::ServerGreeting;
use crate::limits::{COLUMNS_MAX, RESPONSE_MAX, ROWS_MAX, SIGN_IN_MAX, SIGN_IN_PACKETS_MAX};
use crate::packets::{ByteStream, PacketStream};
use crate::tls::Tls;

const OK: u8 = 0x00;
const LOCAL_FILE: u8 = 0xfb;
/// Ends a list of packets, and during sign-in asks for another plugin.
const END: u8 = 0xfe;
const QUERY: u8 = 0x03;
const QUIT: u8 = 0x01;
/// Status flag: another result follows, although only one statement was sent.
const MORE_RESULTS: u16 = 0x0008;

/// An account of the server.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The account's name, without its host.
    pub user: &'a str,
    /// May be empty.
    pub password: &'a str,
}

/// The server at the other end of a stream.
#[derive(Clone, Copy, Debug)]
pub enum Peer<'a> {
    /// Reached through a Unix socket: verified by the file system, and never encrypted.
    Socket,
    /// Reached over a network.
    Network {
        /// The host name or address that was connected to, which the certificate must be valid for.
        host: &'a str,
        /// Whether the connection uses TLS; without it the server counts as unverified.
        tls: &'a Tls,
    },
}

/// One row of a result, in the order of its columns; `None` is NULL, invalid UTF-8 is replaced.
pub type Row = Vec<Option<String>>;

/// A connection that is signed in.
///
/// A call that fails other than by [`Error::Server`], or that is dropped before it completes, makes the connection
/// unusable: an answer may still be under way.
pub struct Connection {
    packets: PacketStream,
    usable: bool,
    encrypted: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("usable", &self.usable)
            .field("encrypted", &self.encrypted)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Signs in over `stream`, which was just connected.
    ///
    /// # Errors
    /// Any [`Error`] except [`Error::Unusable`].
    pub async fn open(
        stream: impl ByteStream + 'static,
        peer: Peer<'_>,
        login: Login<'_>,
    ) -> Result<Self, Error> {
        let opened = Self::open_or_refused(Box::new(stream), peer, login).await;
        match peer {
            Peer::Network {
                tls: Tls::Preferred(settings) | Tls::Required(settings),
                ..
            } => opened.map_err(|error| settings.naming_own_certificate(error)),
            _ => opened,
        }
    }

    async fn open_or_refused(
        stream: Box<dyn ByteStream>,
        peer: Peer<'_>,
        login: Login<'_>,
    ) -> Result<Self, Error> {
        let mut packets = PacketStream::new(stream, SIGN_IN_MAX);
        let first = match packets.read().await {
            // Whatever its number: the connection is refused.
            Err(Error::Ended(error)) => return Err(Error::Server(error)),
            first => first?,
        };
        refused(&first)?;
        let greeting = ServerGreeting::parse(&first)?;
        let (mut packets, encrypted) = encrypt(packets, peer, &greeting).await?;
        let verified = encrypted || matches!(peer, Peer::Socket);
        // The server switches to the account's plugin if it is another one.
        let plugin = AuthPlugin::named(greeting.plugin).unwrap_or(AuthPlugin::Native);
        let (exchange, answer) =
            AuthExchange::begin(plugin, &greeting.challenge, login.password, verified)?;
        let request = greeting.sign_in_request(login.user, plugin.name(), &answer, encrypted)?;
        packets.write(&request).await?;
        sign_in(&mut packets, exchange, login.password, verified).await?;
        Ok(Self {
            packets,
            usable: true,
            encrypted,
        })
    }

    /// Whether TLS protects the connection.
    #[must_use]
    pub const fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// Sends one statement and returns its rows; none for a statement without a result.
    ///
    /// # Errors
    /// [`Error::Server`] if the server refused the statement, and any error of the network and the protocol.
    pub async fn query(&mut self, statement: &str) -> Result<Vec<Row>, Error> {
        if !std::mem::take(&mut self.usable) {
            return Err(Error::Unusable);
        }
        self.packets.restart(RESPONSE_MAX)?;
        self.packets
            .write(&[&[QUERY], statement.as_bytes()].concat())
            .await?;
        let rows = self.response().await;
        self.usable = matches!(rows, Ok(_) | Err(Error::Server(_)));
        rows
    }

    /// The first two values of each row, as SHOW returns name and value; rows with a NULL there are skipped.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn query_pairs(&mut self, statement: &str) -> Result<Vec<(String, String)>, Error> {
        let rows = self.query(statement).await?;
        let pairs = rows.into_iter().filter_map(|row| {
            let mut values = row.into_iter();
            Some((values.next()??, values.next()??))
        });
        Ok(pairs.collect())
    }

    /// Sends one statement and discards its rows.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn execute(&mut self, statement: &str) -> Result<(), Error> {
        self.query(statement).await.map(drop)
    }

    /// Ends the connection as the protocol asks for; the server counts and logs one that is dropped as aborted.
    pub async fn close(mut self) {
        if self.usable && self.packets.restart(RESPONSE_MAX).is_ok() {
            // The server may have closed it already.
            let _ = self.packets.write(&[QUIT]).await;
        }
    }

    async fn response(&mut self) -> Result<Vec<Row>, Error> {
        let first = self.packets.read().await?;
        refused(&first)?;
        match first.first() {
            Some(&OK) => return no_more_results(ok_status(&first)?).map(|()| Vec::new()),
            Some(&LOCAL_FILE) => {
                return Err(Error::protocol("the server asked for a file of this host"));
            }
            _ => {}
        }
        let columns = column_count(&first)?;
        for _ in 0..columns {
            let definition = self.packets.read().await?;
            refused(&definition)?;
            if end_status(&definition)?.is_some() {
                return Err(Error::protocol("a result ends within its columns"));
            }
        }
        let end = self.packets.read().await?;
        refused(&end)?;
        if end_status(&end)?.is_none() {
            return Err(Error::protocol("a result has more columns than announced"));
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.packets.read().await?;
            refused(&packet)?;
            if let Some(status) = end_status(&packet)? {
                return no_more_results(status).map(|()| rows);
            }
            if rows.len() == ROWS_MAX {
                return Err(Error::Protocol(
                    format!("the result has more than {ROWS_MAX} rows").into(),
                ));
            }
            rows.push(row(&packet, columns)?);
        }
    }
}

/// Continues over TLS as `peer` demands. Also returns whether it did.
async fn encrypt(
    mut packets: PacketStream,
    peer: Peer<'_>,
    greeting: &ServerGreeting<'_>,
) -> Result<(PacketStream, bool), Error> {
    let Peer::Network { host, tls } = peer else {
        return Ok((packets, false));
    };
    let settings = match tls {
        Tls::Preferred(settings) if greeting.offers_tls() => settings,
        Tls::Off | Tls::Preferred(_) => return Ok((packets, false)),
        Tls::Required(_) if !greeting.offers_tls() => return Err(Error::TlsNotOffered),
        Tls::Required(settings) => settings,
    };
    packets.write(&greeting.tls_request()).await?;
    let sequence = packets.sequence();
    let stream = settings.connect(host, packets.into_stream()?).await?;
    Ok((
        PacketStream::new(stream, SIGN_IN_MAX).numbered_from(sequence),
        true,
    ))
}

async fn sign_in<'a>(
    packets: &mut PacketStream,
    mut exchange: AuthExchange<'a>,
    password: &'a str,
    verified: bool,
) -> Result<(), Error> {
    let mut switched = false;
    for _ in 0..SIGN_IN_PACKETS_MAX {
        let packet = packets.read().await?;
        refused(&packet)?;
        let answer = match packet.split_first() {
            Some((&OK, _)) => return no_more_results(ok_status(&packet)?),
            Some((&END, _)) if switched => {
                return Err(Error::protocol(
                    "the server asked for a second change of the authentication plugin",
                ));
            }
            Some((&END, rest)) => {
                switched = true;
                let (plugin, challenge) = requested_plugin(rest)?;
                let (next, answer) = AuthExchange::begin(plugin, challenge, password, verified)?;
                exchange = next;
                Some(answer)
            }
            _ => exchange.proceed(&packet).await?,
        };
        if let Some(answer) = answer {
            packets.write(&answer).await?;
        }
    }
    Err(Error::protocol("the sign-in has too many packets"))
}

/// The plugin and challenge of a request to change the plugin.
fn requested_plugin(request: &[u8]) -> Result<(AuthPlugin, &[u8]), Error> {
    if request.is_empty() {
        return Err(Error::UnsupportedPlugin("mysql_old_password".to_owned()));
    }
    let mut fields = PacketFields::new(request);
    let name = fields.until_nul();
    Ok((AuthPlugin::named(name)?, fields.rest()))
}

/// An error if `packet` is one of the server's.
fn refused(packet: &[u8]) -> Result<(), Error> {
    match server_error(packet) {
        Some(error) => Err(Error::Server(error?)),
        None => Ok(()),
    }
}

fn ok_status(packet: &[u8]) -> Result<u16, Error> {
    let mut fields = PacketFields::new(packet);
    let _ok = fields.u8()?;
    let (_affected, _inserted) = (fields.length()?, fields.length()?);
    fields.u16()
}

/// The status of a packet that ends a list; `None` for any other packet. A row of eight bytes and more may begin with
/// the same byte.
fn end_status(packet: &[u8]) -> Result<Option<u16>, Error> {
    match packet.split_first() {
        Some((&END, rest)) if packet.len() < 9 => {
            let mut fields = PacketFields::new(rest);
            let _warnings = fields.u16()?;
            fields.u16().map(Some)
        }
        _ => Ok(None),
    }
}

fn no_more_results(status: u16) -> Result<(), Error> {
    match status & MORE_RESULTS {
        0 => Ok(()),
        _ => Err(Error::protocol("another result follows one statement")),
    }
}

fn column_count(packet: &[u8]) -> Result<usize, Error> {
    let mut fields = PacketFields::new(packet);
    let count = fields.length()?.unwrap_or_default();
    if !fields.is_empty() {
        return Err(Error::protocol("the answer to a statement is invalid"));
    }
    match usize::try_from(count) {
        Ok(count @ 1..=COLUMNS_MAX) => Ok(count),
        _ => Err(Error::Protocol(
            format!("a result of {count} columns; at most {COLUMNS_MAX} are read").into(),
        )),
    }
}

fn row(packet: &[u8], columns: usize) -> Result<Row, Error> {
    let mut fields = PacketFields::new(packet);
    let mut row = Row::with_capacity(columns);
    for _ in 0..columns {
        let value = fields.sized_bytes()?;
        row.push(value.map(|value| String::from_utf8_lossy(value).into_owned()));
    }
    if !fields.is_empty() {
        return Err(Error::protocol("a row has more values than columns"));
    }
    Ok(row)
}
