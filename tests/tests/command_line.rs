//! The programs' own manners: exit codes, messages, the embedded etcd.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Output;
use std::time::Duration;

use acceptance::api::ConsoleClient;
use acceptance::lab::console::{ConsoleUser, LabConsole};
use acceptance::lab::program;
use acceptance::{Lab, eventually};
use anyhow::{Context, Result, ensure};

const USAGE: i32 = 64;

async fn run(name: &str, arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(program(name)?);
    command
        .args(arguments)
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null());
    Ok(
        tokio::time::timeout(Duration::from_secs(120), command.output())
            .await
            .context("it does not end")??,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_exit_64_and_name_the_setting() -> Result<()> {
    let directory = std::env::temp_dir().join(format!("console-settings-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let unknown = directory.join("unknown.toml");
    std::fs::write(&unknown, "[etcd]\nendpoint = \"x\"\n")?;
    let unknown = unknown.display().to_string();
    let missing = directory.join("missing").display().to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["serve", "--no-such-flag"], "--no-such-flag"),
        (&["serve", "--listen", "nonsense"], "listen"),
        (&["serve", "--cluster", "=127.0.0.1"], "cluster"),
        (&["serve", "--cluster", "lab=<script>"], "cluster"),
        (&["serve", "--poll-interval", "soon"], "poll-interval"),
        (&["serve", "--mysql-port", "99999"], "mysql-port"),
        (&["serve", "--etcd-endpoints", "::::"], "etcd"),
        (&["serve", "--mysql-password-file", &missing], &missing),
        (&["serve", "--config", &missing], &missing),
        (&["serve", "--config", &unknown], "endpoint"),
        (&["check-config", "--config", &unknown], "endpoint"),
        (
            &["user", "add", "x", "--role", "emperor", "--password-stdin"],
            "emperor",
        ),
    ];
    for (arguments, named) in cases {
        let output = run("galera-console", arguments).await?;
        let printed = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(USAGE),
            "{arguments:?}: {}: {printed}",
            output.status
        );
        ensure!(
            printed.contains(named),
            "{arguments:?} does not name {named}: {printed}"
        );
    }
    let agent = run("galera-agent", &["report"]).await?;
    let printed = String::from_utf8_lossy(&agent.stderr);
    ensure!(
        agent.status.code() == Some(USAGE) && printed.contains("CLUSTER_NAME"),
        "{}: {printed}",
        agent.status
    );
    for name in ["galera-console", "galera-agent"] {
        let output = run(name, &["--version"]).await?;
        ensure!(
            output.status.success()
                && String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION"))
        );
    }
    std::fs::remove_dir_all(&directory).ok();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_reported() -> Result<()> {
    let lab = Lab::builder().nodes(0).start().await?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = taken.local_addr()?.to_string();
    let endpoints = lab.etcd().endpoints().join(",");
    let output = run(
        "galera-console",
        &[
            "serve",
            "--listen",
            &address,
            "--etcd-endpoints",
            &endpoints,
        ],
    )
    .await?;
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    ensure!(
        matches!(output.status.code(), Some(64 | 69)),
        "{}: {printed}",
        output.status
    );
    ensure!(printed.contains(&address), "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_endpoints_it_runs_the_embedded_etcd() -> Result<()> {
    let lab = Lab::builder().etcd(0).nodes(0).start().await?;
    let data = lab.directory().join("embedded");
    let mut settings = lab.console_settings();
    settings.etcd_endpoints.clear();
    settings.users.clear();
    settings.extra_arguments = vec!["--etcd-data-dir".to_owned(), data.display().to_string()];
    let console = LabConsole::start(settings).await?;
    let pid = console.pid().context("it does not run")?;
    let child = eventually("its etcd", Duration::from_secs(60), async || {
        descendant(pid, "etcd").context("no etcd child")
    })
    .await?;

    // The account is created while it runs, on the same machine.
    let user = ConsoleUser::new("first", "admin");
    let mut command = tokio::process::Command::new(program("galera-console")?);
    command.args([
        "user",
        "add",
        &user.name,
        "--role",
        "admin",
        "--password-stdin",
    ]);
    command.args([
        "--state-prefix",
        &console.settings().state_prefix,
        "--etcd-data-dir",
        &data.display().to_string(),
    ]);
    command
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    let mut adding = command.spawn()?;
    let mut input = adding.stdin.take().context("no standard input")?;
    tokio::io::AsyncWriteExt::write_all(&mut input, format!("{}\n", user.password).as_bytes())
        .await?;
    drop(input);
    let output = adding.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ConsoleClient::new(&console.url())?
        .sign_in(&user.name, &user.password)
        .await?;

    console.stop().await?;
    ensure!(
        !std::path::Path::new(&format!("/proc/{child}")).exists(),
        "its etcd {child} is still running"
    );
    console.launch()?;
    console.wait_until_ready().await?;
    ConsoleClient::new(&console.url())?
        .sign_in(&user.name, &user.password)
        .await
        .context("the account is kept")?;
    console.stop().await?;
    Ok(())
}

/// A process with this program name that descends from `ancestor`.
fn descendant(ancestor: u32, name: &str) -> Option<u32> {
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let called = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        called.trim() == name
            && std::iter::successors(parent(*pid), |pid| parent(*pid)).any(|pid| pid == ancestor)
    })
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 0)
}
