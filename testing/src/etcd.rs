//! Real etcd members for tests: own directory, own loopback address, ended with the test.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use registry::{EtcdSettings, Registry};

/// One or more etcd members that form a cluster.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<EtcdProcess>,
    args: Vec<String>,
    scheme: &'static str,
    _dir: tempfile::TempDir,
}

#[derive(Debug)]
struct EtcdProcess {
    name: String,
    dir: PathBuf,
    client: String,
    peer: String,
    child: Option<Child>,
}

impl EtcdCluster {
    /// A cluster of one member that answers.
    pub async fn single() -> Self {
        Self::cluster(1).await
    }

    /// A cluster of `size` members that answers.
    pub async fn cluster(size: usize) -> Self {
        let etcd = Self::spawn(size, "http", &[]);
        etcd.wait_until_ready(&etcd.registry()).await;
        etcd
    }

    /// A cluster of `size` members, started with further arguments; it may not answer yet.
    pub fn spawn(size: usize, scheme: &'static str, args: &[&str]) -> Self {
        Self::spawn_at(loopback_address(), size, scheme, args)
    }

    /// The same on an address that a certificate names.
    pub fn spawn_at(address: Ipv4Addr, size: usize, scheme: &'static str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let members = (0..size)
            .map(|index| EtcdProcess {
                name: format!("m{index}"),
                dir: dir.path().join(format!("m{index}")),
                client: format!("{address}:{}", free_port(address)),
                peer: format!("{address}:{}", free_port(address)),
                child: None,
            })
            .collect();
        let mut etcd = Self {
            members,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            scheme,
            _dir: dir,
        };
        for index in 0..size {
            etcd.start(index);
        }
        etcd
    }

    /// The client URLs.
    pub fn endpoints(&self) -> Vec<String> {
        let url = |member: &EtcdProcess| format!("{}://{}", self.scheme, member.client);
        self.members.iter().map(url).collect()
    }

    /// The address of one member, for a proxy in front of it.
    pub fn address(&self, index: usize) -> String {
        self.members[index].client.clone()
    }

    /// A connection to every member.
    pub fn registry(&self) -> Registry {
        Registry::connect(EtcdSettings::new(self.endpoints())).unwrap()
    }

    /// Starts a member that is not running.
    pub fn start(&mut self, index: usize) {
        let cluster: Vec<_> = self
            .members
            .iter()
            .map(|member| format!("{}=http://{}", member.name, member.peer))
            .collect();
        let scheme = self.scheme;
        let member = &mut self.members[index];
        let log = std::fs::File::create(member.dir.with_extension("log")).unwrap();
        // The kernel ends the member when the test process dies, however that happens.
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "etcd",
                "--name",
                &member.name,
                "--data-dir",
            ])
            .arg(&member.dir)
            .args([
                "--listen-client-urls",
                &format!("{scheme}://{}", member.client),
            ])
            .args([
                "--advertise-client-urls",
                &format!("{scheme}://{}", member.client),
            ])
            .args(["--listen-peer-urls", &format!("http://{}", member.peer)])
            .args([
                "--initial-advertise-peer-urls",
                &format!("http://{}", member.peer),
            ])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd and setpriv are installed");
        member.child = Some(child);
    }

    /// Ends a member with SIGKILL.
    pub fn kill(&mut self, index: usize) {
        self.members[index].kill();
    }

    /// Ends a member and deletes its data.
    pub fn wipe(&mut self, index: usize) {
        self.members[index].kill();
        std::fs::remove_dir_all(&self.members[index].dir).unwrap();
    }

    /// Halts a member (SIGSTOP): it accepts connections and never answers.
    pub fn pause(&self, index: usize) {
        self.members[index].signal("STOP");
    }

    /// Continues a halted member.
    pub fn resume(&self, index: usize) {
        self.members[index].signal("CONT");
    }

    /// Waits until `registry` gets an answer.
    pub async fn wait_until_ready(&self, registry: &Registry) {
        let end = Instant::now() + Duration::from_secs(60);
        while let Err(error) = registry.ready().await {
            assert!(
                Instant::now() < end,
                "etcd does not answer: {error}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every running member answers.
    pub async fn wait_until_all_ready(&self) {
        for url in self.endpoints() {
            let one = Registry::connect(EtcdSettings::new([url])).unwrap();
            self.wait_until_ready(&one).await;
        }
    }

    fn logs(&self) -> String {
        let log =
            |dir: &Path| std::fs::read_to_string(dir.with_extension("log")).unwrap_or_default();
        self.members.iter().map(|member| log(&member.dir)).collect()
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
    }
}

impl EtcdProcess {
    fn signal(&self, signal: &str) {
        crate::process::signal(self.child.as_ref().unwrap().id(), signal);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A random loopback address, so that a port found free stays free.
pub fn loopback_address() -> Ipv4Addr {
    let [a, b, c] = rand::random::<[u8; 3]>();
    Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254))
}

/// A port that is free on `address`, another one at each call. It is below the range from which the kernel takes ports of
/// connections and of listeners on any port: one of those could take it before it is used.
pub fn free_port(address: Ipv4Addr) -> u16 {
    static TAKEN: Mutex<BTreeSet<(Ipv4Addr, u16)>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::random_range(14_000..32_768);
        let free = TcpListener::bind((address, port)).is_ok();
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if free && taken.insert((address, port)) {
            return port;
        }
    }
}
