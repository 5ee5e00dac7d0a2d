//! Recovers the position from the storage engine with `--wsrep-recover`. The server must not be running.

use std::fs;
use std::time::Duration;

use galera::observe::saved_state::{GraState, RecoveredPosition, parse_recovered_position};
use galera::startup::DataState;
use tokio::time::timeout;

use super::children::{Children, ProcessExit};
use super::command::{PrivateDirectory, ServerCommand, last_error};
use super::error::RunError;

/// Time for a recovery: the engine may have to read its whole log.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecoveredData {
    pub(super) data: DataState,
    /// For the log.
    pub(super) message: String,
}

/// Recovers the position of data that grastate.dat describes as `saved`.
///
/// # Errors
/// If the server cannot be run. A failed recovery is not an error: its result is [`DataState::Unrecoverable`].
pub(super) async fn recover_position(
    command: &ServerCommand,
    children: &Children,
    workspace: &PrivateDirectory,
    saved: &GraState,
) -> Result<RecoveredData, RunError> {
    let first = run_recovery(command, children, workspace, &["--wsrep-recover"]).await?;
    if first.ended.is_success() || !first.has_prepared_transactions() {
        return Ok(evaluate(saved, &first, false));
    }
    tracing::warn!("Prepared transactions prevent recovery; rolling them back");
    run_recovery(
        command,
        children,
        workspace,
        &["--tc-heuristic-recover=rollback"],
    )
    .await?;
    let second = run_recovery(command, children, workspace, &["--wsrep-recover"]).await?;
    Ok(evaluate(saved, &second, true))
}

struct RecoveryAttempt {
    ended: ProcessExit,
    log: Vec<u8>,
}

impl RecoveryAttempt {
    fn has_prepared_transactions(&self) -> bool {
        let log = String::from_utf8_lossy(&self.log).to_lowercase();
        log.contains("prepared transaction") || log.contains("heuristic-recover")
    }
}

async fn run_recovery(
    command: &ServerCommand,
    children: &Children,
    workspace: &PrivateDirectory,
    arguments: &[&str],
) -> Result<RecoveryAttempt, RunError> {
    let path = workspace.file("recovery.log");
    // Creates an empty log: an earlier attempt's must not be taken for this one's.
    let output = workspace.output("recovery.log")?;
    let errors = output
        .try_clone()
        .map_err(|error| RunError::Internal(error.to_string()))?;
    let mut server = command.server_command();
    server
        .args(arguments)
        .arg(format!("--log-error={}", path.display()))
        .args(["--skip-networking", "--wsrep-cluster-address=gcomm://"])
        .stdout(output)
        .stderr(errors);
    let mut child = children.spawn_helper(&mut server).map_err(|error| {
        RunError::Unavailable(format!("{} cannot be run: {error}", command.name()))
    })?;
    let ended = timeout(RECOVERY_TIMEOUT, child.wait()).await.map_err(|_| {
        RunError::Internal(format!(
            "position recovery did not finish within {} s",
            RECOVERY_TIMEOUT.as_secs()
        ))
    })?;
    let log = fs::read(&path).map_err(|error| RunError::from_io("cannot read", &path, &error))?;
    Ok(RecoveryAttempt { ended, log })
}

fn evaluate(saved: &GraState, attempt: &RecoveryAttempt, forced: bool) -> RecoveredData {
    let unrecoverable = |why: String| RecoveredData {
        message: format!("Could not recover the position: {why}"),
        data: DataState::Unrecoverable {
            uuid: saved.uuid,
            why,
            at_most: saved.seqno,
        },
    };
    if !attempt.ended.is_success() {
        let log = String::from_utf8_lossy(&attempt.log);
        return unrecoverable(format!(
            "the server's recovery failed ({}): {}",
            attempt.ended,
            last_error(&log)
        ));
    }
    let position = match parse_recovered_position(&attempt.log) {
        Some(RecoveredPosition {
            position: Some(position),
            ..
        }) => position,
        Some(RecoveredPosition { position: None, .. }) => {
            return unrecoverable("the storage engine has no position".to_owned());
        }
        None => return unrecoverable("the server's recovery reports no position".to_owned()),
    };
    if forced {
        let why = format!(
            "prepared transactions were rolled back by force; the position was {position} afterwards"
        );
        return RecoveredData {
            message: format!("Recovered {position}, not usable for bootstrapping: {why}"),
            data: DataState::Unrecoverable {
                uuid: Some(position.uuid),
                why,
                at_most: Some(
                    saved
                        .position()
                        .filter(|named| named.uuid == position.uuid)
                        .map_or(position.seqno, |named| named.seqno.max(position.seqno)),
                ),
            },
        };
    }
    match saved.uuid {
        Some(uuid) if uuid != position.uuid => unrecoverable(format!(
            "the storage engine is at {position}, but grastate.dat names history {uuid}"
        )),
        // Only the storage engine names a history.
        None => RecoveredData {
            message: format!("Recovered {position}, but grastate.dat is unreadable"),
            data: DataState::Unrecoverable {
                uuid: Some(position.uuid),
                why: format!("grastate.dat is unreadable; the storage engine is at {position}"),
                at_most: Some(position.seqno),
            },
        },
        // One of the two was restored or copied; nothing shows which transactions the tables have.
        Some(uuid) if saved.seqno.is_some_and(|seqno| seqno != position.seqno) => {
            let named = saved.seqno.unwrap_or_default();
            let why = format!(
                "grastate.dat names {named}, but the storage engine is at {}: one of them was restored or copied",
                position.seqno
            );
            RecoveredData {
                message: format!("Recovered {position}, not usable for bootstrapping: {why}"),
                data: DataState::Unrecoverable {
                    uuid: Some(uuid),
                    why,
                    at_most: Some(named.max(position.seqno)),
                },
            }
        }
        Some(_) => RecoveredData {
            message: format!("Recovered position {position} from the storage engine"),
            data: DataState::AtPosition(position),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

    fn saved(uuid: &str) -> GraState {
        GraState::parse(format!("version: 2.1\nuuid: {uuid}\nseqno: -1\n").as_bytes())
    }

    fn evaluated(saved: &GraState, log: &str, ended: ProcessExit, forced: bool) -> DataState {
        let log = log.as_bytes().to_vec();
        evaluate(saved, &RecoveryAttempt { ended, log }, forced).data
    }

    /// A server whose recovery fails until its prepared transactions are rolled back.
    const SERVER_WITH_PREPARED_TRANSACTIONS: &str = r#"
for argument in "$@"; do
    case "$argument" in
        --log-error=*) log=${argument#*=} ;;
        --tc-heuristic-recover=rollback) rollback=1 ;;
    esac
done
if [ -n "$rollback" ]; then touch "$0.rolled"; exit 1; fi
if [ -e "$0.rolled" ]; then
    echo "[Note] WSREP: Recovered position: UUID:9" >> "$log"
else
    echo "[ERROR] Found 1 prepared transactions! It means that server was not shut down properly" >> "$log"
    exit 1
fi
"#;

    #[tokio::test]
    async fn prepared_transactions_are_rolled_back_and_the_node_is_not_a_candidate() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("server");
        fs::write(
            &script,
            SERVER_WITH_PREPARED_TRANSACTIONS.replace("UUID", UUID),
        )
        .unwrap();
        let words = ["/bin/sh".into(), script.clone().into_os_string()];
        let command = ServerCommand::new(&words).unwrap();
        let (children, workspace) = (Children::default(), PrivateDirectory::create().unwrap());
        let saved = saved(UUID);
        let recovering = recover_position(&command, &children, &workspace, &saved);
        let outcome = tokio::select! {
            outcome = recovering => outcome.unwrap(),
            reaped = children.clone().reap() => panic!("{reaped:?}"),
        };
        let DataState::Unrecoverable { uuid, why, at_most } = outcome.data else {
            panic!("{outcome:?}");
        };
        assert_eq!((uuid, at_most), (UUID.parse().ok(), Some(9)));
        assert!(
            why.contains("rolled back by force") && why.contains(":9"),
            "{why}"
        );
        assert!(dir.path().join("server.rolled").exists());
    }

    #[test]
    fn the_last_position_counts_without_its_gtid() {
        let log = format!(
            "WSREP: Recovered position: {UUID}:7\nWSREP: Recovered position: {UUID}:9,0-1-4\n"
        );
        let data = evaluated(&saved(UUID), &log, ProcessExit::Code(0), false);
        assert_eq!(data.position().unwrap().seqno, 9);
    }

    #[test]
    fn i39_the_engine_outranks_grastate() {
        let log = format!("WSREP: Recovered position: {UUID}:9\n");
        let saved = |seqno: &str| {
            GraState::parse(format!("version: 2.1\nuuid: {UUID}\nseqno: {seqno}\n").as_bytes())
        };
        let agree = evaluated(&saved("9"), &log, ProcessExit::Code(0), false);
        assert_eq!(agree.position().unwrap().seqno, 9);
        for (named, most) in [("12", 12), ("8", 9), ("0", 9)] {
            let data = evaluated(&saved(named), &log, ProcessExit::Code(0), false);
            let DataState::Unrecoverable { uuid, why, at_most } = data else {
                panic!("{data:?}");
            };
            assert_eq!((uuid, at_most), (UUID.parse().ok(), Some(most)));
            let both = format!("names {named}, but the storage engine is at 9");
            assert!(why.contains(&both), "{why}");
        }
        // Without a position in the engine, the file alone is no position.
        let nothing = "WSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1";
        let data = evaluated(&saved("12"), nothing, ProcessExit::Code(0), false);
        assert!(
            matches!(
                data,
                DataState::Unrecoverable {
                    at_most: Some(12),
                    ..
                }
            ),
            "{data:?}"
        );
    }

    /// Without it the node would join, and lose what only it has.
    #[test]
    fn i35_what_is_left_after_a_forced_rollback_has_a_highest_position() {
        let log = format!("WSREP: Recovered position: {UUID}:9\n");
        let other = "7f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
        for (uuid, seqno, most) in [
            (UUID, "-1", 9),
            (UUID, "8", 9),
            (UUID, "12", 12),
            (other, "12", 9),
        ] {
            let text = format!("version: 2.1\nuuid: {uuid}\nseqno: {seqno}\n");
            let saved = GraState::parse(text.as_bytes());
            let data = evaluated(&saved, &log, ProcessExit::Code(0), true);
            let DataState::Unrecoverable { uuid, at_most, .. } = data else {
                panic!("{data:?}");
            };
            assert_eq!((uuid, at_most), (UUID.parse().ok(), Some(most)), "{text}");
        }
    }

    #[test]
    fn i06_a_doubtful_position_is_unrecoverable() {
        let nil = "00000000-0000-0000-0000-000000000000";
        let line = |uuid: &str, seqno: &str| format!("WSREP: Recovered position: {uuid}:{seqno}");
        for (saved, log, ended, forced) in [
            (saved(UUID), line(UUID, "9"), ProcessExit::Code(1), false),
            (saved(UUID), line(UUID, "9"), ProcessExit::Signal(6), false),
            (saved(UUID), line(UUID, "9"), ProcessExit::Code(0), true),
            (saved(UUID), line(nil, "-1"), ProcessExit::Code(0), false),
            (saved(UUID), line(nil, "9"), ProcessExit::Code(0), false),
            (saved(UUID), String::new(), ProcessExit::Code(0), false),
            (
                saved("7f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b"),
                line(UUID, "9"),
                ProcessExit::Code(0),
                false,
            ),
            (
                GraState::parse(b"\xff"),
                line(UUID, "9"),
                ProcessExit::Code(0),
                false,
            ),
        ] {
            let data = evaluated(&saved, &log, ended, forced);
            assert!(matches!(data, DataState::Unrecoverable { .. }), "{data:?}");
        }
    }
}
