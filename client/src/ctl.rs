//! `ctl`: one command, from its arguments to what is printed.

use clap::ArgMatches;
use serde_json::Value;

use crate::answer::ApiProblem;
use crate::command::GivenArguments;
use crate::command::{ApiCommand, ArgumentPlace, CommandRun, find_command};
use crate::connection::ApiClient;
use crate::error::ClientError;
use crate::output::Output;
use crate::request::build_request;
use crate::settings::{Environment, api_client};
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
        ClientError::Refused(Box::new(ApiProblem {
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
