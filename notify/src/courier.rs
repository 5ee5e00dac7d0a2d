//! Sends what lies in the outbox: each target's deliveries in order and one at a time, all targets at once.

mod office;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::leader::Term;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use registry::{Guard, Outcome as Written, Transaction, Write};
use tokio::sync::watch;

use super::Inner;
use super::crier::Fires;
use super::outbox::{self, Queued};
use super::send::{Firing, Outcome};
use super::target::Target;
use office::{Job, Office};

/// Between attempts to record what was sent.
const AGAIN: Duration = Duration::from_secs(1);

/// A job that came to its end.
struct Landed {
    target: String,
    /// What became of a delivery.
    settled: Option<Settled>,
}

/// What a job made of a delivery.
#[derive(Debug)]
struct Settled {
    before: Queued,
    /// What lies in the outbox instead.
    after: Option<Queued>,
    /// When that was written; `None` when somebody else had changed it before.
    revision: Option<i64>,
}

/// The courier of one term.
pub(super) struct Courier {
    inner: Arc<Inner>,
    term: Arc<Term>,
    fires: watch::Receiver<Fires>,
}

impl Courier {
    pub(super) fn new(inner: Arc<Inner>, term: Arc<Term>, fires: watch::Receiver<Fires>) -> Self {
        Self { inner, term, fires }
    }

    /// Runs until it is dropped; what is under way then is sent again by the next leader.
    pub(super) async fn run(mut self) {
        let mut outbox = self.inner.registry.watch(self.inner.keys.outbox());
        let mut targets = self.inner.targets.watch();
        let mut office = Office::default();
        let mut flying: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
        loop {
            let (table, fires) = (
                targets.borrow_and_update().clone(),
                self.fires.borrow_and_update().clone(),
            );
            let mut wake = None;
            if let Some(table) = table {
                for (target, job) in office.due(&table, &fires, now()) {
                    flying.push(self.start(target, job));
                }
                wake = office.next(&table, &fires);
            }
            let wait = wake.map(|at| now().age(at));
            tokio::select! {
                event = outbox.next() => match event {
                    Some(event) => office.learn(event),
                    None => return,
                },
                Some(Landed { target, settled }) = flying.next(), if !flying.is_empty() => {
                    office.landed(&target, settled);
                }
                changed = targets.changed() => if changed.is_err() { return },
                changed = self.fires.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    fn start(&self, target: String, job: Job) -> BoxFuture<'static, Landed> {
        let (inner, term) = (Arc::clone(&self.inner), Arc::clone(&self.term));
        match job {
            Job::Send(queued, record, prune) => {
                deliver(inner, term, target, *queued, record, prune).boxed()
            }
            Job::GiveUp(queued, why) => {
                let next = outbox::give_up(&queued.delivery, why, now());
                let transaction = outbox::settle(&inner.keys, &queued, &next);
                async move {
                    let settled = record(&inner, &term, *queued, None, &transaction).await;
                    Landed { target, settled }
                }
                .boxed()
            }
            Job::Discard(queued) => async move {
                let guard = Guard::Unchanged(queued.key.clone(), queued.revision);
                let transaction = Transaction::new()
                    .when(guard)
                    .then([Write::delete(queued.key.clone())]);
                let settled = record(&inner, &term, *queued, None, &transaction).await;
                Landed { target, settled }
            }
            .boxed(),
            Job::Repeat(record, firing) => repeat(inner, target, record, firing).boxed(),
        }
    }
}

/// One attempt, recorded.
async fn deliver(
    inner: Arc<Inner>,
    term: Arc<Term>,
    target: String,
    queued: Queued,
    to: Arc<Target>,
    prune: bool,
) -> Landed {
    let notice = &queued.delivery.notice;
    let (outcome, attempt) = inner.sender.attempt(&target, &to, notice).await;
    match &attempt.error {
        None => tracing::info!(
            target.id = target,
            notice.id = notice.id,
            duration_ms = attempt.millis,
            "Told {}: {}",
            to.name,
            notice.title
        ),
        Some(error) => tracing::warn!(
            target.id = target,
            notice.id = notice.id,
            duration_ms = attempt.millis,
            error,
            "Could not tell {}: {error}",
            to.name
        ),
    }
    let next = outbox::after(
        &queued.delivery,
        attempt,
        outcome == Outcome::Unwanted,
        now(),
    );
    let transaction = outbox::settle(&inner.keys, &queued, &next);
    let waits = next.next_at.is_some().then_some(next);
    let settled = record(&inner, &term, queued, waits, &transaction).await;
    if prune
        && let Err(error) =
            outbox::shorten(&inner.registry, &inner.keys, &target, term.guard()).await
    {
        tracing::debug!(%error, "Old deliveries stay for now");
    }
    Landed { target, settled }
}

/// Records what became of `queued`, for as long as that takes: what was sent must not be sent again because etcd is away.
/// Whether it happened cannot be told after a lost answer, but then the entry is not what it was, and the outbox's own
/// news say what it is.
async fn record(
    inner: &Inner,
    term: &Term,
    queued: Queued,
    waits: Option<galera::publish::notification::delivery::Delivery>,
    transaction: &Transaction,
) -> Option<Settled> {
    let transaction = transaction.clone().when(term.guard());
    loop {
        match inner.registry.transact(&transaction).await {
            Ok(Written::Committed { revision }) => {
                let after = waits.map(|delivery| Queued {
                    revision,
                    delivery,
                    ..queued.clone()
                });
                return Some(Settled {
                    before: queued,
                    after,
                    revision: Some(revision),
                });
            }
            Ok(Written::Refused { .. }) => {
                return Some(Settled {
                    before: queued,
                    after: None,
                    revision: None,
                });
            }
            Err(error) => {
                tracing::warn!(%error, "What was sent is not recorded yet: {error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn repeat(inner: Arc<Inner>, target: String, to: Arc<Target>, firing: Vec<Firing>) -> Landed {
    if let Some(reply) = inner.sender.repeat(&to, &firing).await
        && let Some(error) = reply.error
    {
        tracing::warn!(
            target.id = target,
            error,
            "Could not repeat alerts to {}: {error}",
            to.name
        );
    }
    Landed {
        target,
        settled: None,
    }
}

/// The targets as they are known.
type Table = BTreeMap<String, super::targets::Known>;
