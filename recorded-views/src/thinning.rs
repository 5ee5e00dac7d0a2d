//! What is kept of old chunks: every change of state, one frame a minute, and nothing after 91 days.
//!
//! Ages are counted in slots in which something was recorded, not by the clock: a clock that is ahead for a while deletes
//! nothing.

use galera::publish::live::merge_patch;
use rusqlite::{Transaction, params};
use serde_json::{Map, Value};

use crate::file::ClusterId;
use crate::frame::{FrameContent, ViewFrame, decode, encode, replay};
use crate::head::SLOT_MS;
use crate::{FRAMES_KEPT, STATES_KEPT};

/// Slots thinned or deleted at a time.
const SLOTS_AT_A_TIME: i64 = 4;
/// Time between two frames of a thinned chunk whose states do not change, in milliseconds.
pub(crate) const THINNED_INTERVAL_MS: i64 = 60_000;

/// Thins and deletes the oldest slots, as far as they are due.
pub(crate) fn thin(changes: &Transaction<'_>, clusters: &[ClusterId]) -> rusqlite::Result<()> {
    let oldest = |kept: std::time::Duration, condition: &str| {
        let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX) / SLOT_MS;
        let count = format!("SELECT count(*) FROM slot {condition}");
        let count: i64 = changes
            .prepare_cached(&count)?
            .query_row([], |row| row.get(0))?;
        let due = (count - kept).clamp(0, SLOTS_AT_A_TIME);
        let select = format!("SELECT id FROM slot {condition} ORDER BY id LIMIT ?1");
        let mut select = changes.prepare_cached(&select)?;
        let slots = select.query_map([due], |row| row.get(0))?;
        slots.collect::<rusqlite::Result<Vec<i64>>>()
    };
    for slot in oldest(FRAMES_KEPT, "WHERE thinned = 0")? {
        for cluster in clusters {
            thin_chunks(changes, *cluster, slot)?;
        }
        let update = "UPDATE slot SET thinned = 1 WHERE id = ?1";
        changes.prepare_cached(update)?.execute([slot])?;
    }
    for slot in oldest(STATES_KEPT, "")? {
        let delete = "DELETE FROM chunk WHERE cluster = ?1 AND slot = ?2";
        for cluster in clusters {
            changes
                .prepare_cached(delete)?
                .execute(params![cluster, slot])?;
        }
        let delete = "DELETE FROM slot WHERE id = ?1";
        changes.prepare_cached(delete)?.execute([slot])?;
    }
    Ok(())
}

fn thin_chunks(changes: &Transaction<'_>, cluster: ClusterId, slot: i64) -> rusqlite::Result<()> {
    let select = "SELECT rowid, body FROM chunk WHERE cluster = ?1 AND slot = ?2";
    let mut select = changes.prepare_cached(select)?;
    let chunks: rusqlite::Result<Vec<(i64, Vec<u8>)>> = select
        .query_map(params![cluster, slot], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect();
    for (row, body) in chunks? {
        // A damaged chunk stays as it is.
        if let Some(frames) = decode(&body) {
            let update = "UPDATE chunk SET body = ?2 WHERE rowid = ?1";
            let mut update = changes.prepare_cached(update)?;
            update.execute(params![row, encode(&kept_of(&frames))])?;
        }
    }
    Ok(())
}

/// The frames that are kept of a part, as patches to each other.
fn kept_of(frames: &[ViewFrame]) -> Vec<ViewFrame> {
    let mut kept: Vec<ViewFrame> = Vec::new();
    let mut base: Option<Map<String, Value>> = None;
    replay(frames, |frame, document| {
        let due = kept
            .last()
            .is_none_or(|last| (frame.at - last.at).abs() >= THINNED_INTERVAL_MS);
        if frame.states || due {
            kept.push(ViewFrame {
                at: frame.at,
                states: frame.states,
                content: match &base {
                    Some(base) => FrameContent::Patch(merge_patch::between(base, document)),
                    None => FrameContent::Document(document.clone()),
                },
            });
            base = Some(document.clone());
        }
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(at: i64, states: bool, change: &str) -> ViewFrame {
        let value = serde_json::from_str(change).unwrap();
        let content = match at {
            0 => FrameContent::Document(value),
            _ => FrameContent::Patch(value),
        };
        ViewFrame {
            at,
            states,
            content,
        }
    }

    fn documents(frames: &[ViewFrame]) -> Vec<(i64, Value)> {
        let mut all = Vec::new();
        replay(frames, |frame, document| {
            all.push((frame.at, Value::Object(document.clone())));
        });
        all
    }

    #[test]
    fn changes_of_state_and_one_frame_a_minute_are_kept_as_they_were() {
        let frames = [
            frame(0, true, r#"{"a":1,"n":{"x":1}}"#),
            frame(10_000, false, r#"{"a":2}"#),
            frame(20_000, true, r#"{"n":{"x":null,"y":5}}"#),
            frame(30_000, false, r#"{"a":3}"#),
            frame(80_000, false, r#"{"a":4}"#),
            frame(90_000, false, r#"{"a":5}"#),
        ];
        let kept = kept_of(&frames);
        let all = documents(&frames);
        let expected: Vec<_> = all
            .into_iter()
            .filter(|(at, _)| [0, 20_000, 80_000].contains(at))
            .collect();
        assert_eq!(documents(&kept), expected);
        assert_eq!(kept_of(&kept), kept, "thinning twice changes nothing");
    }
}
