//! The server's command line: reads the settings that it results in, and builds the processes to start.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;

use super::children::Children;
use super::error::RunError;

/// Time for the server to print its variables.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of its output that are read at most.
const HELP_MAX: u64 = 4 << 20;

/// What the names of workspaces begin with; a UUID follows. Earlier agents used `galera-agent-` and lock
/// nothing: theirs stay.
const WORKSPACE_PREFIX: &str = "galera-agent-run-";

/// A private temporary directory, removed on drop, and by a later agent if this one is killed.
#[derive(Debug)]
pub(super) struct PrivateDirectory {
    path: PathBuf,
    /// Locks the directory. Child processes inherit it: a server that outlives its agent passes its options file on to the
    /// scripts of its state transfers.
    _lock: File,
}

impl PrivateDirectory {
    /// Creates a directory with mode 0700 below the system's temporary directory, and removes those of agents that were killed
    /// and whose children have ended, too.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(super) fn create() -> Result<Self, RunError> {
        let (path, lock) = locked_directory(&std::env::temp_dir())?;
        Ok(Self { path, _lock: lock })
    }

    /// The path of `name` in the directory.
    #[must_use]
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file with mode 0600.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, RunError> {
        let path = self.file(name);
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| RunError::from_io("cannot write", &path, &error))?;
        Ok(path)
    }

    /// Opens a file for a child's output.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(super) fn output(&self, name: &str) -> Result<File, RunError> {
        let path = self.file(name);
        File::create(&path).map_err(|error| RunError::from_io("cannot create", &path, &error))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // On failure the rest stays in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A new directory below `parent`, and the descriptor that locks it as long as this process or a child has it.
fn locked_directory(parent: &Path) -> Result<(PathBuf, File), RunError> {
    remove_abandoned(parent);
    let token = random_token()?;
    // Another agent removes unlocked workspaces, so it is one only once it is locked.
    let unlocked = parent.join(format!(".{WORKSPACE_PREFIX}{token}"));
    let path = parent.join(format!("{WORKSPACE_PREFIX}{token}"));
    let created = std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&unlocked)
        .and_then(|()| lock(&unlocked))
        .and_then(|lock| std::fs::rename(&unlocked, &path).map(|()| lock));
    match created {
        Ok(lock) => Ok((path, lock)),
        Err(error) => {
            let _ = std::fs::remove_dir(&unlocked);
            Err(RunError::from_io("cannot create", &path, &error))
        }
    }
}

/// Locks `directory` for this process and the children that it starts.
///
/// # Errors
/// If it cannot be opened, or another process has locked it.
pub(crate) fn lock(directory: &Path) -> io::Result<File> {
    let lock = File::open(directory)?;
    lock.try_lock()?;
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())?;
    Ok(lock)
}

/// Removes workspaces that no process holds. What cannot be read or removed belongs to another user and stays.
fn remove_abandoned(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_workspace = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(WORKSPACE_PREFIX))
            .is_some_and(|token| uuid::Uuid::try_parse(token).is_ok());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_workspace
            && is_directory
            && File::open(entry.path()).is_ok_and(|directory| directory.try_lock().is_ok())
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A random UUID as text.
///
/// # Errors
/// If `/proc/sys/kernel/random/uuid` cannot be read.
pub(super) fn random_token() -> Result<String, RunError> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let text = std::fs::read_to_string(path)
        .map_err(|error| RunError::from_io("cannot read", path, &error))?;
    Ok(text.trim().to_owned())
}

/// The server's variables that the agent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerVariables {
    pub(super) datadir: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) port: u16,
    pub(super) sst_method: String,
    /// Settings of directories outside `datadir` that hold data, each with its value.
    pub(super) outside_datadir: Vec<String>,
}

/// The server's program and arguments, as given after `--`.
#[derive(Clone, Debug)]
pub(super) struct ServerCommand {
    program: OsString,
    /// `--no-defaults` or `--defaults-file=…`, which must be the first argument.
    leading: Option<String>,
    arguments: Vec<String>,
    extra_file: Option<PathBuf>,
}

impl ServerCommand {
    /// Parses the words after `--`.
    ///
    /// # Errors
    /// If there is none, or one is not valid UTF-8.
    pub(super) fn new(words: &[OsString]) -> Result<Self, RunError> {
        let Some((program, rest)) = words.split_first() else {
            return Err(RunError::Refused(
                "no server command given; use: galera-agent run -- mariadbd".to_owned(),
            ));
        };
        let mut arguments = Vec::new();
        for word in rest {
            let text = word.to_str().ok_or_else(|| {
                RunError::Refused(format!("the argument {} is not UTF-8 text", word.display()))
            })?;
            arguments.push(text.to_owned());
        }
        let is_first = |argument: &String| {
            argument == "--no-defaults"
                || argument.starts_with("--defaults-file=")
                || argument.starts_with("--defaults-extra-file=")
        };
        let first = arguments.first().is_some_and(is_first);
        Ok(Self {
            program: program.clone(),
            leading: first.then(|| arguments.remove(0)),
            arguments,
            extra_file: None,
        })
    }

    /// Makes the server read `lines` from a private file, for settings that must not be visible as arguments.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn with_private_settings(
        mut self,
        workspace: &PrivateDirectory,
        lines: &str,
    ) -> Result<Self, RunError> {
        let before = match self
            .leading
            .as_deref()
            .and_then(|first| first.split_once('='))
        {
            Some((_, path)) => format!("!include {path}\n"),
            None => String::new(),
        };
        let text = format!("{before}[mysqld]\n{lines}\n");
        self.extra_file = Some(workspace.write("server.cnf", &text)?);
        Ok(self)
    }

    /// Adds `line` to the group `group` of the private file, for programs that the server starts.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn with_private_group(
        mut self,
        workspace: &PrivateDirectory,
        group: &str,
        line: &str,
    ) -> Result<Self, RunError> {
        if self.extra_file.is_none() {
            self = self.with_private_settings(workspace, "")?;
        }
        let path = workspace.file("server.cnf");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| RunError::from_io("cannot read", &path, &error))?;
        workspace.write("server.cnf", &format!("{text}[{group}]\n{line}\n"))?;
        Ok(self)
    }

    fn leading_argument(&self) -> Option<String> {
        let Some(file) = &self.extra_file else {
            return self.leading.clone();
        };
        let extra = match &self.leading {
            Some(first) => first.starts_with("--defaults-extra-file="),
            None => true,
        };
        let name = if extra {
            "--defaults-extra-file"
        } else {
            "--defaults-file"
        };
        Some(format!("{name}={}", file.display()))
    }

    /// The server with all its arguments.
    #[must_use]
    pub(super) fn server_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.leading_argument()).args(&self.arguments);
        command.stdin(Stdio::null());
        command
    }

    /// `program` with the arguments that affect the data format.
    #[must_use]
    pub(super) fn installer_command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let concerns_data = |argument: &&String| {
            let name = argument.trim_start_matches('-').replace('_', "-");
            let other = [
                "wsrep",
                "log-error",
                "datadir",
                "tmpdir",
                "socket",
                "pid-file",
            ];
            !other.iter().any(|prefix| name.starts_with(prefix))
        };
        command
            .args(self.leading.as_ref())
            .args(self.arguments.iter().filter(concerns_data))
            .stdin(Stdio::null());
        command
    }

    /// Reads the variables that the server would use, without starting it.
    ///
    /// # Errors
    /// [`RunError::Unavailable`] if it cannot be run, [`RunError::Refused`] if its configuration is invalid.
    pub(super) async fn query_variables(
        &self,
        children: &Children,
        workspace: &PrivateDirectory,
    ) -> Result<ServerVariables, RunError> {
        let mut command = self.server_command();
        command
            // Some SST methods require an address, even an empty one.
            .args(["--verbose", "--help", "--wsrep-cluster-address=gcomm://"])
            .stdout(workspace.output("help")?)
            .stderr(workspace.output("help.log")?);
        let mut child = children
            .spawn_helper(&mut command)
            .map_err(|error| self.not_runnable(&error))?;
        let ended = timeout(QUERY_TIMEOUT, child.wait()).await.map_err(|_| {
            RunError::Unavailable(format!(
                "{} did not print its variables within {} s",
                self.name(),
                QUERY_TIMEOUT.as_secs()
            ))
        })?;
        let help = read_output(&workspace.file("help"))?;
        if !ended.is_success() {
            let log = read_output(&workspace.file("help.log"))?;
            return Err(RunError::Refused(format!(
                "{} rejected its configuration ({ended}): {}",
                self.name(),
                last_error(&log)
            )));
        }
        parse_variables(&help)
    }

    fn not_runnable(&self, error: &io::Error) -> RunError {
        RunError::Unavailable(format!("{} cannot be run: {error}", self.name()))
    }

    /// The program's name, for messages.
    #[must_use]
    pub(super) fn name(&self) -> String {
        self.program.display().to_string()
    }
}

fn read_output(path: &Path) -> Result<String, RunError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HELP_MAX).read_to_end(&mut bytes))
        .map_err(|error| RunError::from_io("cannot read", path, &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last line of a log that contains an error and its cause, otherwise the last line.
#[must_use]
pub(super) fn last_error(log: &str) -> String {
    let mut lines = log.lines().rev().filter(|line| !line.trim().is_empty());
    let last = lines.clone().next().unwrap_or("no output");
    // A server that aborts logs so last; a line before names the cause.
    let names_cause =
        |line: &&str| line.contains("ERROR") && !line.trim_end().ends_with("Aborting");
    let line = lines.find(names_cause).unwrap_or(last);
    line.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

/// Parses the table of variables at the end of `--verbose --help`.
fn parse_variables(help: &str) -> Result<ServerVariables, RunError> {
    let table = help.split_once("\n---").map_or("", |(_, table)| table);
    let value = |name: &str| {
        table.lines().find_map(|line| {
            let (found, value) = line.split_once(char::is_whitespace)?;
            (found == name).then(|| value.trim())
        })
    };
    let text = |name: &str| {
        value(name)
            .filter(|value| !value.is_empty() && *value != "(No default value)")
            .ok_or_else(|| {
                RunError::Refused(format!(
                    "{name} is not set in the server's configuration; set it"
                ))
            })
    };
    let off = |value: Option<&str>| matches!(value, Some("FALSE" | "none" | "(No default value)"));
    if off(value("wsrep-on")) || off(value("wsrep-provider")) {
        return Err(RunError::Refused(
            "the server is configured without Galera; set wsrep_on=ON and wsrep_provider"
                .to_owned(),
        ));
    }
    let port = text("port")?;
    Ok(ServerVariables {
        datadir: text("datadir")?.into(),
        socket: text("socket")?.into(),
        port: port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| RunError::Refused(format!("the server's port {port:?} is invalid")))?,
        sst_method: value("wsrep-sst-method").unwrap_or("rsync").to_owned(),
        outside_datadir: outside_datadir(text("datadir")?, value),
    })
}

/// The settings of directories that hold data outside `datadir`, each with its value. Relative ones are inside.
fn outside_datadir<'t>(datadir: &str, value: impl Fn(&str) -> Option<&'t str>) -> Vec<String> {
    let names = [
        "innodb-data-home-dir",
        "innodb-log-group-home-dir",
        "innodb-undo-directory",
        "aria-log-dir-path",
    ];
    let outside = |name: &&str| {
        let path = Path::new(value(name)?);
        let is_outside = path.is_absolute() && !path.starts_with(datadir);
        is_outside.then(|| format!("{name} {}", path.display()))
    };
    names.iter().filter_map(outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> ServerCommand {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        ServerCommand::new(&words).unwrap()
    }

    fn arguments(command: &Command) -> Vec<String> {
        let words = command
            .get_args()
            .map(|word| word.to_str().unwrap().to_owned());
        words.collect()
    }

    #[test]
    fn the_workspace_of_a_killed_agent_is_removed_once_its_children_have_ended() {
        let parent = tempfile::tempdir().unwrap();
        let (killed, lock) = locked_directory(parent.path()).unwrap();
        std::fs::write(killed.join("server.cnf"), "port=1").unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        // As the kernel does when the agent is killed.
        drop(lock);

        let (running, _held) = locked_directory(parent.path()).unwrap();
        assert!(killed.exists(), "its child may still read it");
        drop(child.stdin.take());
        child.wait().unwrap();
        // Such as a person may make.
        let others = ["galera-agent-run-notes", "galera-agent-backup"];
        let others = others.map(|name| parent.path().join(name));
        others
            .iter()
            .for_each(|path| std::fs::create_dir(path).unwrap());
        let (next, _held_too) = locked_directory(parent.path()).unwrap();
        assert!(!killed.exists());
        assert!(running.exists() && next.exists());
        assert!(others.iter().all(|path| path.exists()));
    }

    #[test]
    fn private_settings_replace_or_extend_the_defaults() {
        for (given, expected) in [
            (&["m", "--port=1"][..], "--defaults-extra-file="),
            (&["m", "--no-defaults", "--port=1"], "--defaults-file="),
            (&["m", "--defaults-file=/x", "--port=1"], "--defaults-file="),
            (
                &["m", "--defaults-extra-file=/x", "--port=1"],
                "--defaults-extra-file=",
            ),
        ] {
            let workspace = PrivateDirectory::create().unwrap();
            let command = command(given)
                .with_private_settings(&workspace, "a=b")
                .unwrap();
            let words = arguments(&command.server_command());
            assert!(words[0].starts_with(expected), "{words:?}");
            assert_eq!(words[1..], ["--port=1"]);
            let text = std::fs::read_to_string(workspace.file("server.cnf")).unwrap();
            assert_eq!(
                text.contains("!include /x"),
                given.len() > 2 && given[1] != "--no-defaults"
            );
            assert!(text.ends_with("[mysqld]\na=b\n"), "{text}");
            command
                .with_private_group(&workspace, "sst", "cpat=x")
                .unwrap();
            let text = std::fs::read_to_string(workspace.file("server.cnf")).unwrap();
            assert!(text.ends_with("a=b\n[sst]\ncpat=x\n"), "{text}");
        }
    }

    #[test]
    fn the_installer_gets_only_data_arguments() {
        let command = command(&[
            "mariadbd",
            "--no-defaults",
            "--innodb-page-size=8k",
            "--wsrep_on=ON",
            "--log-error=x",
        ]);
        assert_eq!(
            arguments(&command.installer_command("i")),
            ["--no-defaults", "--innodb-page-size=8k"]
        );
        assert!(ServerCommand::new(&[]).is_err());
    }

    #[test]
    fn reads_the_servers_variables() {
        let table = |on: &str| {
            format!(
                "mariadbd  Ver 10\n\nVariables (--variable-name=value)\n-----\ndatadir  /d/ \nsocket /s\nport 3307\n\
                 innodb-undo-directory /undo\ninnodb-log-group-home-dir ./\naria-log-dir-path /d/aria\nwsrep-on {on}\nwsrep-provider /p.so\nwsrep-sst-method mariabackup\n"
            )
        };
        let read = parse_variables(&table("TRUE")).unwrap();
        assert_eq!((read.port, read.sst_method.as_str()), (3307, "mariabackup"));
        assert_eq!(read.datadir, Path::new("/d/"));
        assert_eq!(read.outside_datadir, ["innodb-undo-directory /undo"]);
        let wrong = parse_variables(&table("FALSE")).unwrap_err();
        assert!(wrong.to_string().contains("wsrep_on=ON"), "{wrong}");
        assert!(parse_variables("").is_err());
    }
}
