//! A MariaDB server without Galera, with its own directory and a free port; killed on drop.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sql_client::{Connection, Login, Peer, connect_socket};

use crate::certificates::{Authority, Files};

const PLUGINS: &str = "/usr/lib/mysql/plugin";
const START: Duration = Duration::from_secs(120);

pub(crate) struct MariaDb {
    directory: tempfile::TempDir,
    address: SocketAddr,
    child: Child,
}

impl MariaDb {
    /// A server that answers, started with these further arguments.
    pub(crate) async fn start(arguments: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let of = |name: &str| directory.path().join(name).display().to_string();
        std::fs::create_dir(of("tmp")).unwrap();
        own(directory.path());
        let directories = [
            format!("--datadir={}", of("data")),
            format!("--tmpdir={}", of("tmp")),
        ];
        let installed = as_mysql("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .arg("--skip-test-db")
            .args(&directories)
            .output()
            .unwrap();
        assert!(installed.status.success(), "{installed:?}");
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let child = as_mysql("mariadbd")
            .arg("--no-defaults")
            .args(&directories)
            .args([
                format!("--socket={}", of("socket")),
                format!("--log-error={}", of("error.log")),
                format!("--pid-file={}", of("pid")),
                format!("--port={}", address.port()),
                format!("--plugin-dir={PLUGINS}"),
            ])
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M"])
            .args(["--performance-schema=OFF", "--max-allowed-packet=16M"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            directory,
            address,
            child,
        };
        // Anonymous accounts would shadow named ones on this host.
        server
            .execute(&[
                "DELETE FROM mysql.global_priv WHERE User = ''",
                "FLUSH PRIVILEGES",
            ])
            .await;
        server
    }

    /// Arguments for TLS with copies of these files in `directory`.
    pub(crate) fn tls(directory: &Path, authority: &Authority, files: &Files) -> [String; 3] {
        let public = |name: &str| directory.join(name);
        std::fs::copy(&files.certificate, public("in-use.pem")).unwrap();
        std::fs::copy(&files.key, public("in-use.key")).unwrap();
        own(directory);
        [
            format!("--ssl-ca={}", authority.file().display()),
            format!("--ssl-cert={}", public("in-use.pem").display()),
            format!("--ssl-key={}", public("in-use.key").display()),
        ]
    }

    /// Uses another certificate from now on.
    pub(crate) async fn replace_certificate(&self, files: &Files) {
        let directory = files.certificate.parent().unwrap();
        std::fs::copy(&files.certificate, directory.join("in-use.pem")).unwrap();
        std::fs::copy(&files.key, directory.join("in-use.key")).unwrap();
        own(directory);
        self.execute(&["FLUSH SSL"]).await;
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn has_plugin(&self, file: &str) -> bool {
        Path::new(PLUGINS).join(file).exists()
    }

    /// Runs statements as root; waits for a starting server.
    pub(crate) async fn execute(&self, statements: &[&str]) {
        let deadline = Instant::now() + START;
        let login = Login {
            user: "root",
            password: "",
        };
        let mut connection = loop {
            let opened = async {
                let stream = connect_socket(&self.socket()).await?;
                Connection::open(stream, Peer::Socket, login).await
            };
            match opened.await {
                Ok(connection) => break connection,
                Err(error) => assert!(Instant::now() < deadline, "{error}: {}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        for statement in statements {
            if let Err(error) = connection.execute(statement).await {
                panic!("{statement}: {error}");
            }
        }
    }

    /// Kills it.
    pub(crate) async fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Makes `directory` the server's.
fn own(directory: &Path) {
    if is_root() {
        let changed = Command::new("chown")
            .args(["-R", "mysql:"])
            .arg(directory)
            .status();
        assert!(changed.unwrap().success());
    }
}

/// `program` as the account that may run it, killed by the kernel when the test process dies.
fn as_mysql(program: &str) -> Command {
    let paths = ["/usr/sbin", "/usr/bin"].map(|directory| Path::new(directory).join(program));
    let path = paths.into_iter().find(|path| path.exists());
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", "mysql", "--regid", "mysql", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL"]);
    command.arg(path.expect("MariaDB is installed"));
    command
}
