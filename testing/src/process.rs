//! Signals to the processes of a test.

use std::fs;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a process may take to stop: on a busy machine its threads are scheduled late.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a signal such as `STOP`, and after that one waits until no thread runs any more.
///
/// # Panics
/// If there is no such process, or it does not stop.
pub fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.unwrap().success(), "kill -s {signal} {pid}");
    if signal == "STOP" {
        wait_until_stopped(pid).unwrap();
    }
}

/// Waits until every thread of a process that was sent SIGSTOP has stopped. The signal is delivered later than `kill`
/// returns, and a server executes what it receives until then.
///
/// # Errors
/// If there is no such process, or it does not stop.
pub fn wait_until_stopped(pid: u32) -> io::Result<()> {
    let end = Instant::now() + TIMEOUT;
    while !all_threads_stopped(pid)? {
        if Instant::now() > end {
            let error = format!("process {pid} has not stopped within {TIMEOUT:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, error));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether no thread runs: stopped, traced, or ended.
fn all_threads_stopped(pid: u32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has ended meanwhile does not run.
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else {
            continue;
        };
        // The name before it may contain anything, also parentheses.
        let state = stat.rsplit(") ").next().unwrap_or_default();
        if !state.starts_with(['T', 't', 'Z', 'X']) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_is_stopped_when_signal_returns() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        assert!(!all_threads_stopped(pid).unwrap());
        signal(pid, "STOP");
        assert!(all_threads_stopped(pid).unwrap());
        signal(pid, "CONT");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(wait_until_stopped(pid).is_err(), "it has ended");
    }
}
