//! A real MariaDB with Galera for tests: a single-node cluster with its own directory and address, stopped on drop.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sql_client::{Connection, Login, Peer, connect_socket};

/// Password of the least-privilege account.
pub(crate) const PASSWORD: &str = "seeing-is-enough";

/// One server, the founder of a separate cluster.
pub(crate) struct MariaDb {
    dir: tempfile::TempDir,
    address: Ipv4Addr,
    port: u16,
    galera_port: u16,
    cluster: String,
    child: Option<Child>,
}

impl MariaDb {
    /// A running, Synced founder of `cluster` on `address` with the account `console`.
    pub(crate) async fn founder(cluster: &str, address: Ipv4Addr, ports: [u16; 2]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self {
            dir,
            address,
            port: ports[0],
            galera_port: ports[1],
            cluster: cluster.to_owned(),
            child: None,
        };
        server.install();
        server.start();
        server.accounts().await;
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn install(&self) {
        std::fs::create_dir(self.dir.path().join("tmp")).unwrap();
        if is_root() {
            assert!(
                Command::new("chown")
                    .args(["-R", "mysql:"])
                    .arg(self.dir.path())
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let output = as_mysql("mariadb-install-db")
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .args(self.directories())
            .output()
            .expect("mariadb-install-db is installed");
        let output_text = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output_text)
        );
    }

    /// A server that starts empties its tmpdir, including other servers' files: never share one.
    fn directories(&self) -> [String; 2] {
        let of = |name: &str| self.dir.path().join(name).display().to_string();
        [
            format!("--datadir={}", of("data")),
            format!("--tmpdir={}", of("tmp")),
        ]
    }

    /// Starts the server as the founder of its cluster.
    pub(crate) fn start(&mut self) {
        let (dir, address) = (self.dir.path(), self.address);
        let (galera, ist) = (self.galera_port, self.galera_port);
        // Only the founder ever starts, so its data is always the most advanced.
        let state = dir.join("data/grastate.dat");
        if let Ok(text) = std::fs::read_to_string(&state) {
            std::fs::write(
                &state,
                text.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"),
            )
            .unwrap();
        }
        let child = as_mysql("mariadbd")
            .arg("--no-defaults")
            .args(self.directories())
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", dir.join("pid").display()))
            .arg(format!("--log-error={}", dir.join("error.log").display()))
            .args([format!("--bind-address={address}"), format!("--port={}", self.port)])
            .args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--performance-schema=OFF"])
            .args(["--innodb-flush-log-at-trx-commit=0", "--binlog-format=ROW", "--wsrep-on=ON", "--wsrep-new-cluster"])
            .args(["--wsrep-provider=/usr/lib/galera/libgalera_smm.so", "--wsrep-cluster-address=gcomm://"])
            .arg(format!("--wsrep-cluster-name={}", self.cluster))
            .args([format!("--wsrep-node-name={address}"), format!("--wsrep-node-address={address}")])
            .arg(format!("--wsrep-node-incoming-address={address}:{}", self.port))
            .arg(format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://{address}:{galera};ist.recv_addr={address}:{ist};gcache.size=8M"
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mariadbd is installed");
        self.child = Some(child);
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the server with SIGSTOP: it accepts connections and never responds.
    pub(crate) fn halt(&self) {
        self.signal("STOP");
    }

    /// Resumes the server with SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        testing::process::signal(self.child.as_ref().unwrap().id(), signal);
    }

    /// Runs statements as root; waits for a starting server.
    pub(crate) async fn execute(&self, statements: &[&str]) {
        let end = Instant::now() + Duration::from_secs(120);
        let login = Login {
            user: "root",
            password: "",
        };
        let mut conn = loop {
            let opened = async {
                let stream = connect_socket(&self.socket()).await?;
                Connection::open(stream, Peer::Socket, login).await
            };
            match opened.await {
                Ok(conn) => break conn,
                Err(error) => assert!(Instant::now() < end, "{error}\n{}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        for statement in statements {
            while let Err(error) = conn.execute(statement).await {
                assert!(Instant::now() < end, "{statement}: {error}\n{}", self.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn accounts(&self) {
        self.execute(&[
            // Anonymous accounts would shadow 'console'@'%' on this host.
            "DELETE FROM mysql.global_priv WHERE User = ''",
            "FLUSH PRIVILEGES",
            &format!("CREATE USER 'console'@'%' IDENTIFIED BY '{PASSWORD}'"),
            "CREATE DATABASE app",
            "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT) ENGINE=InnoDB",
        ])
        .await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// `program` as the account that may run it, killed by the kernel when the test process dies.
fn as_mysql(program: &str) -> Command {
    let path = ["/usr/sbin", "/usr/bin"].map(|dir| Path::new(dir).join(program));
    let path = path
        .into_iter()
        .find(|path| path.exists())
        .expect("MariaDB is installed");
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", "mysql", "--regid", "mysql", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL"]).arg(path);
    command
}
