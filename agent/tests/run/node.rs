//! An agent process with its own directory, run as the account that may run the server.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use order_signature::OrderSigningKey;

use crate::until;

const BINARY: &str = env!("CARGO_BIN_EXE_galera-agent");
/// A password that must not appear in logs or arguments.
pub(crate) const SECRET: &str = "never-to-be-seen";

/// A node that can be started.
pub(crate) struct AgentNode {
    dir: tempfile::TempDir,
    environment: BTreeMap<String, String>,
    server_arguments: Vec<String>,
    program: String,
    /// Whether the agent is the first process of a container.
    init_process: bool,
    /// Clock offset in `faketime` syntax.
    clock_offset: Option<String>,
    child: Option<Child>,
}

impl AgentNode {
    /// A node on `address` that uses the etcd at `etcd`, with an empty data directory.
    pub(crate) fn new(address: &str, etcd: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["data", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let set = [
            ("CLUSTER_NAME", "lab"),
            ("DISCOVERY_SERVICE", etcd),
            ("MYSQL_ROOT_PASSWORD", SECRET),
            ("NODE_ADDRESS", address),
            ("TTL", "3"),
            ("HEALTH_LISTEN", "off"),
        ];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let galera = [
            "--wsrep-on=ON",
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
        ];
        Self {
            dir,
            environment: set.into(),
            server_arguments: galera.map(ToOwned::to_owned).to_vec(),
            program: "mariadbd".to_owned(),
            init_process: false,
            clock_offset: None,
            child: None,
        }
    }

    /// Sets a variable; an empty value unsets it.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Trusts the consoles with these keys.
    pub(crate) fn with_order_keys(self, keys: &[&OrderSigningKey]) -> Self {
        let path = self.path("order-keys.pem");
        let text: String = keys.iter().map(|key| key.public().to_pem()).collect();
        std::fs::write(&path, text).unwrap();
        self.with_variable("ORDER_PUBLIC_KEY_FILE", path.to_str().unwrap())
    }

    /// Replaces the server's arguments, except for its directories.
    pub(crate) fn with_server_arguments(mut self, arguments: &[&str]) -> Self {
        self.server_arguments = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        self
    }

    /// Runs this program in place of the server.
    pub(crate) fn with_program(mut self, program: &str) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// Runs a shell script in place of the server.
    pub(crate) fn with_script(self, text: &str) -> Self {
        let (draft, script) = (self.path("draft"), self.path("server"));
        std::fs::write(&draft, text).unwrap();
        std::fs::set_permissions(&draft, PermissionsExt::from_mode(0o755)).unwrap();
        // Copied by a child process: a file written here could be inherited, and busy, in another test's child.
        let mut copy = Command::new("cp");
        assert!(
            copy.arg("-p")
                .args([&draft, &script])
                .status()
                .unwrap()
                .success()
        );
        self.with_program(script.to_str().unwrap())
    }

    /// Makes the agent the first process of a container.
    pub(crate) const fn with_init_process(mut self) -> Self {
        self.init_process = true;
        self
    }

    /// Sets the clock of the agent and its children off by `off`.
    pub(crate) fn with_clock_offset(mut self, off: &str) -> Self {
        self.clock_offset = Some(off.to_owned());
        self
    }

    pub(crate) fn with_file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.data().join(name), text).unwrap();
        self
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A path beside the data directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The agent's process id in this process's namespace.
    pub(crate) fn agent_pid(&self) -> u32 {
        let started = self.child.as_ref().unwrap().id();
        match self.init_process {
            true => children(started)[0],
            false => started,
        }
    }

    /// The contents of the data directory by file name, without the agent's lock.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(self.data()).unwrap().flatten();
        let files = entries.map(|entry| {
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let name = entry.file_name().into_string().unwrap();
            (name, String::from_utf8_lossy(&text).into_owned())
        });
        files
            .filter(|(name, _)| name != ".galera-agent.lock")
            .collect()
    }

    pub(crate) fn start(&mut self) {
        if is_root() {
            let mut give = Command::new("chown");
            give.args(["-R", "mysql:"]).arg(self.dir.path());
            assert!(give.status().unwrap().success());
        }
        self.spawn(is_root());
    }

    /// Starts it as the current user.
    pub(crate) fn start_as_current_user(&mut self) {
        self.spawn(false);
    }

    fn spawn(&mut self, as_mysql: bool) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new(if self.init_process {
            "unshare"
        } else {
            "setpriv"
        });
        if self.init_process {
            if !is_root() {
                command.args(["--user", "--map-current-user"]);
            }
            command.args(["--pid", "--fork", "--kill-child", "setpriv"]);
        }
        if as_mysql {
            command.args(["--reuid", "mysql", "--regid", "mysql", "--clear-groups"]);
        }
        command.args(["--pdeathsig", "KILL"]);
        let mut binary = PathBuf::from(BINARY);
        if let Some(off) = &self.clock_offset {
            // `env` already runs as the agent's account, which may not reach the build directory.
            binary = self.path("galera-agent");
            let copied = Command::new("cp").arg(BINARY).arg(&binary).status();
            assert!(copied.unwrap().success());
            // Like `faketime -f`. The monotonic clock is unaffected.
            command
                .args(["env", "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1"])
                .arg(format!("FAKETIME={off}"))
                .arg("FAKETIME_DONT_FAKE_MONOTONIC=1");
        }
        let child = command
            .arg(binary)
            .args([
                "run",
                "--",
                &self.program,
                "--no-defaults",
                "--binlog-format=ROW",
            ])
            .arg(format!("--datadir={}", path("data")))
            .arg(format!("--tmpdir={}", path("tmp")))
            .arg(format!("--socket={}", path("socket")))
            .args(&self.server_arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(&self.environment)
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) async fn wait_for_log(&self, text: &str) -> String {
        until(text, async || {
            let log = self.log();
            log.lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
        .await
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends SIGTERM and returns the exit code.
    pub(crate) async fn stop(&mut self) -> i32 {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        self.wait().await
    }

    pub(crate) async fn wait(&mut self) -> i32 {
        let child = self.child.as_mut().unwrap();
        let status = until("exit", async || child.try_wait().unwrap()).await;
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }

    /// Starts it and waits until it exits. Returns the exit code and the last line of the log.
    pub(crate) async fn run_refused(&mut self) -> (i32, String) {
        self.start();
        let code = self.wait().await;
        (
            code,
            self.log().lines().last().unwrap_or_default().to_owned(),
        )
    }
}

impl Drop for AgentNode {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the agent:\n{}", self.log());
        }
        self.kill();
    }
}

/// The children of a process, including zombies.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let pids = text.split_whitespace();
    pids.map(|pid| pid.parse().unwrap()).collect()
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
