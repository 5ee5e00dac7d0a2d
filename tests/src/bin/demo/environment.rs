//! Everything the demo consists of.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use acceptance::Lab;
use acceptance::lab::LabProgress;
use acceptance::lab::console::{ConsoleUser, LabConsole};
use acceptance::lab::traffic::{Traffic, TrafficRate};
use anyhow::{Result, ensure};
use rand::Rng;
use serde_json::json;

use crate::DemoArguments;
use crate::output::DemoOutput;

/// Bytes a second of an incremental state transfer: slow enough to be watched, faster than the trickle.
const TRANSFER_SPEED: u64 = 20_000;

/// What runs.
pub(crate) struct DemoEnvironment {
    // Dropped in this order: the database last.
    pub(crate) traffic: Traffic,
    pub(crate) console: LabConsole,
    pub(crate) lab: Lab,
    /// Seconds after which a dead node is started again; 0 for never.
    pub(crate) revive_after: AtomicU64,
}

impl DemoEnvironment {
    pub(crate) async fn start(arguments: &DemoArguments, output: DemoOutput) -> Result<Self> {
        ensure!(
            arguments.etcd > 0 && arguments.nodes > 0,
            "at least one etcd member and one node"
        );
        let began = Instant::now();
        let lab = Lab::builder()
            .etcd(arguments.etcd)
            .secured_etcd()
            .nodes(arguments.nodes)
            .agents(true)
            .limit_ist(TRANSFER_SPEED)
            .progress(move |progress| output.progress(progress))
            .start()
            .await?;
        output.progress(LabProgress::Started("Accounts and galera-console"));
        let step = Instant::now();
        let mut settings = lab.console_settings();
        settings.listen = listen(arguments.port);
        // Receivers for trying notifications run on this machine.
        settings
            .extra_arguments
            .extend(["--notify-allow", "127.0.0.1"].map(str::to_owned));
        let data = settings.directory.join("data").display().to_string();
        settings
            .extra_arguments
            .extend(["--data-dir".to_owned(), data]);
        "/galera-console".clone_into(&mut settings.state_prefix);
        // The last user can request and approve, but not approve their own requests.
        settings.users = [
            ("viewer", "viewer"),
            ("operator", "operator"),
            ("approver", "approver"),
            ("admin", "admin"),
            ("deputy", "operator,approver"),
        ]
        .map(|(name, roles)| account(name, roles))
        .to_vec();
        let console = LabConsole::start(settings).await?;
        output.step_done(step.elapsed());
        output.progress(LabProgress::Started(
            "A trickle of transactions, round the nodes",
        ));
        let step = Instant::now();
        let traffic = Traffic::start(&lab, TrafficRate::TRICKLE).await?;
        output.step_done(step.elapsed());
        output.line(&format!(
            "    Everything runs after {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        Ok(Self {
            traffic,
            console,
            lab,
            revive_after: AtomicU64::new(arguments.revive_after),
        })
    }

    /// Prints what is running and what can be tried.
    pub(crate) fn print_introduction(
        &self,
        output: DemoOutput,
        control: Option<&str>,
    ) -> Result<()> {
        output.line("");
        output.line(&format!("  Galera Console   {}", self.console.url()));
        output.line("");
        for user in &self.console.settings().users {
            output.line(&format!(
                "  account          {:<9} password  {}",
                user.name, user.password
            ));
        }
        output.line("");
        for node in self.lab.nodes() {
            let pid = node.pid().unwrap_or_default();
            output.line(&format!(
                "  {} {:<13} pid {pid:<8} log {}",
                node.name(),
                node.id(),
                node.log().display()
            ));
        }
        for member in self.lab.etcd().members() {
            output.line(&format!(
                "  etcd {}   pid {}",
                member.endpoint(),
                member.pid().unwrap_or_default()
            ));
        }
        output.line(&format!(
            "  more logs        {}",
            self.lab.directory().display()
        ));
        output.line("");
        output.line("Open the URL, sign in, then break something and watch the page:");
        if let Some(pid) = self.lab.node(1).pid() {
            output.line(&format!(
                "  kill -9 {pid}       (or type: kill n1)  a node crashes"
            ));
        }
        output.line("  type: pause n2 · resume n2 · kill n3 · isolate n2 · heal n2 · etcd kill · etcd start · console restart");
        output.line("  type: help         for all commands; dead nodes are restarted automatically (type: revive off)");
        if let Some(address) = control {
            output.line(&format!(
                "  or send commands:  curl --data 'kill n1' {address}"
            ));
        }
        output.line("Ctrl-C stops everything that the demo started, and nothing else.");
        output.line("");
        output.json(&self.describe(control));
        Ok(())
    }

    /// The same for programs.
    pub(crate) fn describe(&self, control: Option<&str>) -> serde_json::Value {
        let users: serde_json::Map<_, _> = self
            .console
            .settings()
            .users
            .iter()
            .map(|user| {
                (
                    user.name.clone(),
                    json!({"name": user.name, "password": user.password}),
                )
            })
            .collect();
        let nodes = self.lab.nodes().iter().map(|node| {
            json!({"name": node.name(), "id": node.id(), "pid": node.pid(), "log": node.log()})
        });
        let members = self
            .lab
            .etcd()
            .members()
            .iter()
            .map(|member| json!({"endpoint": member.endpoint(), "pid": member.pid()}));
        json!({
            "url": self.console.url(),
            "control": control,
            "pid": std::process::id(),
            "cluster": self.lab.cluster(),
            "users": users,
            "nodes": nodes.collect::<Vec<_>>(),
            "etcd": members.collect::<Vec<_>>(),
            "console": {"pid": self.console.pid(), "log": self.console.log()},
            "directory": self.lab.directory(),
            "written": self.traffic.committed(),
        })
    }
}

/// The first free port from `first` on; `None` for a free port of the lab's own choice.
fn listen(first: u16) -> Option<String> {
    if first == 0 {
        return None;
    }
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (first..first.saturating_add(100))
        .find(free)
        .map(|port| format!("127.0.0.1:{port}"))
}

fn account(name: &str, roles: &str) -> ConsoleUser {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    let mut random = rand::rng();
    let mut group = || -> String {
        let letter = |_| char::from(LETTERS[random.random_range(0..LETTERS.len())]);
        (0..5).map(letter).collect()
    };
    // Three groups: a single one may happen to be a word, which the password policy would refuse.
    let password = format!("{name}-{}-{}-{}", group(), group(), group());
    ConsoleUser {
        password,
        ..ConsoleUser::new(name, roles)
    }
}
