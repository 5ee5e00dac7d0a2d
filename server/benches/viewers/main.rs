//! 1,000 WebSocket viewers of one cluster at one update per second: latency from publication to receipt, and memory
//! per viewer, compared with a bare tokio-tungstenite broadcaster of the same frames.
//!
//! Each server runs in a separate process, so that its resident memory can be measured; rounds alternate between the
//! two.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be made has to stop"
)]

mod baseline;
mod console;
mod frames;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::TaskTracker;

const VIEWERS: usize = 1_000;
const UPDATES: usize = 10;
const ROUNDS: usize = 2;
const TARGET_P99_MS: f64 = 100.0;
const TARGET_KB: f64 = 20.0;

fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "serve-console" => run(console::serve()),
        "serve-bare" => run(baseline::serve()),
        "drive" => run(drive()),
        // Arguments of cargo: everything that needs many sockets runs in a process with a raised limit.
        _ => {
            let status = command_with_raised_limit("drive")
                .status()
                .expect("the benchmark starts itself");
            std::process::exit(status.code().unwrap_or(1));
        }
    }
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(work);
}

/// This program in another role, with a raised limit of open files.
fn command_with_raised_limit(role: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -n 8192 2>/dev/null || ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$1\"",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(role);
    command
}

async fn drive() {
    println!(
        "{VIEWERS} viewers of one cluster, one update a second, {ROUNDS} rounds of {UPDATES} updates each"
    );
    let (mut console, mut bare) = (Measurements::default(), Measurements::default());
    for _ in 0..ROUNDS {
        console.add(measure("serve-console").await);
        bare.add(measure("serve-bare").await);
    }
    println!(
        "{:<24}{:>10}{:>10}{:>10}{:>14}{:>12}",
        "", "p50 ms", "p99 ms", "max ms", "kB/viewer", "frame B"
    );
    console.print("galera-console");
    bare.print("bare tokio-tungstenite");
    let ratio = console.percentile(0.99) / bare.percentile(0.99);
    println!("p99 is {ratio:.2} times the bare broadcaster's");
    print_result(
        "p99 from publish to receipt",
        console.percentile(0.99),
        TARGET_P99_MS,
        "ms",
    );
    print_result(
        "resident memory per viewer",
        console.mean_kb_per_viewer(),
        TARGET_KB,
        "kB",
    );
}

fn print_result(what: &str, value: f64, target: f64, unit: &str) {
    let word = if value <= target { "met" } else { "MISSED" };
    println!("{what}: {value:.1} {unit}, at most {target} {unit}: {word}");
}

#[derive(Default)]
struct Measurements {
    millis: Vec<f64>,
    kilobytes: Vec<f64>,
    frame: usize,
}

impl Measurements {
    fn add(&mut self, other: Self) {
        self.millis.extend(other.millis);
        self.millis.sort_by(f64::total_cmp);
        self.kilobytes.extend(other.kilobytes);
        self.frame = other.frame;
    }

    fn percentile(&self, part: f64) -> f64 {
        let last = self.millis.len() - 1;
        self.millis[(last as f64 * part) as usize]
    }

    fn mean_kb_per_viewer(&self) -> f64 {
        self.kilobytes.iter().sum::<f64>() / self.kilobytes.len() as f64
    }

    fn print(&self, name: &str) {
        println!(
            "{name:<24}{:>10.2}{:>10.2}{:>10.2}{:>14.1}{:>12}",
            self.percentile(0.5),
            self.percentile(0.99),
            self.percentile(1.0),
            self.mean_kb_per_viewer(),
            self.frame
        );
    }
}

/// A server in a separate process; it ends when its standard input closes.
struct ServerProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl ServerProcess {
    fn start(role: &str) -> (Self, String) {
        let mut child = command_with_raised_limit(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self {
            child,
            input,
            output,
        };
        let address = server.line();
        (server, address)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Resident memory in kilobytes.
    fn resident_kb(&mut self) -> f64 {
        writeln!(self.input, "rss").unwrap();
        self.line().parse().unwrap()
    }

    fn stop(mut self) {
        drop(self.input);
        self.child.wait().unwrap();
    }
}

async fn measure(role: &str) -> Measurements {
    let (mut server, address) = ServerProcess::start(role);
    let before = server.resident_kb();
    let (sender, mut received) = mpsc::unbounded_channel();
    let counting = Arc::new(AtomicBool::new(false));
    let viewers = TaskTracker::new();
    let connecting = Arc::new(Semaphore::new(50));
    for _ in 0..VIEWERS {
        let permit = Arc::clone(&connecting).acquire_owned().await.unwrap();
        let (address, sender, counting) = (address.clone(), sender.clone(), Arc::clone(&counting));
        viewers.spawn(async move {
            let (mut socket, _) = connect_async(format!("ws://{address}/live"))
                .await
                .expect("a connection");
            socket
                .send(Message::text(r#"{"subscribe":["cluster/lab"]}"#))
                .await
                .unwrap();
            drop(permit);
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else {
                    continue;
                };
                let Some(published) = frames::published_at(&text) else {
                    continue;
                };
                let took = frames::micros() - published;
                if counting.load(Ordering::Relaxed) && sender.send((took, text.len())).is_err() {
                    return;
                }
            }
        });
    }
    let _all = connecting.acquire_many(50).await.unwrap();
    // One complete update that is not counted: buffers have reached their size afterwards.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    counting.store(true, Ordering::Relaxed);
    let mut figures = Measurements::default();
    while figures.millis.len() < VIEWERS * UPDATES {
        let (micros, bytes) = received.recv().await.unwrap();
        figures.millis.push(micros as f64 / 1_000.0);
        figures.frame = bytes;
    }
    let after = server.resident_kb();
    figures.kilobytes.push((after - before) / VIEWERS as f64);
    drop(received);
    server.stop();
    figures
}
