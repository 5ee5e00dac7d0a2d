//! Automatic incidents: opened when a cluster has been unhealthy for long enough, resolved when it has been healthy for
//! as long. [`HealthEpisode`] follows the verdicts, [`next_incident_step`] decides.

use std::time::Duration;

use super::{AutoIncidentRule, Incident, IncidentState, NewIncident};
use crate::id::ClusterName;
use crate::timestamp::Timestamp;
use crate::view::VerdictState;

/// Tracks how long a cluster has been unhealthy. Consecutive bad states count as one episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthEpisode {
    verdict: Option<VerdictState>,
    /// Since when the cluster has been unavailable.
    unavailable_since: Option<Timestamp>,
    /// Since when it has been degraded or unavailable.
    impaired_since: Option<Timestamp>,
    /// Since when it has been healthy.
    healthy_since: Option<Timestamp>,
}

impl HealthEpisode {
    /// Applies a verdict that began at `since`. Unknown is neither unhealthy nor healthy.
    pub fn observe(&mut self, verdict: VerdictState, since: Timestamp) {
        let holds = |now: bool, before: Option<Timestamp>| now.then(|| before.unwrap_or(since));
        let down = is_unavailable(verdict);
        self.unavailable_since = holds(down, self.unavailable_since);
        self.impaired_since = holds(
            down || verdict == VerdictState::Degraded,
            self.impaired_since,
        );
        self.healthy_since = holds(verdict == VerdictState::Healthy, self.healthy_since);
        self.verdict = Some(verdict);
    }

    /// Since when the cluster has been bad as defined by `rule`.
    fn bad_since(&self, rule: AutoIncidentRule) -> Option<Timestamp> {
        if rule.degraded {
            self.impaired_since
        } else {
            self.unavailable_since
        }
    }
}

const fn is_unavailable(verdict: VerdictState) -> bool {
    matches!(
        verdict,
        VerdictState::NoPrimary
            | VerdictState::Down
            | VerdictState::Diverged
            | VerdictState::SplitBrain
    )
}

/// What to do about an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutoIncidentStep {
    /// Open this incident, unless one with its id exists.
    Open(Incident),
    /// Replace the incident by this version.
    Update(Incident),
}

/// Decides what to do about `cluster` at `now`. `rule` is the earliest rule of its pages; `incidents` are all of the
/// cluster, open and resolved; `quiet` is set during maintenance, which does not mute a split brain; `by` is the
/// replica's name.
#[must_use]
pub fn next_incident_step(
    cluster: &ClusterName,
    episode: &HealthEpisode,
    rule: Option<AutoIncidentRule>,
    incidents: &[&Incident],
    quiet: bool,
    by: &str,
    now: Timestamp,
) -> Option<AutoIncidentStep> {
    let open = incidents.iter().find(|incident| incident.is_open());
    if let Some(incident) = open {
        let delay_secs = incident.automatic?;
        return follow_up(incident, delay_secs, episode, by, now).map(AutoIncidentStep::Update);
    }
    let split = episode.verdict == Some(VerdictState::SplitBrain);
    let rule = rule.filter(|_| !quiet || split)?;
    let since = episode.bad_since(rule)?;
    if since.age(now) < seconds(rule.after_secs) {
        return None;
    }
    // An operator resolved it during this episode: do not open another one.
    let settled = |incident: &&&Incident| incident.resolved_at.is_some_and(|at| at >= since);
    if incidents.iter().any(|incident| settled(&incident)) {
        return None;
    }
    let (title, text) = public_text(episode.verdict?);
    let new = NewIncident {
        clusters: vec![cluster.clone()],
        title: title.to_owned(),
        text: text.to_owned(),
        state: IncidentState::Investigating,
        // Measured.
        impact: None,
    };
    let incident = Incident::open(&new, &incident_id(cluster, since), by, now).ok()?;
    Some(AutoIncidentStep::Open(Incident {
        automatic: Some(rule.after_secs),
        ..incident
    }))
}

fn follow_up(
    incident: &Incident,
    delay_secs: u32,
    episode: &HealthEpisode,
    by: &str,
    now: Timestamp,
) -> Option<Incident> {
    let update = |state, text: &str| incident.with_update(state, text, by, now).ok();
    let well = episode.healthy_since.map(|since| since.age(now));
    match (well, incident.state) {
        (Some(lasted), _) if lasted >= seconds(delay_secs) => update(
            IncidentState::Resolved,
            "The database is fully operational again.",
        ),
        (Some(_), IncidentState::Investigating) => update(
            IncidentState::Monitoring,
            "The database is fully operational again. We are monitoring it before resolving this incident.",
        ),
        (None, IncidentState::Monitoring) if episode.unavailable_since.is_some() => {
            let (_, text) = public_text(episode.verdict?);
            update(IncidentState::Investigating, text)
        }
        _ => None,
    }
}

/// A title and a text for readers who do not know Galera.
const fn public_text(verdict: VerdictState) -> (&'static str, &'static str) {
    match verdict {
        VerdictState::Degraded => (
            "Reduced redundancy",
            "The database is working with reduced redundancy. This incident was opened automatically.",
        ),
        VerdictState::SplitBrain => (
            "Data may be inconsistent",
            "Parts of the database accept writes independently of each other. Do not rely on it until this is resolved.",
        ),
        VerdictState::Diverged => (
            "Data may be inconsistent",
            "Parts of the database hold different data. Do not rely on it until this is resolved.",
        ),
        _ => (
            "Database unavailable",
            "The database is not accepting reads or writes. This incident was opened automatically.",
        ),
    }
}

const fn seconds(count: u32) -> Duration {
    Duration::from_secs(count as u64)
}

/// The id of an episode's incident, the same on every replica.
fn incident_id(cluster: &ClusterName, since: Timestamp) -> String {
    // FNV-1a: enough to distinguish the names of a few hundred clusters.
    let hash = cluster
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    format!("{:012x}-{hash:08x}", since.unix_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: AutoIncidentRule = AutoIncidentRule {
        after_secs: 60,
        degraded: false,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_795_420_800_000).plus(Duration::from_secs(seconds))
    }

    fn episode(verdicts: &[(u64, VerdictState)]) -> HealthEpisode {
        let mut episode = HealthEpisode::default();
        for (seconds, verdict) in verdicts {
            episode.observe(*verdict, at(*seconds));
        }
        episode
    }

    fn step(
        episode: &HealthEpisode,
        incidents: &[&Incident],
        seconds: u64,
    ) -> Option<AutoIncidentStep> {
        let lab = "lab".parse().unwrap();
        next_incident_step(
            &lab,
            episode,
            Some(RULE),
            incidents,
            false,
            "r1",
            at(seconds),
        )
    }

    fn opened(episode: &HealthEpisode, seconds: u64) -> Incident {
        match step(episode, &[], seconds) {
            Some(AutoIncidentStep::Open(incident)) => incident,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_bad_state_after_another_is_one_episode() {
        let episode = episode(&[(0, VerdictState::NoPrimary), (50, VerdictState::Down)]);
        assert_eq!(step(&episode, &[], 59), None);
        let incident = opened(&episode, 60);
        assert_eq!(incident.title, "Database unavailable");
        // Every replica gives it the same id.
        assert_eq!(incident.id, opened(&episode, 90).id);
    }

    #[test]
    fn the_consoles_blindness_opens_nothing() {
        let unknown = episode(&[(0, VerdictState::Unknown)]);
        assert_eq!(step(&unknown, &[], 10_000), None);
        let blind = episode(&[
            (0, VerdictState::Down),
            (50, VerdictState::Unknown),
            (55, VerdictState::Down),
        ]);
        assert_eq!(step(&blind, &[], 100), None);
    }

    #[test]
    fn a_degraded_cluster_counts_only_if_configured() {
        let degraded = episode(&[(0, VerdictState::Degraded)]);
        assert_eq!(step(&degraded, &[], 10_000), None);
        let rule = AutoIncidentRule {
            degraded: true,
            ..RULE
        };
        let lab = "lab".parse().unwrap();
        assert!(
            next_incident_step(&lab, &degraded, Some(rule), &[], false, "r1", at(60)).is_some()
        );
    }

    #[test]
    fn nothing_but_a_split_brain_is_opened_during_maintenance_and_nothing_without_a_rule() {
        let down = episode(&[(0, VerdictState::Down)]);
        let lab = "lab".parse().unwrap();
        assert_eq!(
            next_incident_step(&lab, &down, Some(RULE), &[], true, "r1", at(90)),
            None
        );
        assert_eq!(
            next_incident_step(&lab, &down, None, &[], false, "r1", at(90)),
            None
        );
        let split = episode(&[(0, VerdictState::SplitBrain)]);
        let opened = next_incident_step(&lab, &split, Some(RULE), &[], true, "r1", at(90));
        assert!(
            matches!(opened, Some(AutoIncidentStep::Open(_))),
            "{opened:?}"
        );
    }

    #[test]
    fn it_is_resolved_when_the_cluster_was_well_for_as_long() {
        let mut episode = episode(&[(0, VerdictState::Down)]);
        let incident = opened(&episode, 60);
        episode.observe(VerdictState::Degraded, at(70));
        assert_eq!(step(&episode, &[&incident], 200), None);
        episode.observe(VerdictState::Healthy, at(200));
        let Some(AutoIncidentStep::Update(watched)) = step(&episode, &[&incident], 201) else {
            panic!("not watched")
        };
        assert_eq!(watched.state, IncidentState::Monitoring);
        assert_eq!(step(&episode, &[&watched], 259), None);
        let Some(AutoIncidentStep::Update(done)) = step(&episode, &[&watched], 260) else {
            panic!("not resolved")
        };
        assert_eq!(done.resolved_at, Some(at(260)));
        assert_eq!(done.updates.len(), 3);
    }

    #[test]
    fn an_operators_resolution_is_final() {
        let down = episode(&[(0, VerdictState::Down)]);
        let incident = opened(&down, 60);
        let resolved = incident
            .with_update(IncidentState::Resolved, "Known.", "olga", at(70))
            .unwrap();
        assert_eq!(step(&down, &[&resolved], 1_000), None);
        let theirs = Incident {
            automatic: None,
            ..incident
        };
        let mut well = down;
        well.observe(VerdictState::Healthy, at(80));
        assert_eq!(step(&well, &[&theirs], 1_000), None);
    }
}
