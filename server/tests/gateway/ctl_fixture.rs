//! A console on a port, and the program `galera-console` as its client.

use std::net::SocketAddr;
use std::process::Stdio;

use axum::Router;
use console_client::connection::ApiClient;
use console_client::{ApiToken, ConsoleUrl};
use galera_console::http::router;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::task::TaskTracker;

use crate::etcd::TIMEOUT;
use crate::test_console::TestConsole;

/// Serves a console's router on a free port until the test ends.
pub(crate) async fn serve(console: &TestConsole) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router: Router = router(console.state.clone());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    TaskTracker::new().spawn(async move { axum::serve(listener, service).await.unwrap() });
    address
}

/// What a run of the program printed.
#[derive(Debug)]
pub(crate) struct ProgramRun {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl ProgramRun {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// The program with the settings of one client.
pub(crate) struct ProgramClient {
    pub(crate) url: String,
    token: NamedTempFile,
}

impl ProgramClient {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        Self {
            url: format!("http://{address}"),
            token: file,
        }
    }

    /// The program, not started, with `arguments` and the connection in its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_galera-console"));
        command
            .args(arguments)
            .env_clear()
            .env("GALERA_CONSOLE_URL", &self.url)
            .env("GALERA_CONSOLE_TOKEN_FILE", self.token.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs `ctl` with `arguments`.
    pub(crate) async fn ctl(&self, arguments: &[&str]) -> ProgramRun {
        run(self.command(&[&["ctl"], arguments].concat())).await
    }

    /// The client of the program, in this process.
    pub(crate) fn api(&self) -> ApiClient {
        let url: ConsoleUrl = self.url.parse().unwrap();
        let token = ApiToken::read(self.token.path()).unwrap();
        ApiClient::new(url, token, None, TIMEOUT, false).unwrap()
    }
}

pub(crate) async fn run(mut command: Command) -> ProgramRun {
    let output = tokio::time::timeout(TIMEOUT, command.output()).await;
    let output = output.expect("the program to end").unwrap();
    ProgramRun {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
