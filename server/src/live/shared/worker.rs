//! Publishes the documents of one topic while it has viewers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::TopicEntry;
use super::publication::{TopicContent, TopicPublication};
use super::source::TopicSource;

/// Least time between two publications of which only numbers differ. Sources publish once a second; a little less, so that
/// one that comes early is not a second late.
const NUMBERS_INTERVAL: Duration = Duration::from_millis(900);

/// Publishes until no viewer is left.
pub(super) async fn run(mut source: TopicSource, entry: TopicEntry) {
    let mut numbers_due = Instant::now();
    let mut waits_for_due = false;
    loop {
        if let Some(content) = due_content(&mut source, &entry, numbers_due, &mut waits_for_due) {
            let next = entry.sender.borrow().next(content);
            entry.sender.send_replace(Arc::new(next));
            numbers_due = Instant::now() + NUMBERS_INTERVAL;
        }
        tokio::select! {
            () = source.changed() => {}
            () = sleep_until(numbers_due), if waits_for_due => {}
            () = entry.sender.closed() => if entry.retire() {
                return;
            }
        }
    }
}

/// What is to be published now; sets `waits_for_due` if it is to be published later.
fn due_content(
    source: &mut TopicSource,
    entry: &TopicEntry,
    numbers_due: Instant,
    waits_for_due: &mut bool,
) -> Option<TopicContent> {
    *waits_for_due = false;
    let published: Arc<TopicPublication> = Arc::clone(&entry.sender.borrow());
    let Some(document) = source.read() else {
        let known = matches!(published.content, TopicContent::UnknownCluster);
        return (!known).then_some(TopicContent::UnknownCluster);
    };
    let immediately = match &published.content {
        TopicContent::Document(before) => document.change_since(before).states,
        _ => true,
    };
    if !immediately && Instant::now() < numbers_due {
        *waits_for_due = true;
        return None;
    }
    Some(TopicContent::Document(Arc::new(document)))
}
