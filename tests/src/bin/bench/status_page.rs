//! A status page under load, on one core, while its cluster changes every second; and nginx with the same bytes as a file,
//! on the same core, in the same run.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use acceptance::Lab;
use acceptance::api::ConsoleClient;
use acceptance::lab::console::LabConsole;
use acceptance::lab::directory::LabDirectory;
use acceptance::lab::ports::ReservedPort;
use acceptance::lab::process::{LabProcess, Program};
use acceptance::lab::traffic::{Traffic, TrafficRate};
use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, header};
use tokio::process::Command;

use crate::figures::MeasuredFigure;

/// Duration of each server's load.
const ROUND_SECONDS: u32 = 8;
/// Rounds, in turn, so that both meet the same noise.
const ROUNDS: usize = 2;
/// Concurrent connections.
const CONNECTIONS: u32 = 32;
const PAGE: &str = "/status/bench";

/// What one server did.
#[derive(Clone, Copy, Debug, Default)]
struct LoadResult {
    /// Answers a second.
    rate: f64,
    /// The time that 99 of 100 answers did not exceed, in milliseconds.
    p99: f64,
}

pub(crate) async fn measure(lab: &Lab, console: &LabConsole) -> Result<Vec<MeasuredFigure>> {
    let admin = console.sign_in("admin").await?;
    make_page(&admin, lab.cluster()).await?;
    // Positions are on the page, so it is another one with every second.
    let traffic = Traffic::start(lab, TrafficRate::TRICKLE).await?;
    let body = fetch(&admin).await?;
    let folder = LabDirectory::create()?;
    let (nginx, port) = nginx(folder.path(), &body).await?;
    let console_pid = console.pid().context("the console does not run")?;
    pin(console_pid).await?;
    let file = format!("http://127.0.0.1:{}/page.html", port.number());
    let page = format!("{}{PAGE}", console.url());
    let (mut ours, mut theirs) = (LoadResult::default(), LoadResult::default());
    for _ in 0..ROUNDS {
        ours = slower(ours, load(&page).await?);
        theirs = slower(theirs, load(&file).await?);
    }
    ensure!(
        fetch(&admin).await? != body,
        "the page did not change during the load"
    );
    nginx.stop(Duration::from_secs(5)).await?;
    release(console_pid).await?;
    drop(traffic);
    println!(
        "    {} bytes of brotli; console {:.0}/s, p99 {:.2} ms; nginx {:.0}/s, p99 {:.2} ms; ratio {:.2}",
        body.len(),
        ours.rate,
        ours.p99,
        theirs.rate,
        theirs.p99,
        ours.rate / theirs.rate,
    );
    Ok(vec![
        MeasuredFigure::at_least(
            "status page, requests a second on one core",
            ours.rate,
            5_000.0,
            "/s",
        ),
        MeasuredFigure::duration(
            "status page under that load, p99",
            Duration::from_secs_f64(ours.p99 / 1e3),
            Duration::from_millis(20),
        ),
        MeasuredFigure::without_limit(
            "nginx with the same bytes, requests a second",
            theirs.rate,
            "/s",
        ),
    ])
}

/// Of several rounds the slowest one counts.
fn slower(a: LoadResult, b: LoadResult) -> LoadResult {
    if a.rate == 0.0 {
        return b;
    }
    LoadResult {
        rate: a.rate.min(b.rate),
        p99: a.p99.max(b.p99),
    }
}

async fn make_page(admin: &ConsoleClient, cluster: &str) -> Result<()> {
    let page = serde_json::json!({
        "slug": "bench",
        "title": "Databases",
        "clusters": [{ "cluster": cluster, "name": "Orders" }],
        "visibility": "public",
        "show": { "hosts": true, "positions": true },
    });
    let request = admin
        .request(Method::POST, "/api/v1/status/pages")
        .json(&page);
    request.send().await?.error_for_status()?;
    for _ in 0..100 {
        if admin
            .request(Method::GET, PAGE)
            .send()
            .await?
            .status()
            .is_success()
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the page is not available")
}

/// The page as a browser gets it.
async fn fetch(api: &ConsoleClient) -> Result<Vec<u8>> {
    let request = api
        .request(Method::GET, PAGE)
        .header(header::ACCEPT_ENCODING, "br");
    let answer = request.send().await?.error_for_status()?;
    Ok(answer.bytes().await?.to_vec())
}

/// nginx of Debian with the same bytes as a file, on the core of the console.
async fn nginx(folder: &Path, body: &[u8]) -> Result<(LabProcess, ReservedPort)> {
    let port = ReservedPort::reserve(Ipv4Addr::LOCALHOST)?;
    fs::write(folder.join("page.html"), body)?;
    let config = format!(
        "daemon off; worker_processes 1; pid {0}/nginx.pid; error_log {0}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 10000000;\n\
         types {{ text/html html; }}\n\
         client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
         server {{ listen 127.0.0.1:{1}; root {0}; add_header Content-Encoding br; }} }}\n",
        folder.display(),
        port.number(),
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    // The worker of a root's nginx is another user, who has to reach the file.
    allow(folder)?;
    let process = Program::new("nginx", "taskset", &folder.join("nginx.log"))
        .args(["--cpu-list", "0", "nginx", "-e", "stderr", "-p"])
        .arg(folder.display().to_string())
        .arg("-c")
        .arg(path.display().to_string())
        .start()?;
    let url = format!("http://127.0.0.1:{}/page.html", port.number());
    for _ in 0..100 {
        process.ensure_running()?;
        if reqwest::get(&url)
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            return Ok((process, port));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("nginx is not serving {url}")
}

fn allow(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for path in folder.ancestors().take(3) {
        let mut permissions = fs::metadata(path)?.permissions();
        permissions.set_mode(permissions.mode() | 0o005);
        // Directories of the system are open already, and not ours to change.
        let _ = fs::set_permissions(path, permissions);
    }
    Ok(())
}

/// Loads `url` from another core.
async fn load(url: &str) -> Result<LoadResult> {
    let output = Command::new("taskset")
        .args(["--cpu-list", "1", "wrk", "-t1", "--latency"])
        .arg(format!("-c{CONNECTIONS}"))
        .arg(format!("-d{ROUND_SECONDS}s"))
        .args(["-H", "Accept-Encoding: br", url])
        .output()
        .await
        .context("wrk (Debian's package of that name) cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !text.contains("Non-2xx"),
        "wrk failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(|rest| rest.trim().to_owned())
            .with_context(|| format!("wrk's output lacks {name}: {text}"))
    };
    Ok(LoadResult {
        rate: field("Requests/sec:")?.parse()?,
        p99: millis(&field("99%")?)?,
    })
}

/// `1.23ms`, `456.00us` or `1.20s` in milliseconds.
fn millis(text: &str) -> Result<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let found = units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    });
    found.with_context(|| format!("{text:?} is not a duration"))
}

/// Keeps every thread of a process on one core.
async fn pin(pid: u32) -> Result<()> {
    taskset(pid, "0").await
}

/// Gives a process every core again.
async fn release(pid: u32) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    taskset(pid, &format!("0-{}", cores - 1)).await
}

async fn taskset(pid: u32, cores: &str) -> Result<()> {
    let status = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", cores])
        .arg(pid.to_string())
        .stdout(std::process::Stdio::null())
        .status()
        .await?;
    ensure!(status.success(), "taskset could not pin process {pid}");
    Ok(())
}
