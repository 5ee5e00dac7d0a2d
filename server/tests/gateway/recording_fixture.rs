//! Consoles that record figures and views of a scripted server.

use std::path::PathBuf;

use galera::access::Role;
use galera::view::VerdictState;

use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::TestEtcd;
use crate::probing::{VARIABLES, as_str_rows, primary_status, wait_for_verdict};
use crate::test_console::{ConsoleOptions, TestConsole};

pub(crate) const HISTORY: &str = "00000001-0001-11ef-a1b2-c3d4e5f60718";

/// A console that records, with one node.
pub(crate) struct RecordingConsole {
    pub(crate) viewer: TestClient,
    pub(crate) node: FakeDatabase,
    pub(crate) console: TestConsole,
    _directory: tempfile::TempDir,
    _etcd: TestEtcd,
}

/// A console with one healthy node, which records in a temporary directory.
pub(crate) async fn recording() -> RecordingConsole {
    let directory = tempfile::tempdir().unwrap();
    let data = Some(directory.path().to_owned());
    console_with(data, directory).await
}

/// A console with one healthy node, which records in `data_directory`.
pub(crate) async fn console_with(
    data_directory: Option<PathBuf>,
    directory: tempfile::TempDir,
) -> RecordingConsole {
    let etcd = TestEtcd::in_memory();
    let node = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    node.set_status(&as_str_rows(&primary_status(HISTORY, &node.id())));
    let options = ConsoleOptions {
        members: vec![node.id()],
        data_directory,
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    wait_for_verdict(&viewer, VerdictState::Healthy).await;
    RecordingConsole {
        viewer,
        node,
        console,
        _directory: directory,
        _etcd: etcd,
    }
}
