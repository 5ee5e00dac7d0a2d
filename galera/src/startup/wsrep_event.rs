//! State changes that a server reports to its `wsrep_notify_cmd`: the command's arguments, forwarded as one datagram.

use uuid::Uuid;

use crate::observe::wsrep::LocalState;
use crate::position::parse_uuid;
use crate::view::ClusterStatus;

/// Longest datagram that is parsed, in bytes.
const DATAGRAM_MAX: usize = 16 * 1024;

/// One state change that the server reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WsrepEvent {
    /// `--status`, lower case: `joiner`, `joined`, `synced`, …
    pub status: Option<String>,
    /// `--uuid`: the cluster's state UUID.
    pub uuid: Option<Uuid>,
    /// `--primary`.
    pub primary: Option<bool>,
    /// The number of entries in `--members`.
    pub member_count: Option<usize>,
}

impl WsrepEvent {
    /// Parses the arguments; unknown ones are skipped, unreadable values are `None`.
    #[must_use]
    pub fn from_arguments<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut event = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None if name.starts_with("--") => (name, arguments.next()),
                None => continue,
            };
            let Some(value) = value else { break };
            event.apply_argument(name, value.trim());
        }
        event
    }

    fn apply_argument(&mut self, name: &str, value: &str) {
        match name {
            "--status" => {
                let status: String = value
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .take(32)
                    .collect();
                self.status = (!status.is_empty()).then(|| status.to_ascii_lowercase());
            }
            "--uuid" => self.uuid = parse_uuid(value),
            "--primary" => {
                self.primary = match value.to_ascii_lowercase().as_str() {
                    "yes" => Some(true),
                    "no" => Some(false),
                    _ => None,
                }
            }
            "--members" => {
                self.member_count =
                    Some(value.split(',').filter(|member| !member.is_empty()).count());
            }
            _ => {}
        }
    }

    /// Parses a datagram: the arguments, separated by NUL bytes. Any bytes are accepted.
    #[must_use]
    pub fn from_datagram(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(DATAGRAM_MAX)];
        let text = String::from_utf8_lossy(bytes);
        Self::from_arguments(text.split('\0'))
    }

    /// Encodes arguments as a datagram; those that do not fit are dropped.
    #[must_use]
    pub fn encode_datagram<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for argument in arguments {
            if bytes.len() + argument.len() + 1 > DATAGRAM_MAX {
                break;
            }
            bytes.extend_from_slice(argument.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    /// The server's new state and its `wsrep_local_state_comment`; `None` for statuses without one.
    #[must_use]
    pub fn local_state(&self) -> Option<(LocalState, &'static str)> {
        Some(match self.status.as_deref()? {
            "joiner" => (LocalState::Joiner, "Joining"),
            "donor" => (LocalState::Donor, "Donor/Desynced"),
            "joined" => (LocalState::Joined, "Joined"),
            "synced" => (LocalState::Synced, "Synced"),
            _ => return None,
        })
    }

    #[must_use]
    pub fn cluster_status(&self) -> Option<ClusterStatus> {
        self.primary.map(|primary| match primary {
            true => ClusterStatus::Primary,
            false => ClusterStatus::NonPrimary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagram_round_trips() {
        let uuid = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
        let arguments = [
            "--status",
            "joined",
            "--uuid",
            uuid,
            "--primary",
            "yes",
            "--index",
            "1",
        ];
        let members = ["--members", "a/n1/h1:3306,b/n2/h2:3306"];
        let event = WsrepEvent::from_datagram(&WsrepEvent::encode_datagram(
            arguments.into_iter().chain(members),
        ));
        assert_eq!(event.local_state(), Some((LocalState::Joined, "Joined")));
        assert_eq!(event.cluster_status(), Some(ClusterStatus::Primary));
        assert_eq!(event.uuid, uuid.parse().ok());
        assert_eq!(event.member_count, Some(2));
    }

    #[test]
    fn garbage_yields_an_empty_event() {
        for bytes in [
            &b""[..],
            b"\xff\xfe\0--status",
            b"--primary\0maybe",
            b"--uuid\0x",
        ] {
            assert_eq!(
                WsrepEvent::from_datagram(bytes),
                WsrepEvent::default(),
                "{bytes:?}"
            );
        }
        assert_eq!(
            WsrepEvent::from_arguments(["--status", "\u{1b}[31m"]).local_state(),
            None
        );
    }
}
