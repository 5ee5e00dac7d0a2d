//! Where the console is, with which token, and how answers are printed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};

use crate::connection::ApiClient;
use crate::console_url::ConsoleUrl;
use crate::error::ClientError;
use crate::token::ApiToken;

/// The variables of the environment. `serve` ignores them, since one environment can have both.
pub const VARIABLES: &[&str] = &[URL, TOKEN, TOKEN_FILE, CA];
const URL: &str = "GALERA_CONSOLE_URL";
const TOKEN: &str = "GALERA_CONSOLE_TOKEN";
const TOKEN_FILE: &str = "GALERA_CONSOLE_TOKEN_FILE";
const CA: &str = "GALERA_CONSOLE_CA";

/// The environment of the process.
pub type Environment = BTreeMap<String, String>;

/// Seconds for one answer, if none are given.
const TIMEOUT_DEFAULT: &str = "30";

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Text for people.
    Table,
    /// The API's document.
    Json,
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help)
        .help_heading("Connection")
}

/// The options of every command that uses the API.
pub fn connection_arguments() -> Vec<Arg> {
    vec![
        option(
            "url",
            "URL",
            "Scheme, host and port of the console [GALERA_CONSOLE_URL]",
        ),
        option(
            "token-file",
            "FILE",
            "The file with the API token [GALERA_CONSOLE_TOKEN_FILE, or the token itself in GALERA_CONSOLE_TOKEN]. There is no option for the token itself: other users of the host could read it in the list of processes",
        ),
        option(
            "ca",
            "FILE",
            "Trust these authorities instead of the system's, PEM [GALERA_CONSOLE_CA]",
        ),
        option(
            "timeout",
            "SECONDS",
            "How long an answer may take, 1 to 3600",
        )
        .value_parser(clap::value_parser!(u64).range(1..=3600))
        .default_value(TIMEOUT_DEFAULT),
        Arg::new("allow-plain-http")
            .long("allow-plain-http")
            .action(ArgAction::SetTrue)
            .help("Send the token without encryption to another host, in a network that is trusted")
            .help_heading("Connection"),
    ]
}

/// The options of commands that print answers.
pub(crate) fn output_arguments() -> Vec<Arg> {
    vec![
        Arg::new("output")
            .long("output")
            .value_name("FORMAT")
            .value_parser(["table", "json"])
            .help("How answers are printed; by default table on a terminal, else json"),
    ]
}

/// Makes the client that the options and the environment describe.
///
/// # Errors
/// [`ClientError::Usage`], which names the option and the remedy.
pub fn api_client(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<ApiClient, ClientError> {
    let usage = |message: String| ClientError::Usage(message);
    let url = matches
        .get_one::<String>("url")
        .or(variable(environment, URL));
    let url = url.ok_or_else(|| {
        usage(format!(
            "no console given: set --url or {URL}, e.g. https://console.example.org"
        ))
    })?;
    let url: ConsoleUrl = url
        .parse()
        .map_err(|error| usage(format!("--url: {error}")))?;
    let token = token(matches, environment).map_err(usage)?;
    let ca = path_of(matches, "ca").or_else(|| variable(environment, CA).map(PathBuf::from));
    let seconds = matches.get_one::<u64>("timeout").copied().unwrap_or(30);
    ApiClient::new(
        url,
        token,
        ca.as_deref(),
        Duration::from_secs(seconds),
        matches.get_flag("allow-plain-http"),
    )
}

fn token(matches: &ArgMatches, environment: &Environment) -> Result<ApiToken, String> {
    if let Some(path) = path_of(matches, "token-file") {
        return ApiToken::read(&path);
    }
    match (
        variable(environment, TOKEN_FILE),
        variable(environment, TOKEN),
    ) {
        (Some(_), Some(_)) => Err(format!(
            "both {TOKEN_FILE} and {TOKEN} are set; unset one of them"
        )),
        (Some(path), None) => ApiToken::read(&PathBuf::from(path)),
        (None, Some(token)) => ApiToken::parse(token, &format!("the variable {TOKEN}")),
        (None, None) => Err(format!(
            "no API token given: set --token-file or {TOKEN_FILE}; create a token with `galera-console token add`"
        )),
    }
}

/// A variable that is set; an empty one counts as unset.
fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a String> {
    environment
        .get(name)
        .filter(|value| !value.trim().is_empty())
}

fn path_of(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one::<String>(name).map(PathBuf::from)
}
