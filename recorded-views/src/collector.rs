//! Chooses which views are recorded, and when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::published::Published;
use galera::view::ClusterView;
use galera::{ClusterName, Timestamp};
use monitor::ViewEvent;
use recording::RecorderState;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// Time between two frames of a cluster whose states do not change. Readers conclude from its absence that nothing was
/// recorded.
pub(crate) const FRAME_INTERVAL: Duration = Duration::from_secs(10);
/// A view is folded shortly before it arrives. A larger difference is a clock that was set back.
const DELAY_MAX_MS: i64 = 2_000;

/// A view at a time.
#[derive(Clone, Debug)]
pub(crate) struct ViewSighting {
    pub(crate) at: Timestamp,
    pub(crate) view: Arc<Published<ClusterView>>,
}

/// Sends each change of state, and every [`FRAME_INTERVAL`] the view of every cluster, until the receiver is dropped. `events` are the
/// monitor's, `views` the current views. Nothing waits for the receiver: what it has no room for is lost.
pub(crate) async fn collect(
    mut events: mpsc::UnboundedReceiver<ViewEvent>,
    views: impl Fn() -> Vec<Arc<Published<ClusterView>>>,
    frames: mpsc::Sender<ViewSighting>,
    state: Arc<RecorderState>,
) {
    let mut collector = SightingCollector {
        last: HashMap::new(),
    };
    let mut tick = interval(FRAME_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sightings: Vec<ViewSighting> = tokio::select! {
            event = events.recv() => match event {
                Some(ViewEvent::Updated(view)) => collector.changed(view).into_iter().collect(),
                Some(ViewEvent::Removed(cluster)) => {
                    collector.last.remove(&cluster);
                    Vec::new()
                }
                None => return,
            },
            _ = tick.tick() => collector.all(views(), now()),
        };
        for sighting in sightings {
            match frames.try_send(sighting) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => state.lose(1),
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

/// The last sighting of each cluster.
struct SightingCollector {
    last: HashMap<ClusterName, ViewSighting>,
}

impl SightingCollector {
    /// The sighting of `view` if its states differ from the last one's.
    fn changed(&mut self, view: Arc<Published<ClusterView>>) -> Option<ViewSighting> {
        let last = self.last.get(&view.value.name);
        if last.is_some_and(|last| last.view.value.has_same_states(&view.value)) {
            return None;
        }
        let at = view.value.observed_at;
        Some(self.add(at, view))
    }

    /// The sightings of all clusters at `now`.
    fn all(
        &mut self,
        views: Vec<Arc<Published<ClusterView>>>,
        now: Timestamp,
    ) -> Vec<ViewSighting> {
        let views = views.into_iter();
        views.map(|view| self.add(now, view)).collect()
    }

    /// A view was folded before the last sighting if it arrived after it: its time must not be an earlier one.
    fn add(&mut self, at: Timestamp, view: Arc<Published<ClusterView>>) -> ViewSighting {
        let last = self.last.get(&view.value.name);
        let at = last
            .map(|last| last.at)
            .filter(|last| (0..=DELAY_MAX_MS).contains(&(last.unix_millis() - at.unix_millis())))
            .unwrap_or(at);
        let sighting = ViewSighting { at, view };
        self.last
            .insert(sighting.view.value.name.clone(), sighting.clone());
        sighting
    }
}
