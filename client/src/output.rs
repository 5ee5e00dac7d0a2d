//! Where and how answers are printed.

use std::io::{IsTerminal, Write};

use clap::ArgMatches;
use serde_json::Value;

use crate::command::{ApiCommand, GivenArguments};
use crate::document_text::document_text;
use crate::error::ClientError;
use crate::safe_text::safe_json;
use crate::settings::OutputFormat;
use crate::table_text::{answer_text, sentence};

/// The format of a command's answers.
pub(crate) struct Output {
    format: OutputFormat,
}

impl Output {
    pub(crate) fn new(matches: &ArgMatches) -> Self {
        let format = match matches.get_one::<String>("output").map(String::as_str) {
            Some("json") => OutputFormat::Json,
            Some(_) => OutputFormat::Table,
            None if std::io::stdout().is_terminal() => OutputFormat::Table,
            None => OutputFormat::Json,
        };
        Self { format }
    }

    pub(crate) fn shown(
        &self,
        command: &ApiCommand,
        given: &GivenArguments,
        document: &Value,
    ) -> String {
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
