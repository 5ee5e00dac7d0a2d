//! Notifications to a service manager such as systemd.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::etcd::{TIMEOUT, TestEtcd};
use crate::program::{ConsoleProcess, site};

/// A socket of the service manager, which keeps what it received.
struct NotifySocket {
    socket: UnixDatagram,
    received: Vec<String>,
}

impl NotifySocket {
    /// Receives until a notification is `state`.
    fn wait_for(&mut self, state: &str) {
        let before = self.received.len();
        let deadline = Instant::now() + TIMEOUT;
        while self.received.last().is_none_or(|last| last != state) || self.received.len() == before
        {
            let mut buffer = [0; 4096];
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
                    self.received.push(text);
                }
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                        && Instant::now() < deadline,
                    "no {state} after {:?}: {error}",
                    self.received
                ),
            }
        }
    }
}

#[tokio::test]
async fn start_work_and_stop_are_reported() {
    let (etcd, site) = (TestEtcd::process().await, site());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut manager = NotifySocket {
        socket,
        received: Vec::new(),
    };
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--etcd-endpoints",
        &etcd.url(),
        "--site-root",
        site.path().to_str().unwrap(),
    ];
    let variables = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "300000"),
    ];
    let serving = ConsoleProcess::start_with_variables(&arguments, &variables);
    manager.wait_for("READY=1");
    // It responds when it reports that it is ready.
    assert!(serving.get("/healthz").contains(" 200 "));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    assert_eq!(serving.stop(), 0);
    manager.wait_for("STOPPING=1");
    let count = |state: &str| manager.received.iter().filter(|got| *got == state).count();
    assert_eq!((count("READY=1"), count("STOPPING=1")), (1, 1));
}
