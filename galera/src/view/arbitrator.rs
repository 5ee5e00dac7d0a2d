//! Members that vote and have no data.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The state of an arbitrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ArbitratorState {
    /// It votes in a Primary component whose members confirm it by their size.
    Member,
    /// A Primary component has an unknown member, and no agent reports it.
    Inferred,
    /// It reports a Primary component that no member that answers confirms.
    Elsewhere,
    /// Its component has no quorum.
    NonPrimary,
    /// It runs and has not joined a component yet.
    Connecting,
    /// It does not run: there is no member to join.
    Waiting,
}

impl ArbitratorState {
    pub const ALL: [Self; 6] = [
        Self::Member,
        Self::Inferred,
        Self::Elsewhere,
        Self::NonPrimary,
        Self::Connecting,
        Self::Waiting,
    ];

    /// The state as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Inferred => "inferred",
            Self::Elsewhere => "elsewhere",
            Self::NonPrimary => "non_primary",
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
        }
    }
}

/// A member that votes and has no data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArbitratorView {
    /// `garbd --name`; `null` if it is inferred.
    pub name: Option<String>,
    pub state: ArbitratorState,
    /// Where it listens for members: host and port.
    pub address: Option<String>,
    /// Since when it has its state, by its own clock.
    pub since: Option<Timestamp>,
    /// The state in a sentence, or why it waits.
    pub message: String,
}
