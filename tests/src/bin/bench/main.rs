//! The figures that the project promises, measured on a real lab: how fast a change reaches a browser, how much a
//! first visit loads, how much the idle console needs, how soon an approved recovery is done and starting nodes know what to do.

mod agent;
mod decision;
mod figures;
mod first_load;
mod latency;
mod notification;
mod recovery;
mod status_page;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use acceptance::Lab;
use acceptance::lab::LabProgress;
use acceptance::lab::console::LabConsole;
use anyhow::{Context, Result};

use figures::{DurationSample, MeasuredFigure};

/// The console's own default.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long the console is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(figures) => {
            println!("\n{}", figures::table(&figures));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("The benchmarks failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<Vec<MeasuredFigure>> {
    let lab = Lab::builder()
        .etcd(3)
        .nodes(3)
        .agents(true)
        .progress(|progress| match progress {
            LabProgress::Started(name) => println!("==> {name}"),
            LabProgress::Done(took) => println!("    done in {:.1} s", took.as_secs_f64()),
        })
        .start()
        .await?;
    let mut figures = vec![ready(&lab).await?];
    println!("==> Idle console and agent for {} s", IDLE.as_secs());
    let console = lab.console().await?;
    let idle = agent::IdleAgent::start(&lab)?;
    tokio::time::sleep(IDLE).await;
    figures.extend(idle.figures()?);
    figures.push(MeasuredFigure::megabytes(
        "idle console, resident",
        resident(console.pid().context("the console is not running")?)?,
        40.0,
    ));
    println!("==> Pages");
    let api = console.sign_in("viewer").await?;
    figures.push(pages(&api).await?);
    let first_load = first_load::measure(&api, lab.cluster()).await?;
    println!("\n{}", first_load.table());
    figures.push(first_load.figure());
    println!("==> A status page, and nginx with the same bytes, each on one core");
    figures.extend(status_page::measure(&lab, &console).await?);
    println!("==> State change in the server to registry");
    figures.extend(agent::notified(&lab).await?);
    println!("==> Registry change to WebSocket frame");
    figures.extend(latency::registry(&lab, &api).await?);
    println!("==> SQL-only change to WebSocket frame");
    figures.extend(latency::sql(&lab, &api, POLL_INTERVAL).await?);
    println!("==> Change of a verdict to webhook");
    figures.extend(notification::measure(&lab).await?);
    drop(lab);
    figures.extend(recovery::measure().await?);
    figures.extend(decision::measure().await?);
    Ok(figures)
}

/// From the start of the process to the first answer of `/readyz`, etcd being there.
async fn ready(lab: &Lab) -> Result<MeasuredFigure> {
    println!("==> Time from start to ready, with etcd running");
    let mut sample = DurationSample::default();
    for _ in 0..10 {
        let mut settings = lab.console_settings();
        settings.users.clear();
        let console = LabConsole::prepare(settings)?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(1))
            .build()?;
        let url = format!("{}/readyz", console.url());
        let began = Instant::now();
        console.launch()?;
        while !client
            .get(&url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            anyhow::ensure!(
                began.elapsed() < Duration::from_secs(30),
                "it does not become ready"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        sample.add(began.elapsed());
        console.stop().await?;
    }
    Ok(MeasuredFigure::duration(
        "ready after its start, median of 10",
        sample.quantile(0.5),
        Duration::from_millis(500),
    ))
}

async fn pages(api: &acceptance::api::ConsoleClient) -> Result<MeasuredFigure> {
    let mut sample = DurationSample::default();
    for _ in 0..300 {
        let began = Instant::now();
        let answer = api
            .request(reqwest::Method::GET, "/clusters/lab")
            .send()
            .await?
            .error_for_status()?;
        let text = answer.text().await?;
        sample.add(began.elapsed());
        anyhow::ensure!(text.contains("127.0.0.3"), "the page has no nodes");
    }
    println!(
        "    p50 {:?}, p99 {:?}",
        sample.quantile(0.5),
        sample.quantile(0.99)
    );
    Ok(MeasuredFigure::duration(
        "server-rendered cluster page, p50",
        sample.quantile(0.5),
        Duration::from_millis(20),
    ))
}

/// Resident memory of a process in bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
