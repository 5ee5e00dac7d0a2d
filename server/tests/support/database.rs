//! A fake database: speaks just enough of the MySQL protocol for a probe, answers SHOW from a script and records the
//! statements it receives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Protocol 4.1, transactions, secure passwords, named authentication.
const CAPABILITIES: u32 = 0x0000_0001 | 0x0000_0200 | 0x0000_2000 | 0x0000_8000 | 0x0008_0000;
const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];
const END: [u8; 5] = [0xfe, 0, 0, 2, 0];

type StatusRows = BTreeMap<String, String>;

#[derive(Default)]
struct DatabaseScript {
    status: StatusRows,
    variables: StatusRows,
    statements: Vec<String>,
    /// When the status was read.
    status_reads: Vec<Instant>,
    /// Accounts that signed in or tried to, in this order.
    accounts: Vec<String>,
    /// Whether every connection is in use but the one that the server reserves for `recovery`.
    full: bool,
    reserved_in_use: bool,
    /// How often every connection was killed.
    kills: u32,
}

/// A listening fake database.
pub(crate) struct FakeDatabase {
    address: SocketAddr,
    script: Arc<Mutex<DatabaseScript>>,
    task: JoinHandle<()>,
}

impl FakeDatabase {
    /// Listens on a free port of `host` and answers with these rows.
    pub(crate) async fn listen(
        host: &str,
        variables: &[(&str, &str)],
        status: &[(&str, &str)],
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(DatabaseScript {
            variables: rows(variables),
            ..DatabaseScript::default()
        }));
        let shared = Arc::clone(&script);
        let task = TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                TaskTracker::new().spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        let database = Self {
            address,
            script,
            task,
        };
        database.set_status(status);
        database
    }

    /// `host:port`, the node's id.
    pub(crate) fn id(&self) -> String {
        self.address.to_string()
    }

    /// Replaces the status rows.
    pub(crate) fn set_status(&self, status: &[(&str, &str)]) {
        self.script.lock().unwrap().status = rows(status);
    }

    /// All connections of this server are in use: it returns error 1040 to every account except `recovery`, which may
    /// have one.
    pub(crate) fn fill_connections(&self) {
        self.script.lock().unwrap().full = true;
    }

    /// Ends every open connection at its next statement.
    pub(crate) fn kill_connections(&self) {
        self.script.lock().unwrap().kills += 1;
    }

    /// The accounts that tried to sign in so far.
    pub(crate) fn accounts(&self) -> Vec<String> {
        self.script.lock().unwrap().accounts.clone()
    }

    /// When the status was read, since `begin`.
    pub(crate) fn status_reads(&self, begin: Instant) -> Vec<Instant> {
        let script = self.script.lock().unwrap();
        let reads = script.status_reads.iter();
        reads.copied().filter(|at| *at >= begin).collect()
    }

    /// All statements received so far.
    pub(crate) fn statements(&self) -> Vec<String> {
        self.script.lock().unwrap().statements.clone()
    }
}

impl Drop for FakeDatabase {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn rows(pairs: &[(&str, &str)]) -> StatusRows {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Sends the handshake, accepts any login, and answers until the peer disconnects.
async fn serve(mut stream: TcpStream, script: Arc<Mutex<DatabaseScript>>) -> Option<()> {
    send(&mut stream, &mut 0, &[greeting()]).await?;
    let (login, sequence) = receive(&mut stream).await?;
    let _reserved = match admit(&login, &script) {
        Ok(reserved) => reserved,
        Err(refusal) => {
            send(&mut stream, &mut (sequence + 1), &[refusal]).await?;
            return None;
        }
    };
    send(&mut stream, &mut (sequence + 1), &[OK.to_vec()]).await?;
    let kills = script.lock().unwrap().kills;
    loop {
        let (packet, sequence) = receive(&mut stream).await?;
        if script.lock().unwrap().kills != kills {
            return None;
        }
        let (&command, text) = packet.split_first()?;
        let answer = match command {
            1 => return None,
            3 => answer(&String::from_utf8_lossy(text), &mut script.lock().unwrap()),
            _ => vec![OK.to_vec()],
        };
        send(&mut stream, &mut (sequence + 1), &answer).await?;
    }
}

/// The reserved connection while it is in use.
struct ReservedConnection(Arc<Mutex<DatabaseScript>>);

impl Drop for ReservedConnection {
    fn drop(&mut self) {
        self.0.lock().unwrap().reserved_in_use = false;
    }
}

/// Accepts a sign-in, or returns the packet of error 1040.
fn admit(
    login: &[u8],
    shared: &Arc<Mutex<DatabaseScript>>,
) -> Result<Option<ReservedConnection>, Vec<u8>> {
    // After capabilities, packet size, character set and filler.
    let name = login.get(32..).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let account = String::from_utf8_lossy(name).into_owned();
    let mut script = shared.lock().unwrap();
    script.accounts.push(account.clone());
    if !script.full {
        return Ok(None);
    }
    if account == "recovery" && !script.reserved_in_use {
        script.reserved_in_use = true;
        return Ok(Some(ReservedConnection(Arc::clone(shared))));
    }
    let mut refusal = vec![0xff];
    refusal.extend(1040_u16.to_le_bytes());
    refusal.extend(b"#08004Too many connections");
    Err(refusal)
}

fn greeting() -> Vec<u8> {
    let [low, high, upper, highest] = CAPABILITIES.to_le_bytes();
    let mut packet = vec![10];
    packet.extend(b"8.0.0-scripted\0");
    packet.extend([1, 0, 0, 0]);
    packet.extend(b"12345678\0");
    packet.extend([low, high, 45, 2, 0, upper, highest, 21]);
    packet.extend([0; 10]);
    packet.extend(b"123456789012\0");
    packet.extend(b"mysql_native_password\0");
    packet
}

fn answer(statement: &str, script: &mut DatabaseScript) -> Vec<Vec<u8>> {
    script.statements.push(statement.to_owned());
    let rows: Vec<(&String, &String)> = if statement.starts_with("SHOW GLOBAL STATUS") {
        if statement.contains("LIKE 'wsrep_%'") {
            script.status_reads.push(Instant::now());
        }
        script.status.iter().collect()
    } else if statement.starts_with("SHOW GLOBAL VARIABLES") {
        let named = |name: &str| statement.contains(&format!("'{name}'"));
        script
            .variables
            .iter()
            .filter(|(name, _)| named(name))
            .collect()
    } else {
        return vec![OK.to_vec()];
    };
    let mut packets = vec![
        vec![2],
        column("Variable_name"),
        column("Value"),
        END.to_vec(),
    ];
    packets.extend(
        rows.into_iter()
            .map(|(name, value)| [text(name), text(value)].concat()),
    );
    packets.push(END.to_vec());
    packets
}

fn column(name: &str) -> Vec<u8> {
    let mut packet = text("def");
    for part in ["", "", "", name, name] {
        packet.extend(text(part));
    }
    // Twelve more bytes: utf8mb4, width 1024, VAR_STRING, no flags.
    packet.extend([12, 45, 0, 0, 4, 0, 0, 253, 0, 0, 0, 0, 0]);
    packet
}

fn text(value: &str) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    let mut bytes = match u8::try_from(length) {
        Ok(short) if short < 251 => vec![short],
        _ => [&[0xfc][..], &length.to_le_bytes()].concat(),
    };
    bytes.extend(value.as_bytes());
    bytes
}

async fn receive(stream: &mut TcpStream) -> Option<(Vec<u8>, u8)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.ok()?;
    let [one, two, three, sequence] = head;
    let length = u32::from_le_bytes([one, two, three, 0]);
    let mut packet = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut packet).await.ok()?;
    Some((packet, sequence))
}

async fn send(stream: &mut TcpStream, sequence: &mut u8, packets: &[Vec<u8>]) -> Option<()> {
    let mut bytes = Vec::new();
    for packet in packets {
        let [one, two, three, _] = u32::try_from(packet.len()).ok()?.to_le_bytes();
        bytes.extend([one, two, three, *sequence]);
        bytes.extend(packet);
        *sequence = sequence.wrapping_add(1);
    }
    stream.write_all(&bytes).await.ok()
}
