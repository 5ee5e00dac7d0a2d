//! Watching until the outcome is proven or the deadline has passed: what an answer says proves nothing (I21).

use std::time::Duration;

use galera::recover::action::{Event, Refusal, Verdict};
use galera::recover::bootstrap::{Outcome, verify};
use galera::recover::cleanup::lost_registrations;
use galera::recover::plan::{Kind, Step};
use registry::Guard;
use tokio::time::sleep;

use super::run::{Run, Stopped};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

impl Run {
    /// Looks once, writes down what is new, and ends the action when that is due.
    pub(super) async fn observe(&mut self) -> Result<(), Stopped> {
        let verdict = match self.stored.action.kind {
            Kind::Bootstrap => self.bootstrapped().await?,
            Kind::Cleanup | Kind::Decommission => self.cleaned().await?,
        };
        let fence = self.lock.fence;
        let observed = Event::Observed { fence, verdict };
        match self.apply(&[observed], &[], &[]).await {
            Ok(_) | Err(Stopped::Refused(Refusal::TooEarly { .. })) => {}
            Err(error) => return Err(error),
        }
        if self.stored.action.state.is_final() {
            return Ok(());
        }
        match self.apply(&[Event::Tick], &[], &[]).await {
            Ok(_)
            | Err(Stopped::Refused(Refusal::TooEarly { .. } | Refusal::NothingDue { .. })) => {}
            Err(error) => return Err(error),
        }
        if !self.stored.action.state.is_final() {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// What the nodes themselves say.
    async fn bootstrapped(&self) -> Result<Verdict, Stopped> {
        let action = &self.stored.action;
        let scene = self
            .inner
            .scene(&action.cluster, true, Some(&action.id))
            .await?;
        let Some(target) = &action.plan.target else {
            return Ok(Verdict::NotYet("the plan has no target".to_owned()));
        };
        // Whoever was attested stopped and answers now is the observation's business, not the attestation's.
        let case = scene.case(&self.inner.settings, &[]);
        Ok(match verify(target, &case) {
            Outcome::Proven => {
                let names: Vec<String> = target.revives.iter().map(ToString::to_string).collect();
                Verdict::Proven(format!(
                    "{} Primary and Synced, by their own word",
                    match names.as_slice() {
                        [one] => format!("{one} is"),
                        _ => format!("{} are", names.join(", ")),
                    }
                ))
            }
            Outcome::NotYet(what) => Verdict::NotYet(what),
            Outcome::Contradicted(what) => Verdict::Contradicted(what),
        })
    }

    /// Every key is gone by transactions of ours; a living node that lost its registration by that gets it back (I28).
    async fn cleaned(&self) -> Result<Verdict, Stopped> {
        let action = &self.stored.action;
        let scene = self
            .inner
            .scene(&action.cluster, true, Some(&action.id))
            .await?;
        let removed = match action.plan.steps.len() {
            1 => "The key was removed as it was seen".to_owned(),
            count => format!("{count} keys were removed, each as it was seen"),
        };
        let mut restored = Vec::new();
        if action.kind == Kind::Cleanup
            && let (Some(before), Some(after)) = (&self.before, scene.look.readings.last())
        {
            let case = scene.case(&self.inner.settings, &action.attestations);
            for step in lost_registrations(&case, before, after) {
                restored.extend(self.restore(step).await?);
            }
        }
        Ok(Verdict::Proven(if restored.is_empty() {
            removed
        } else {
            format!("{removed}; living nodes got back {}", restored.join(", "))
        }))
    }

    async fn restore(&self, step: Step) -> Result<Option<String>, Stopped> {
        let Step::Key {
            key,
            value: Some(value),
            ..
        } = step
        else {
            return Ok(None);
        };
        let transaction = registry::Transaction::new()
            .when(self.lock.guard())
            .when(Guard::Absent(key.clone().into_bytes()))
            .then([registry::Write::put(key.clone(), value, None)]);
        let outcome = self.inner.registry.transact(&transaction).await;
        let outcome = outcome.map_err(super::ActionError::from)?;
        Ok(matches!(outcome, registry::Outcome::Committed { .. }).then_some(key))
    }
}
