//! What the signature of an order covers, and the interface to the keys that verify it. The primitive itself is
//! in the crate `order-signature`, so that this crate stays free of cryptography in the browser.

use std::fmt;

use crate::id::NodeId;
use crate::timestamp::Timestamp;

/// What an order is for. Its first line separates these signatures from everything else that the same key might ever
/// sign, and changes with the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderPurpose {
    /// Bootstrap the cluster from these data.
    Bootstrap,
    /// Keep these data aside and join empty.
    Rejoin {
        /// The fork that holds the data back; 0 for none.
        ahead_of: u64,
    },
}

impl OrderPurpose {
    const fn first_line(self) -> &'static str {
        match self {
            Self::Bootstrap => "galera-console bootstrap order v1",
            Self::Rejoin { .. } => "galera-console rejoin order v1",
        }
    }
}

/// The port that node ids omit.
const DEFAULT_PORT: u16 = 3306;

/// The statement that a console signs: this node of this cluster, with these data at this position, may do this for
/// this action, in this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderClaims {
    pub purpose: OrderPurpose,
    /// The prefix of the registry's keys, with a trailing slash.
    pub registry: String,
    pub cluster: String,
    /// Compared with the default port omitted.
    pub node: NodeId,
    /// The identity of the data; empty for an agent that publishes none, and then no verifying agent accepts it.
    pub data_id: String,
    pub position: String,
    pub action_id: String,
    pub not_before: Timestamp,
    pub expires_at: Timestamp,
    /// 0 for data without a fork epoch.
    pub fork_epoch: u64,
}

impl OrderClaims {
    /// The bytes that are signed. Every field has its name and length, so different claims have different bytes.
    #[must_use]
    pub fn to_signed_bytes(&self) -> Vec<u8> {
        let fields = [
            ("registry", self.registry.clone()),
            ("cluster", self.cluster.clone()),
            (
                "node",
                self.node.clone().normalized(DEFAULT_PORT).to_string(),
            ),
            ("data_id", self.data_id.clone()),
            ("position", self.position.clone()),
            ("action_id", self.action_id.clone()),
            ("not_before", self.not_before.unix_millis().to_string()),
            ("expires_at", self.expires_at.unix_millis().to_string()),
            ("fork_epoch", self.fork_epoch.to_string()),
        ];
        let of_purpose = match self.purpose {
            OrderPurpose::Bootstrap => None,
            OrderPurpose::Rejoin { ahead_of } => Some(("ahead_of", ahead_of.to_string())),
        };
        let mut text = format!("{}\n", self.purpose.first_line());
        for (name, value) in fields.into_iter().chain(of_purpose) {
            text.push_str(&format!("{name}={}:{value}\n", value.len()));
        }
        text.into_bytes()
    }
}

/// The result of verifying a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureCheck {
    /// A trusted key made it for exactly these bytes.
    Valid,
    /// No trusted key has this name.
    UnknownKey,
    /// The key did not make it for these bytes.
    Invalid,
}

/// The public keys that an agent trusts.
pub trait OrderVerifier: fmt::Debug + Send + Sync {
    /// Verifies `signature` (hexadecimal digits) of `message` with the key named `key_id`.
    fn verify(&self, key_id: &str, message: &[u8], signature: &str) -> SignatureCheck;

    /// The names of the keys, in the order of their file.
    fn key_ids(&self) -> Vec<String>;
}

/// The value of a node's `order_keys`: the names of the keys that its agent trusts.
#[must_use]
pub fn order_keys_value(key_ids: &[String]) -> String {
    match key_ids {
        [] => NO_ORDER_KEYS.to_owned(),
        ids => ids.join(","),
    }
}

/// The `order_keys` of an agent without keys.
pub const NO_ORDER_KEYS: &str = "none";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claims() -> impl Strategy<Value = OrderClaims> {
        let text = || prop_oneof!["[a-z0-9:/=\n-]{0,6}", ".{0,4}"];
        let texts = (text(), text(), text(), text(), text());
        let purpose = prop_oneof![
            Just(OrderPurpose::Bootstrap),
            (0_u64..3).prop_map(|ahead_of| OrderPurpose::Rejoin { ahead_of }),
        ];
        (purpose, texts, "n[1-3]", -3_i64..3, -3_i64..3, 0_u64..3).prop_map(
            |(purpose, texts, node, not_before, expires_at, fork_epoch)| OrderClaims {
                purpose,
                registry: texts.0,
                cluster: texts.1,
                node: node.parse().unwrap(),
                data_id: texts.2,
                position: texts.3,
                action_id: texts.4,
                not_before: Timestamp::from_unix_millis(not_before),
                expires_at: Timestamp::from_unix_millis(expires_at),
                fork_epoch,
            },
        )
    }

    proptest! {
        /// Different claims never have the same bytes, whatever separators their fields contain.
        #[test]
        fn signed_bytes_are_injective(one in claims(), other in claims()) {
            prop_assert_eq!(one == other, one.to_signed_bytes() == other.to_signed_bytes());
        }

        #[test]
        fn a_character_moved_to_the_next_field_changes_the_bytes(claims in claims(), moved in "[a-z:=]") {
            let (mut one, mut other) = (claims.clone(), claims);
            one.registry.push_str(&moved);
            other.cluster.insert_str(0, &moved);
            prop_assert_ne!(one.to_signed_bytes(), other.to_signed_bytes());
        }
    }

    #[test]
    fn the_bytes_are_a_contract() {
        let mut claims = OrderClaims {
            purpose: OrderPurpose::Bootstrap,
            registry: "/galera/".to_owned(),
            cluster: "lab".to_owned(),
            node: "10.0.0.1:3306".parse().unwrap(),
            data_id: "d1".to_owned(),
            position: "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:17".to_owned(),
            action_id: "a1".to_owned(),
            not_before: Timestamp::from_unix_millis(1),
            expires_at: Timestamp::from_unix_millis(1_000),
            fork_epoch: 0,
        };
        let text = String::from_utf8(claims.to_signed_bytes()).unwrap();
        assert_eq!(
            text,
            "galera-console bootstrap order v1\nregistry=8:/galera/\ncluster=3:lab\nnode=8:10.0.0.1\ndata_id=2:d1\n\
             position=39:6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:17\naction_id=2:a1\nnot_before=1:1\nexpires_at=4:1000\n\
             fork_epoch=1:0\n"
        );
        claims.purpose = OrderPurpose::Rejoin { ahead_of: 12 };
        let rejoin = String::from_utf8(claims.to_signed_bytes()).unwrap();
        assert_eq!(
            rejoin,
            text.replace("bootstrap", "rejoin") + "ahead_of=2:12\n"
        );
    }
}
