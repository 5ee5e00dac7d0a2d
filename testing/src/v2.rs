//! Requests to the keys API of etcd v2, as the scripts of the original images send them with curl: each on a connection of
//! its own, without TLS, the value in a form.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Writes keys of v2 at one member.
#[derive(Clone, Debug)]
pub struct V2Scripts {
    address: String,
    authorization: Option<String>,
}

impl V2Scripts {
    /// At a member's `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            authorization: None,
        }
    }

    /// The same with the value of the header `Authorization`.
    pub fn authorized(&self, authorization: &str) -> Self {
        Self {
            address: self.address.clone(),
            authorization: Some(authorization.to_owned()),
        }
    }

    /// Writes a key, with a time to live in seconds if there is one. Returns the body of the answer.
    pub fn put(&self, key: &str, value: &str, ttl: Option<u64>) -> String {
        let mut form = format!("value={}", encoded(value, ""));
        if let Some(ttl) = ttl {
            write!(form, "&ttl={ttl}").unwrap();
        }
        self.form(key, &form)
    }

    /// Makes a directory.
    pub fn make_directory(&self, key: &str) -> String {
        self.form(key, "dir=true")
    }

    /// Removes a key, or a directory with everything in it.
    pub fn remove(&self, key: &str) -> String {
        let path = format!("/v2/keys{}?recursive=true", encoded(key, "/"));
        self.request("DELETE", &path, "text/plain", "")
    }

    fn form(&self, key: &str, form: &str) -> String {
        let path = format!("/v2/keys{}", encoded(key, "/"));
        self.request("PUT", &path, "application/x-www-form-urlencoded", form)
    }

    /// What the entry point of the first node of all writes: its address, for good.
    pub fn register_address(&self, prefix: &str, node: &str) {
        self.put(&format!("{prefix}/{node}/ipaddress"), node, None);
    }

    /// What the entry point writes after it recovered a position, when no node is Synced.
    pub fn report_recovered(&self, prefix: &str, node: &str, seqno: u64, ttl: u64) {
        let key = format!("{prefix}/{node}/seqno");
        self.put(&key, &seqno.to_string(), Some(2 * ttl));
    }

    /// One round of the reporting script of pxc56.
    pub fn report_pxc56(&self, prefix: &str, node: &str, state: &str, seqno: u64, ttl: u64) {
        let key = |name: &str| format!("{prefix}/{node}/{name}");
        self.put(&key("wsrep_local_state_comment"), state, Some(ttl));
        let seqno = seqno.to_string();
        self.put(&key("wsrep_last_committed"), &seqno, Some(ttl));
    }

    /// One round of the reporting script of galera-docker-mariadb.
    pub fn report_mariadb(&self, prefix: &str, node: &str, state: &str, seqno: u64, ttl: u64) {
        let key = |name: &str| format!("{prefix}/{node}/{name}");
        self.put(&key("wsrep_local_state_comment"), state, Some(ttl));
        self.put(&key("seqno"), &seqno.to_string(), Some(ttl));
    }

    /// Sends a request. Returns the body of the answer.
    pub fn request(&self, method: &str, path: &str, media_type: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("etcd accepts connections");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        if let Some(authorization) = &self.authorization {
            write!(head, "Authorization: {authorization}\r\n").unwrap();
        }
        stream
            .write_all(format!("{head}\r\n{body}").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        assert!(
            status.starts_with('2'),
            "{method} {path}: status {status}: {body}"
        );
        body.to_owned()
    }
}

/// `text` for a URL; characters of `kept` stay.
fn encoded(text: &str, kept: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        let character = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-._".contains(character) || kept.contains(character) {
            url.push(character);
        } else {
            write!(url, "%{byte:02X}").unwrap();
        }
    }
    url
}
