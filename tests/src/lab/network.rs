//! A network that can be cut: every node has a network namespace with one link to a router, which drops packets as a
//! partition does, without an error to the sender.
//!
//! The router is this process's namespace, which must therefore not be the machine's ([`in_own_namespace`]): everything
//! created here disappears with it.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use tokio::sync::OnceCell;

use super::process::{LabProcess, Program, tail};
use crate::eventually;

/// Longest wait for a namespace.
const NAMESPACE_TIMEOUT: Duration = Duration::from_secs(60);
/// The address that the router has on every cable.
const ROUTER_HOST: u8 = 1;

/// Where a node lives.
#[derive(Clone, Debug)]
pub struct HostPlacement {
    pub address: Ipv4Addr,
    /// Its network namespace; `None` for this process's own.
    pub namespace: Option<PathBuf>,
}

impl HostPlacement {
    /// An address in this process's own namespace.
    #[must_use]
    pub const fn local(address: Ipv4Addr) -> Self {
        Self {
            address,
            namespace: None,
        }
    }
}

/// The network. It ends with this value.
pub struct LabNetwork {
    router: Ipv4Addr,
    hosts: Vec<HostPlacement>,
    /// Directed paths on which packets are dropped.
    blocked: Mutex<Vec<BlockedPath>>,
    // They keep the namespaces.
    _namespaces: Vec<LabProcess>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct BlockedPath {
    from: Ipv4Addr,
    to: Option<Ipv4Addr>,
}

/// Path of the namespace that a re-executed program came from.
const PARENT_NAMESPACE_VARIABLE: &str = "LAB_LEFT_NAMESPACE";

/// Whether this process was re-executed by [`reexec_in_namespace`] and can create networks.
#[must_use]
pub fn in_own_namespace() -> bool {
    let left = std::env::var_os(PARENT_NAMESPACE_VARIABLE);
    left.is_some() && namespace().is_some() && namespace() != left
}

fn namespace() -> Option<OsString> {
    let link = std::fs::read_link("/proc/self/ns/net").ok()?;
    Some(link.into_os_string())
}

/// Re-executes this program in new network and mount namespaces with the same arguments. Returns only on failure, with the
/// reason.
#[must_use]
pub fn reexec_in_namespace() -> anyhow::Error {
    let begin = || {
        let program = std::env::current_exe()?;
        let here = namespace().context("this kernel has no network namespaces")?;
        let mut command = std::process::Command::new("unshare");
        command.args(["--net", "--mount", "--"]).arg(program);
        command
            .args(std::env::args_os().skip(1))
            .env(PARENT_NAMESPACE_VARIABLE, here);
        Err(command.exec().into())
    };
    let outcome: Result<()> = begin();
    outcome
        .err()
        .unwrap_or_else(|| anyhow::anyhow!("unshare came back"))
}

impl LabNetwork {
    /// A network 10.77.`subnet`.0/24 with `count` hosts. Its files go into `directory`.
    ///
    /// # Errors
    /// If this process is in the machine's own namespace, or iproute2 refuses something.
    pub async fn create(directory: &Path, subnet: u8, count: usize) -> Result<Self> {
        ensure!(
            in_own_namespace(),
            "a network is made only by root, and only in a separate network namespace"
        );
        let middle = Ipv4Addr::new(10, 77, subnet, ROUTER_HOST);
        static ROUTER: OnceCell<()> = OnceCell::const_new();
        ROUTER.get_or_try_init(become_router).await?;
        let (mut places, mut holders) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let address = Ipv4Addr::new(10, 77, subnet, 10 + u8::try_from(number)?);
            let (holder, namespace) = hold_namespace(directory, number).await?;
            let cable = format!("cable{subnet}-{number}");
            let pid = holder.pid();
            ip(&format!(
                "link add {cable} type veth peer name eth0 netns {pid}"
            ))
            .await?;
            ip(&format!("addr add {middle}/32 dev {cable}")).await?;
            ip(&format!("link set {cable} up")).await?;
            ip(&format!("route add {address}/32 dev {cable} src {middle}")).await?;
            for inner in [
                "link set lo up".to_owned(),
                format!("addr add {address}/32 dev eth0"),
                "link set eth0 up".to_owned(),
                format!("route add {middle}/32 dev eth0"),
                format!("route add default via {middle}"),
            ] {
                ip_within(&namespace, &inner).await?;
            }
            places.push(HostPlacement {
                address,
                namespace: Some(namespace),
            });
            holders.push(holder);
        }
        Ok(Self {
            router: middle,
            hosts: places,
            blocked: Mutex::default(),
            _namespaces: holders,
        })
    }

    /// The router's address: what listens there can be reached by every host.
    #[must_use]
    pub const fn router(&self) -> Ipv4Addr {
        self.router
    }

    #[must_use]
    pub fn hosts(&self) -> &[HostPlacement] {
        &self.hosts
    }

    /// Drops all packets between two hosts.
    ///
    /// # Errors
    /// If iproute2 fails.
    pub async fn cut(&self, one: Ipv4Addr, other: Ipv4Addr) -> Result<()> {
        self.drop_packets(one, Some(other)).await?;
        self.drop_packets(other, Some(one)).await
    }

    /// Lets all packets pass between two hosts again.
    ///
    /// # Errors
    /// If iproute2 fails.
    pub async fn mend(&self, one: Ipv4Addr, other: Ipv4Addr) -> Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            let cut = BlockedPath { from, to: Some(to) };
            let known = {
                let mut cuts = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
                let before = cuts.len();
                cuts.retain(|path| *path != cut);
                cuts.len() < before
            };
            if known {
                ip(&cut.rule("del")).await?;
            }
        }
        Ok(())
    }

    /// Drops all packets from this host, and those from the other hosts to it.
    ///
    /// # Errors
    /// If iproute2 fails.
    pub async fn unplug(&self, host: Ipv4Addr) -> Result<()> {
        // Packets from the router itself still arrive, but no reply returns: a rule against them would be an error to
        // the sender, unlike a broken link.
        self.drop_packets(host, None).await?;
        for other in self.hosts.iter().filter(|place| place.address != host) {
            self.drop_packets(other.address, Some(host)).await?;
        }
        Ok(())
    }

    /// Drops all packets from this host to the router and to what runs there; the other hosts still get them.
    ///
    /// # Errors
    /// If iproute2 fails.
    pub async fn hide_from_router(&self, host: Ipv4Addr) -> Result<()> {
        self.drop_packets(host, Some(self.router)).await
    }

    /// Removes all drop rules.
    ///
    /// # Errors
    /// If iproute2 fails.
    pub async fn heal(&self) -> Result<()> {
        let cuts =
            std::mem::take(&mut *self.blocked.lock().unwrap_or_else(PoisonError::into_inner));
        for cut in cuts {
            ip(&cut.rule("del")).await?;
        }
        Ok(())
    }

    async fn drop_packets(&self, from: Ipv4Addr, to: Option<Ipv4Addr>) -> Result<()> {
        let cut = BlockedPath { from, to };
        let new = {
            let mut cuts = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
            let new = !cuts.contains(&cut);
            if new {
                cuts.push(cut);
            }
            new
        };
        if new {
            ip(&cut.rule("add")).await?;
        }
        Ok(())
    }
}

impl Drop for LabNetwork {
    fn drop(&mut self) {
        // The next network may have the same addresses.
        let cuts =
            std::mem::take(&mut *self.blocked.lock().unwrap_or_else(PoisonError::into_inner));
        for cut in cuts {
            let mut command = std::process::Command::new("ip");
            command.args(cut.rule("del").split(' ')).status().ok();
        }
    }
}

impl BlockedPath {
    fn rule(self, verb: &str) -> String {
        // Of different preference, because the kernel takes a rule without a destination for one with any.
        let (to, preference) = match self.to {
            Some(to) => (format!(" to {to}"), 100),
            None => (String::new(), 90),
        };
        format!(
            "rule {verb} from {}{to} pref {preference} blackhole",
            self.from
        )
    }
}

/// Enables forwarding in this namespace, and drop rules for packets to the router itself.
async fn become_router() -> Result<()> {
    // No host reaches a name server, and rsync, which asks for the name of each client, would wait half a minute for one.
    run(
        "mount",
        ["--bind", "/dev/null", "/etc/resolv.conf"].into_iter(),
    )
    .await?;
    ip("link set lo up").await?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forwarding packets")?;
    // Rules after the local table would not apply to packets to the router itself, so the local table moves behind
    // them.
    ip("rule add pref 1000 lookup local").await?;
    ip("rule del pref 0").await
}

/// A process that keeps a new namespace alive, and the namespace's file.
async fn hold_namespace(directory: &Path, number: usize) -> Result<(LabProcess, PathBuf)> {
    let log = directory.join(format!("namespace-{number}.log"));
    let program = Program::new(&format!("namespace {number}"), "unshare", &log);
    let holder = program.args(["--net", "--", "sleep", "infinity"]).start()?;
    let namespace = PathBuf::from(format!("/proc/{}/ns/net", holder.pid()));
    let ours = std::fs::read_link("/proc/self/ns/net")?;
    eventually("a network namespace", NAMESPACE_TIMEOUT, async || {
        let theirs = std::fs::read_link(&namespace)?;
        ensure!(theirs != ours, "not yet: {}", tail(&log, 3));
        Ok(())
    })
    .await?;
    Ok((holder, namespace))
}

async fn ip(arguments: &str) -> Result<()> {
    run("ip", arguments.split(' ')).await
}

async fn ip_within(namespace: &Path, arguments: &str) -> Result<()> {
    let net = format!("--net={}", namespace.display());
    let before = [net.as_str(), "--", "ip"];
    run("nsenter", before.into_iter().chain(arguments.split(' '))).await
}

async fn run(program: &str, arguments: impl Iterator<Item = &str>) -> Result<()> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments);
    let output = command
        .output()
        .await
        .with_context(|| format!("is {program} installed? scripts/setup lab"))?;
    ensure!(
        output.status.success(),
        "{:?}: {}",
        command.as_std(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
