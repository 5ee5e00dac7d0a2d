//! `ctl`: one command, from its arguments to what is printed.

use std::io::{IsTerminal, Write};

use clap::ArgMatches;
use serde_json::Value;

use crate::answer::Refusal;
use crate::command::{ApiCommand, ArgumentPlace, CommandRun, find_command};
use crate::connection::ApiClient;
use crate::document_text::document_text;
use crate::error::ClientError;
use crate::request::{GivenArguments, build_request};
use crate::safe_text::safe_json;
use crate::settings::{Environment, OutputFormat, api_client};
use crate::table_text::{answer_text, sentence};
use crate::{wait, watch};

/// Runs the command that `matches` has.
///
/// # Errors
/// [`ClientError`], whose text is for standard error and whose exit code is [`ClientError::exit`].
pub async fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), ClientError> {
    let Some((command, given)) = find_command(matches) else {
        return Err(ClientError::Usage(
            "no command given; see galera-console ctl --help".to_owned(),
        ));
    };
    // Wrong arguments are reported before the console is asked.
    let request = build_request(command, &given)?;
    let client = api_client(matches, environment)?;
    let output = Output::new(matches);
    match command.run {
        CommandRun::Request => {
            let answer = client.send(&request).await?;
            let document = selected(command, &given, answer.document)?;
            output.print(&output.shown(command, &given, &document))
        }
        CommandRun::Wait => {
            let ended = wait::wait_for_action(&client, &request, &given).await?;
            output.print(&output.shown(command, &given, &ended))
        }
        CommandRun::Watch => watch::watch(&client, &request, &given, &output).await,
    }
}

/// Requests `command` once and returns the answer's document.
///
/// # Errors
/// As [`run`].
pub async fn request(
    client: &ApiClient,
    command: &ApiCommand,
    given: &GivenArguments,
) -> Result<Value, ClientError> {
    let request = build_request(command, given)?;
    let answer = client.send(&request).await?;
    selected(command, given, answer.document)
}

/// The member of the answer that an argument selects, or the whole answer.
fn selected(
    command: &ApiCommand,
    given: &GivenArguments,
    document: Value,
) -> Result<Value, ClientError> {
    let select = command
        .arguments
        .iter()
        .find_map(|argument| match argument.place {
            ArgumentPlace::Select(array) => Some((argument, array)),
            _ => None,
        });
    let Some((argument, array)) = select else {
        return Ok(document);
    };
    let wanted = given.get(argument.flag).and_then(|values| values.first());
    let wanted = wanted.map(String::as_str).unwrap_or_default();
    let items = document.pointer(array).and_then(Value::as_array);
    let id = |item: &Value| item.get("id").and_then(Value::as_str).map(str::to_owned);
    let ids: Vec<String> = items.into_iter().flatten().filter_map(id).collect();
    let found = items
        .into_iter()
        .flatten()
        .find(|item| id(item).as_deref() == Some(wanted));
    found.cloned().ok_or_else(|| {
        ClientError::Refused(Box::new(Refusal {
            status: 404,
            code: format!("unknown_{}", argument.name),
            title: "Not found".to_owned(),
            detail: format!(
                "there is no {} {wanted}; there are {}",
                argument.name,
                ids.join(", ")
            ),
            request_id: String::new(),
            retry_after: None,
            remedy: None,
        }))
    })
}

/// Where and how answers are printed.
pub(crate) struct Output {
    pub(crate) format: OutputFormat,
}

impl Output {
    fn new(matches: &ArgMatches) -> Self {
        let format = match matches.get_one::<String>("output").map(String::as_str) {
            Some("json") => OutputFormat::Json,
            Some(_) => OutputFormat::Table,
            None if std::io::stdout().is_terminal() => OutputFormat::Table,
            None => OutputFormat::Json,
        };
        Self { format }
    }

    fn shown(&self, command: &ApiCommand, given: &GivenArguments, document: &Value) -> String {
        match self.format {
            OutputFormat::Table => answer_text(command, given, document),
            OutputFormat::Json if document.is_null() => {
                // The API answered without a document.
                let done = sentence(command.done.unwrap_or("Done."), given, document);
                json_text(&serde_json::json!({ "message": done }))
            }
            OutputFormat::Json => json_text(document),
        }
    }

    /// Prints `text`; a reader that has gone is no error.
    pub(crate) fn print(&self, text: &str) -> Result<(), ClientError> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
                ClientError::Internal(format!("cannot write to standard output: {error}")),
            ),
            _ => Ok(()),
        }
    }

    /// Prints one change of a watch: `text`, or `line` as JSON on one line. Returns whether the reader is still there.
    pub(crate) fn print_change(&self, text: &str, line: &Value) -> Result<bool, ClientError> {
        let text = match self.format {
            OutputFormat::Table => format!("{text}\n"),
            OutputFormat::Json => format!("{}\n", safe_json(&line.to_string())),
        };
        let mut stdout = std::io::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(ClientError::Internal(format!(
                "cannot write to standard output: {error}"
            ))),
        }
    }
}

fn json_text(document: &Value) -> String {
    match serde_json::to_string_pretty(document) {
        Ok(text) => format!("{}\n", safe_json(&text)),
        // A value of text keys always serializes.
        Err(_) => document_text(document),
    }
}
