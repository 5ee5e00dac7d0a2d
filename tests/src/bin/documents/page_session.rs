//! A page: its blocks in one shell, one after the other, with the consoles that it assumes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::agent::write_secret;
use acceptance::lab::process::{LabProcess, Program, tail};
use acceptance::lab::program;
use anyhow::{Context, Result, bail, ensure};
use testing::documents::ShellBlock;

use crate::block_table::{BlockExecution, StartingPoint, TextReplacement};
use crate::coverage::PlannedPage;
use crate::documented_host::{DocumentedHost, NODES, ReaderPasswords};
use crate::servers::{DocumentedServers, LOCAL_ETCD};

/// Longest time of a page, on a machine that also runs other tests.
const PAGE_TIMEOUT: Duration = Duration::from_secs(240);
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The password of every account.
const PASSWORD: &str = "wren-lantern-gravel-harbour";
const STATE_SECRET: &str = "6c61622d73656372657420746861742070726f7465637473206e6f7468696e67\n";
/// Lines of a failed block's output that are shown.
const SHOWN_LINES: usize = 15;

pub(crate) struct PageSession<'a> {
    host: &'a DocumentedHost,
    servers: &'a DocumentedServers,
    page: &'a PlannedPage,
    /// The reader's home and working directory, output of the blocks, logs of consoles.
    directory: PathBuf,
    /// Every page has a separate state in etcd.
    state_prefix: String,
}

impl<'a> PageSession<'a> {
    pub(crate) fn new(
        host: &'a DocumentedHost,
        servers: &'a DocumentedServers,
        page: &'a PlannedPage,
        number: usize,
    ) -> Self {
        Self {
            host,
            servers,
            page,
            directory: host.directory.join(format!("page-{number}")),
            state_prefix: format!("/page-{number}"),
        }
    }

    /// Executes the blocks.
    ///
    /// # Errors
    /// If a block exits with another status than 0, prints something else than its entry states, or the page takes too
    /// long; names the block and quotes its output.
    pub(crate) async fn run(self) -> Result<()> {
        for folder in ["", "home", "work", "output", "consoles"] {
            fs::create_dir(self.directory.join(folder))?;
        }
        // Requests that are refused fail.
        fs::write(self.directory.join("home/.curlrc"), "fail\n")?;
        let accounts = self.servers.accounts()?;
        self.host.reset(&ReaderPasswords {
            console: &accounts.console,
            agent: &accounts.agent,
        })?;
        let _consoles = self.start_consoles().await?;
        let script = self.directory.join("script");
        fs::write(&script, self.script()?)?;
        let reader = self.reader(&script)?.start()?;
        reader
            .wait(PAGE_TIMEOUT)
            .await
            .with_context(|| self.describe_last_block())?;
        let status = reader.status().context("no exit status")?;
        if !status.success() {
            bail!("{}: {status}", self.describe_last_block());
        }
        self.check_output()
    }

    /// The shell, with nothing of this process's environment.
    fn reader(&self, script: &Path) -> Result<Program> {
        let mut variables = self.host.variables()?;
        let home = self.directory.join("home").display().to_string();
        let work = self.directory.join("work").display().to_string();
        let consoles = self.directory.join("consoles").display().to_string();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, value) in [
            ("HOME", home),
            ("CONSOLES", consoles),
            ("PASSWORD", PASSWORD.to_owned()),
            ("REPOSITORY", root.canonicalize()?.display().to_string()),
            ("LAB", self.host.directory.display().to_string()),
        ] {
            variables.push((name.to_owned(), value));
        }
        if self.page.entry.starting_point != StartingPoint::NewHost {
            variables.extend(self.console_settings()?);
        }
        let log = self.directory.join("shell.log");
        Ok(Program::new(self.page.entry.page, "env", &log)
            .args(["--ignore-environment", "--chdir", &work])
            .args(
                variables
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
            .args(["bash", &script.display().to_string()]))
    }

    /// Settings of the consoles and of commands on their host, as variables.
    fn console_settings(&self) -> Result<Vec<(String, String)>> {
        let secrets = self.directory.join("secrets");
        fs::create_dir_all(&secrets)?;
        let accounts = self.servers.accounts()?;
        let mut settings = Vec::new();
        for (name, secret) in [
            ("STATE_SECRET_FILE", STATE_SECRET),
            ("MYSQL_PASSWORD_FILE", accounts.console.as_str()),
            ("RECOVERY_PASSWORD_FILE", accounts.recovery.as_str()),
        ] {
            let file = secrets.join(name);
            write_secret(&file, secret)?;
            settings.push((name, file.display().to_string()));
        }
        let members = NODES.map(|address| address.to_string()).join(",");
        let clusters =
            format!("lab={members} orders=10.0.1.1 orders-eu=10.0.1.2 stock-eu=10.0.1.3");
        let data = self.directory.join("data").display().to_string();
        settings.extend([
            ("ETCD_ENDPOINTS", LOCAL_ETCD.to_owned()),
            ("STATE_PREFIX", self.state_prefix.clone()),
            ("DATA_DIR", data),
            ("CLUSTER", clusters),
            ("RECOVERY_USER", "recovery".to_owned()),
            ("RECOVERY_TRANSPORT", "any".to_owned()),
            (
                "AUDIT_ANCHOR_FILE",
                "/var/log/galera-console/anchors".to_owned(),
            ),
            ("AUDIT_ANCHOR_ENTRIES", "1".to_owned()),
        ]);
        Ok(settings
            .into_iter()
            .map(|(name, value)| (format!("GALERA_CONSOLE_{name}"), value))
            .collect())
    }

    async fn start_consoles(&self) -> Result<Vec<LabProcess>> {
        let local: &[&str] = &["--listen", "127.0.0.1:3000"];
        let mut consoles = Vec::new();
        match self.page.entry.starting_point {
            StartingPoint::NewHost | StartingPoint::Settings => {}
            StartingPoint::Loopback => consoles.push(self.start_console("loopback", local).await?),
            StartingPoint::Https(name) => {
                let certificate = &self.host.console_certificate;
                let files = [&certificate.certificate, &certificate.key];
                let [cert, key] = files.map(|file| file.display().to_string());
                let url = format!("https://{name}");
                let arguments = ["--listen", "127.0.0.1:443", "--public-url", &url];
                let tls = ["--tls-cert", &cert, "--tls-key", &key];
                consoles.push(
                    self.start_console("https", &[&arguments[..], &tls[..]].concat())
                        .await?,
                );
            }
        }
        Ok(consoles)
    }

    async fn start_console(&self, name: &str, arguments: &[&str]) -> Result<LabProcess> {
        let log = self.directory.join(format!("{name}.log"));
        let console = Program::new(
            &format!("the console ({name})"),
            program("galera-console")?,
            &log,
        )
        .arg("serve")
        .args(arguments.iter().copied())
        .own_envs(self.console_settings()?)
        .start()?;
        let pid = self.directory.join(format!("consoles/{name}.pid"));
        fs::write(pid, console.pid().to_string())?;
        eventually("the console to listen", CONSOLE_TIMEOUT, async || {
            console.ensure_running()?;
            let text = fs::read_to_string(&log)?;
            ensure!(
                text.contains("galera-console listens on "),
                "{}",
                tail(&log, 5)
            );
            Ok(())
        })
        .await?;
        Ok(console)
    }

    fn script(&self) -> Result<String> {
        let output = self.directory.join("output");
        let mut script = format!(
            "set -euo pipefail\n. {}\n{}\n",
            self.host.functions().display(),
            self.page.entry.before
        );
        for (number, (block, execution)) in self.page.executed().enumerate() {
            let output = output.display();
            writeln!(
                script,
                "echo {number} >{output}/last\nexec >{output}/{number}.out 2>{output}/{number}.err\n{}\n{}",
                execution.before,
                executed_text(block, execution)?
            )?;
        }
        Ok(script)
    }

    fn printed(&self, number: usize, stream: &str) -> PathBuf {
        self.directory.join(format!("output/{number}.{stream}"))
    }

    /// The block that was executed last, with the end of its output.
    fn describe_last_block(&self) -> String {
        let last = fs::read_to_string(self.directory.join("output/last")).unwrap_or_default();
        let number = last.trim().parse::<usize>().ok();
        let Some((number, (block, _))) =
            number.and_then(|number| Some((number, self.page.executed().nth(number)?)))
        else {
            let log = tail(&self.directory.join("shell.log"), SHOWN_LINES);
            return format!("{}: before the first block\n{log}", self.page.entry.page);
        };
        let mut text = format!("{}:\n{}", block.place(), block.text);
        for (stream, name) in [("out", "standard output"), ("err", "standard error")] {
            let end = tail(&self.printed(number, stream), SHOWN_LINES);
            // Writing to a string cannot fail.
            let _ = write!(text, "--- {name}\n{end}\n");
        }
        text
    }

    fn check_output(&self) -> Result<()> {
        for (number, (block, execution)) in self.page.executed().enumerate() {
            let printed =
                String::from_utf8_lossy(&fs::read(self.printed(number, "out"))?).into_owned();
            for expected in execution.prints {
                ensure!(
                    printed.contains(expected),
                    "{}: it does not print {expected:?}, but:\n{printed}",
                    block.place()
                );
            }
        }
        Ok(())
    }
}

/// The text of the block with what the reader puts in.
fn executed_text(block: &ShellBlock, execution: BlockExecution) -> Result<String> {
    let mut text = block.text.clone();
    for (from, to) in execution.substitutions {
        ensure!(text.contains(from), "{}: it has no {from:?}", block.place());
        text = match to {
            TextReplacement::Text(to) => text.replace(from, to),
            TextReplacement::HoursFromNow(hours) => text.replace(from, &time_from_now(*hours)?),
        };
    }
    Ok(text)
}

fn time_from_now(hours: i64) -> Result<String> {
    let output = Command::new("date")
        .args(["--utc", "--date", &format!("{hours:+} hours"), "+%FT%TZ"])
        .output()?;
    ensure!(
        output.status.success(),
        "date does not know {hours} hours from now"
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
