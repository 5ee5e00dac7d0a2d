//! What people can do with actions; every replica serves everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use console_core::audit::Trail;
use console_core::clock::now;
use galera::publish::api::{ActionList, ActionView, ClusterRecovery, RecoveryState};
use galera::record::audit::Record;
use galera::recover::action::{
    Action, Actor, BreakGlassRequest, Event, Refusal, Request, State, SwitchedOff, request, step,
};
use galera::recover::attestation::Attestation;
use galera::recover::plan::{CheckCode, Kind, Plan};
use galera::{ClusterName, Timestamp};
use registry::{Guard, Outcome, Registry, Transaction, Write};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempts::Attempts;
use super::board::{Board, Shelf, Shown, view};
use super::keys::{Keys, fresh_id, is_id};
use super::rate::Rate;
use super::records::{about, ended, requested};
use super::store::Store;
use super::switches::{self, Switches};
use super::{ActionError, ActionSettings, World};

/// Races for a switch that are tried again before giving up.
const ATTEMPTS: usize = 5;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What to do.
    pub kind: Kind,
    /// The digest of the plan that was shown.
    pub plan_digest: String,
    /// The cluster's name as it was typed.
    pub confirm: String,
    /// Why.
    pub reason: String,
    /// What the requester vouches for.
    pub attestations: Vec<Attestation>,
    /// The checks to override, if that is asked for.
    pub overrides: Option<Vec<CheckCode>>,
}

/// What somebody decides about an open action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// For it; the digest of the plan that they saw, when they name it.
    Approve {
        /// The digest.
        digest: Option<String>,
    },
    /// Against it.
    Reject,
    /// Withdrawn.
    Cancel,
    /// Just words.
    Comment,
}

/// Which actions are wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only of this cluster.
    pub cluster: Option<ClusterName>,
    /// Only in one of these states; empty for all.
    pub states: Vec<State>,
    /// Only before this one.
    pub before: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl Query {
    fn matches(&self, action: &Action) -> bool {
        self.cluster
            .as_ref()
            .is_none_or(|cluster| action.cluster == *cluster)
            && (self.states.is_empty() || self.states.contains(&action.state))
            && self
                .before
                .as_ref()
                .is_none_or(|before| action.id < *before)
    }
}

/// Everything that actions need; shared by the desk, the executors and the sweep.
pub(super) struct Inner {
    pub(super) registry: Registry,
    pub(super) keys: Keys,
    pub(super) store: Store,
    pub(super) board: Board,
    pub(super) trail: Trail,
    pub(super) world: Arc<dyn World>,
    pub(super) settings: ActionSettings,
    pub(super) tracker: TaskTracker,
    pub(super) shutdown: CancellationToken,
    /// Actions that this replica carries out at the moment, or could not begin.
    pub(super) attempts: Attempts,
    rate: Rate,
}

/// The desk; clones share it.
#[derive(Clone)]
pub struct Actions {
    pub(super) inner: Arc<Inner>,
}

impl Actions {
    /// A desk on `registry` whose tasks run on `tracker` until `shutdown`: one that keeps what is known true, one that
    /// lets expire what is due and continues what another replica left.
    #[must_use]
    pub fn start(
        settings: ActionSettings,
        registry: Registry,
        world: Arc<dyn World>,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let keys = Keys::new(&settings.state_prefix);
        let trail = Trail::new(registry.clone(), &settings.state_prefix);
        let inner = Arc::new(Inner {
            store: Store::new(registry.clone(), keys.clone(), trail.clone()),
            board: Board::new(keys.clone()),
            trail,
            registry,
            keys,
            world,
            settings,
            tracker,
            shutdown,
            attempts: Attempts::default(),
            rate: Rate::default(),
        });
        let following = Arc::clone(&inner);
        inner.tracker.spawn(async move {
            let registry = following.registry.clone();
            let shutdown = following.shutdown.clone();
            following.board.follow(registry, shutdown).await;
        });
        inner.tracker.spawn(super::sweep::run(Arc::clone(&inner)));
        Self { inner }
    }

    /// Every open action and the newest others, and the news of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Shelf>> {
        self.inner.board.subscribe()
    }

    /// The audit trail that everything here is recorded in.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.inner.trail
    }

    /// A plan, computed now.
    ///
    /// # Errors
    /// [`ActionError::UnknownCluster`] only: whatever is not known becomes a check.
    pub async fn plan(
        &self,
        kind: Kind,
        cluster: &ClusterName,
        attestations: &[Attestation],
    ) -> Result<Plan, ActionError> {
        let scene = self.inner.scene(cluster, false, None).await?;
        Ok(scene.plan(&self.inner.settings, kind, attestations))
    }

    /// Requests an action.
    ///
    /// # Errors
    /// [`ActionError`]; nothing is recorded then.
    pub async fn request(
        &self,
        by: &Actor,
        cluster: &ClusterName,
        wanted: &Wanted,
    ) -> Result<Shown, ActionError> {
        self.count(by)?;
        let inner = &self.inner;
        let scene = inner.scene(cluster, false, None).await?;
        let shown = scene.plan(&inner.settings, wanted.kind, &[]);
        let plan = scene.plan(&inner.settings, wanted.kind, &wanted.attestations);
        let at = now();
        let id = fresh_id(at);
        let asked = Request {
            id: &id,
            by,
            plan_digest: &wanted.plan_digest,
            confirm: &wanted.confirm,
            reason: &wanted.reason,
            break_glass: wanted
                .overrides
                .clone()
                .map(|overrides| BreakGlassRequest { overrides }),
        };
        let limits = inner.settings.limits(wanted.kind);
        let action = request(&asked, &shown, &plan, &limits, at)?;
        let record = about(
            &action,
            &by.name,
            "action_requested",
            requested(&action),
            at,
        );
        let guards = Switches::guards(&inner.keys, cluster);
        let stored = inner.store.create(&action, guards, &[record]).await?;
        tracing::info!(
            action.id = id, cluster.id = %cluster, user = by.name,
            "{} requested the {} of {cluster}: action {id}", by.name, action.kind,
        );
        Ok(inner.board.note(&stored))
    }

    /// Approves, rejects, withdraws or comments an action. With its last approval it is carried out at once.
    ///
    /// # Errors
    /// [`ActionError`]; the action stays as it is.
    pub async fn decide(
        &self,
        by: &Actor,
        id: &str,
        decision: &Decision,
        comment: Option<&str>,
    ) -> Result<Shown, ActionError> {
        self.count(by)?;
        let id = known_id(id)?;
        let stored = self
            .inner
            .store
            .change(id, |action| self.decided(action, by, decision, comment))
            .await?;
        let shown = self.inner.board.note(&stored);
        if matches!(decision, Decision::Approve { .. }) && stored.action.state == State::Approved {
            super::run::start(&self.inner, id);
        }
        Ok(shown)
    }

    fn decided(
        &self,
        action: &Action,
        by: &Actor,
        decision: &Decision,
        comment: Option<&str>,
    ) -> Result<(Action, Vec<Record>), Refusal> {
        let at = now();
        let (event, word) = match decision {
            Decision::Approve { digest } => {
                let digest = digest.as_deref().unwrap_or(&action.plan.digest);
                let event = Event::Approve {
                    by,
                    digest,
                    comment,
                };
                (event, "action_approved")
            }
            Decision::Reject => (Event::Reject { by, comment }, "action_rejected"),
            Decision::Cancel => (Event::Cancel { by, comment }, "action_cancelled"),
            Decision::Comment => {
                let text = comment.unwrap_or_default();
                (Event::Comment { by, text }, "action_commented")
            }
        };
        let limits = self.inner.settings.limits(action.kind);
        let next = step(action, &event, &limits, at)?;
        let mut detail = BTreeMap::from([("digest".to_owned(), action.plan.digest.clone())]);
        if let Some(comment) = comment.map(str::trim).filter(|comment| !comment.is_empty()) {
            detail.insert("comment".to_owned(), comment.to_owned());
        }
        let mut records = vec![about(&next, &by.name, word, detail, at)];
        records.extend(ended(action, &next, &by.name, at));
        Ok((next, records))
    }

    /// Has an approved action carried out by this replica; returns as soon as it has begun.
    ///
    /// # Errors
    /// [`ActionError`]; it was not begun then.
    pub async fn execute(&self, by: &Actor, id: &str) -> Result<Shown, ActionError> {
        self.count(by)?;
        let id = known_id(id)?;
        super::run::execute(&self.inner, by, id).await?;
        self.get(id).await
    }

    /// An action, as this replica knows it or else as etcd has it.
    ///
    /// # Errors
    /// [`ActionError::Unknown`], etcd's.
    pub async fn get(&self, id: &str) -> Result<Shown, ActionError> {
        let id = known_id(id)?;
        if let Some(shown) = self.inner.board.shelf().get(id) {
            return Ok(Arc::clone(shown));
        }
        let stored = self.inner.store.get(id).await?;
        let stored = stored.ok_or_else(|| ActionError::Unknown(id.to_owned()))?;
        let undone = self.inner.read_undone(id).await?;
        let revision = u64::try_from(stored.revision).unwrap_or(0);
        let view = view(&stored, undone, Vec::new());
        Ok(Arc::new(console_core::published::Published::new(
            revision, view,
        )))
    }

    /// Actions, newest first.
    ///
    /// # Errors
    /// etcd's, when actions are wanted that are too old to be in memory.
    pub async fn list(&self, query: &Query) -> Result<ActionList, ActionError> {
        let shelf = self.inner.board.shelf();
        let from_memory: Vec<ActionView> = shelf
            .newest()
            .filter(|shown| query.matches(&shown.value.action))
            .take(query.limit + 1)
            .map(|shown| shown.value.clone())
            .collect();
        let reaches_back = match shelf.complete_from() {
            None => false,
            Some("") => true,
            Some(oldest) => from_memory
                .last()
                .is_some_and(|last| from_memory.len() > query.limit && *last.action.id >= *oldest),
        };
        let only_open =
            !query.states.is_empty() && query.states.iter().all(|state| !state.is_final());
        let mut actions = if reaches_back || (only_open && shelf.known) {
            from_memory
        } else {
            self.inner.read_all(query).await?
        };
        let more = actions.len() > query.limit;
        actions.truncate(query.limit);
        let next_before = actions
            .last()
            .filter(|_| more)
            .map(|last| last.action.id.clone());
        Ok(ActionList {
            actions,
            next_before,
        })
    }

    /// Whether recovery is on.
    ///
    /// # Errors
    /// etcd's.
    pub async fn recovery(&self) -> Result<RecoveryState, ActionError> {
        let switches = Switches::read(&self.inner.registry, &self.inner.keys).await?;
        let settings = &self.inner.settings;
        Ok(RecoveryState {
            enabled: switches.global.is_none(),
            off: switches.global,
            clusters: switches.clusters,
            approvals: Kind::ALL
                .map(|kind| (kind, settings.limits(kind).approvals))
                .into(),
            sql_account: settings.sql_account,
        })
    }

    /// Whether recovery of `cluster` is on.
    ///
    /// # Errors
    /// etcd's.
    pub async fn cluster_recovery(
        &self,
        cluster: &ClusterName,
    ) -> Result<ClusterRecovery, ActionError> {
        let switches = Switches::read(&self.inner.registry, &self.inner.keys).await?;
        let off = switches.off(cluster).cloned();
        let scope = off.as_ref().map(|_| {
            let scope = if switches.global.is_some() {
                "global"
            } else {
                "cluster"
            };
            scope.to_owned()
        });
        Ok(ClusterRecovery {
            cluster: cluster.clone(),
            enabled: off.is_none(),
            off,
            scope,
        })
    }

    /// Switches recovery of one cluster, or of all, on or off. Who may do that was checked before.
    ///
    /// # Errors
    /// A missing reason for switching off, etcd's.
    pub async fn switch(
        &self,
        by: &Actor,
        cluster: Option<&ClusterName>,
        enabled: bool,
        reason: &str,
    ) -> Result<(), ActionError> {
        self.count(by)?;
        let reason = reason.trim();
        let length = reason.chars().count();
        let limit = galera::recover::action::TEXT_MAX;
        if length > limit {
            return Err(Refusal::TooLong { length, limit }.into());
        }
        if !enabled && reason.is_empty() {
            return Err(Refusal::NoReason.into());
        }
        let keys = &self.inner.keys;
        let key = cluster.map_or_else(|| keys.global_switch(), |name| keys.cluster_switch(name));
        for _ in 0..ATTEMPTS {
            let present = self.inner.registry.get(key.as_str()).await?;
            if enabled == present.is_none() {
                return Ok(());
            }
            let at = now();
            let off = SwitchedOff {
                by: by.name.clone(),
                at,
                reason: reason.to_owned(),
            };
            let guard = match &present {
                None => Guard::Absent(key.clone().into_bytes()),
                Some(entry) => Guard::Unchanged(key.clone().into_bytes(), entry.mod_revision),
            };
            let write = if enabled {
                Write::delete(key.clone())
            } else {
                Write::put(key.clone(), switches::value(&off)?, None)
            };
            let transaction = Transaction::new().when(guard).then([write]);
            let record = switched(by, cluster, enabled, reason, at);
            if let Outcome::Committed { .. } =
                self.inner.trail.commit(&transaction, &[record]).await?
            {
                return Ok(());
            }
        }
        Err(ActionError::Contended)
    }

    pub(super) fn count(&self, by: &Actor) -> Result<(), ActionError> {
        self.inner
            .rate
            .count(&by.name, Instant::now())
            .map_err(ActionError::TooMany)
    }
}

impl Inner {
    /// Actions that match, from etcd: for those that are too old to be in memory.
    async fn read_all(&self, query: &Query) -> Result<Vec<ActionView>, ActionError> {
        let listing = self.registry.list(self.keys.actions()).await?;
        let mut undone = BTreeMap::new();
        let mut views = Vec::new();
        for entry in listing.entries.iter().rev() {
            let key = String::from_utf8_lossy(&entry.key);
            let name = key.strip_prefix(&self.keys.actions()).unwrap_or_default();
            if let Some(id) = name.strip_suffix("/undone") {
                undone.insert(id.to_owned(), serde_json::from_slice(&entry.value).ok());
                continue;
            }
            let Ok(stored) = super::store::parse(entry) else {
                continue;
            };
            if query.matches(&stored.action) {
                let undone = undone.remove(name).flatten();
                views.push(view(&stored, undone, Vec::new()));
                if views.len() > query.limit {
                    break;
                }
            }
        }
        Ok(views)
    }
}

/// The identity, when it can be one.
pub(super) fn known_id(id: &str) -> Result<&str, ActionError> {
    if is_id(id) {
        Ok(id)
    } else {
        Err(ActionError::Unknown(id.chars().take(40).collect()))
    }
}

fn switched(
    by: &Actor,
    cluster: Option<&ClusterName>,
    enabled: bool,
    reason: &str,
    at: Timestamp,
) -> Record {
    let event = if enabled {
        "recovery_switched_on"
    } else {
        "recovery_switched_off"
    };
    Record {
        at,
        actor: by.name.clone(),
        event: event.to_owned(),
        cluster: cluster.cloned(),
        subject: None,
        detail: BTreeMap::from([("reason".to_owned(), reason.to_owned())]),
    }
}
