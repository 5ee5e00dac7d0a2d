//! `actions wait`: until an action has ended.

use std::time::Duration;

use galera::recover::action::ActionState;
use serde_json::Value;
use tokio::time::Instant;

use crate::command::GivenArguments;
use crate::connection::{ApiClient, ApiRequest};
use crate::error::ClientError;
use crate::safe_text::safe_line;

/// Time between two requests.
const PAUSE: Duration = Duration::from_secs(1);
/// Seconds that an action is waited for, if none are given.
const SECONDS_DEFAULT: u64 = 600;

/// What an action's document says about its end.
struct ActionProgress {
    state: String,
    ended: bool,
    succeeded: bool,
    explanation: String,
}

impl ActionProgress {
    fn read(action: &Value) -> Self {
        let text = |pointer: &str| action.pointer(pointer).and_then(Value::as_str);
        let state = text("/state").unwrap_or("unknown").to_owned();
        let known = action.get("state").cloned();
        let known = known.and_then(|state| serde_json::from_value::<ActionState>(state).ok());
        Self {
            // A later version may have further states; every final one has a time.
            ended: known.map_or(text("/ended_at").is_some(), ActionState::is_final),
            succeeded: known == Some(ActionState::Succeeded),
            explanation: text("/outcome")
                .or(text("/waiting/message"))
                .unwrap_or("no further explanation")
                .to_owned(),
            state,
        }
    }
}

/// Requests the action until it has ended, and returns it if it succeeded. Faults that pass are waited out.
///
/// # Errors
/// [`ClientError::ActionFailed`] when it ended otherwise, [`ClientError::Waited`] when it did not end in time, and every
/// lasting error of the request.
pub(crate) async fn wait_for_action(
    client: &ApiClient,
    request: &ApiRequest,
    given: &GivenArguments,
) -> Result<Value, ClientError> {
    let seconds = number(given, "for").unwrap_or(SECONDS_DEFAULT);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let id = given.get("id").and_then(|values| values.first());
    let id = id.map(String::as_str).unwrap_or_default();
    loop {
        let last = match client.send(request).await {
            Ok(answer) => {
                let action = answer.document;
                let progress = ActionProgress::read(&action);
                if progress.succeeded {
                    return Ok(action);
                }
                let described = format!(
                    "{} ({})",
                    safe_line(&progress.state),
                    safe_line(&progress.explanation)
                );
                if progress.ended {
                    return Err(ClientError::ActionFailed(format!(
                        "action {id} ended as {described}; see `ctl actions show {id}`"
                    )));
                }
                described
            }
            Err(error) if error.is_transient() => format!("not known: {error}"),
            Err(error) => return Err(error),
        };
        if Instant::now() + PAUSE > deadline {
            return Err(ClientError::Waited(format!(
                "action {id} has not ended after {seconds} s; its state is {last}. It continues: wait again, or cancel it"
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The number that was given for `flag`.
pub(crate) fn number(given: &GivenArguments, flag: &str) -> Option<u64> {
    given.get(flag)?.first()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_recognized_also_of_an_unknown_state() {
        for (action, ended, succeeded) in [
            (serde_json::json!({"state": "pending"}), false, false),
            (serde_json::json!({"state": "executing"}), false, false),
            (serde_json::json!({"state": "succeeded"}), true, true),
            (serde_json::json!({"state": "unverified"}), true, false),
            (serde_json::json!({"state": "paused"}), false, false),
            (
                serde_json::json!({"state": "vanished", "ended_at": "2026-11-28T00:00:00Z"}),
                true,
                false,
            ),
            (serde_json::json!({}), false, false),
        ] {
            let progress = ActionProgress::read(&action);
            assert_eq!(
                (progress.ended, progress.succeeded),
                (ended, succeeded),
                "{action}"
            );
        }
    }
}
