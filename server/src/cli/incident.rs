//! `incident list|export`: incidents, read directly from etcd and from the files of this host.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ::series::{SeriesSettings, SeriesStore};
use clap::ArgMatches;
use console_core::clock::now;
use galera::publish::status_pages::Incident;
use history::{EventHistory, HistoryError};
use recorded_views::ViewStore;
use recording::RecordingError;
use registry::Registry;

use super::connect::{StateAccess, with_state};
use super::output_file::write_new;
use super::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::actions::{ActionError, read_actions};
use crate::authority::SealedState;
use crate::composition::{SERIES_DIRECTORY, VIEWS_DIRECTORY};
use crate::config::{self, ReportConfig};
use crate::incident_report::{MARGIN_MINUTES, ReportSources};
use crate::status_pages::StatusPageSnapshot;
use crate::telemetry;

/// Incidents that are listed.
const LISTED_MAX: usize = 50;

impl From<HistoryError> for CliError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Registry(error) => error.into(),
            error => Self::new(ExitReason::Internal, error),
        }
    }
}

impl From<ActionError> for CliError {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Audit(error) => error.into(),
            error => Self::new(ExitReason::Internal, error),
        }
    }
}

/// What `incident export` was asked for.
struct ExportRequest {
    id: String,
    output: String,
    margin_minutes: u16,
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((command, matches)) = matches.subcommand() else {
        return Err(CliError::new(
            ExitReason::Usage,
            "no command given; see galera-console incident --help",
        ));
    };
    let config = config::load_for_reports(&collect_inputs(matches)?)?;
    telemetry::init(&config.admin.log);
    let read = match command {
        "list" => runtime()?.block_on(with_state(config.admin, StateAccess::Read, async |state| {
            let snapshot = StatusPageSnapshot::read(&state.registry, state.state_prefix()).await?;
            Ok(table(&snapshot))
        })),
        _ => {
            let text = |name: &str| matches.get_one::<String>(name).cloned();
            let id = text("id").unwrap_or_default();
            let request = ExportRequest {
                output: text("output").unwrap_or_else(|| format!("incident-{id}.html")),
                margin_minutes: *matches.get_one("margin").unwrap_or(&MARGIN_MINUTES),
                id,
            };
            runtime()?.block_on(export(config, &request))
        }
    };
    print(&read?)
}

/// The newest incidents.
fn table(snapshot: &StatusPageSnapshot) -> String {
    let mut text = String::new();
    let incidents = snapshot.incidents.values().rev();
    for stored in incidents.take(LISTED_MAX) {
        let incident = &stored.value;
        let clusters: Vec<String> = incident.clusters.iter().map(ToString::to_string).collect();
        // Text in etcd can hold what a terminal would interpret.
        let title = incident.title.replace(char::is_control, "\u{fffd}");
        let _ = writeln!(
            text,
            "{}  {}  {:<13}  {}  {}",
            incident.id,
            incident.opened_at,
            incident.state.as_str(),
            clusters.join(","),
            title
        );
    }
    match text.is_empty() {
        true => "There are no incidents.\n".to_owned(),
        false => text,
    }
}

async fn export(config: ReportConfig, request: &ExportRequest) -> Result<String, CliError> {
    let ReportConfig {
        admin,
        data_dir,
        poll_interval,
    } = config;
    let public_url = admin.public_url.as_ref().map(ToString::to_string);
    let stores = data_dir.map(|directory| RecordedStores::open(&directory, poll_interval));
    let stores = stores.transpose()?;
    let document = with_state(admin, StateAccess::Read, async |state| {
        let incident = find(&state, &request.id).await?;
        let (registry, prefix) = (&state.registry, state.state_prefix());
        let sources = ReportSources {
            history: &EventHistory::read(registry.clone(), prefix).await?,
            trail: &state.audit_trail(),
            actions: &read_actions(registry, prefix).await?,
            views: stores.as_ref().map(|stores| &stores.views),
            series: stores.as_ref().map(|stores| &stores.series),
        };
        let collected = sources.collect(&incident, request.margin_minutes, now());
        let mut report = collected.await;
        report.missing.extend(ignored_records(registry));
        Ok(report.document(public_url.as_deref()))
    });
    let document = document.await?;
    if request.output == "-" {
        return Ok(document);
    }
    write_new(&request.output, &[document.as_bytes()])?;
    Ok(format!("{}\n", request.output))
}

/// Names the records that were left out because they do not verify.
fn ignored_records(registry: &Registry) -> Option<String> {
    let count = registry.tampered().records.len();
    (count > 0).then(|| {
        format!(
            "Records in etcd that were changed outside the console ({count}): galera-console state show names them."
        )
    })
}

async fn find(state: &SealedState, id: &str) -> Result<Incident, CliError> {
    let snapshot = StatusPageSnapshot::read(&state.registry, state.state_prefix()).await?;
    let found = snapshot
        .incidents
        .get(id)
        .map(|stored| stored.value.clone());
    found.ok_or_else(|| {
        CliError::new(
            ExitReason::Usage,
            format!("there is no incident {id:?}; galera-console incident list shows the newest"),
        )
    })
}

/// What a console on this host recorded.
struct RecordedStores {
    series: SeriesStore,
    views: ViewStore,
}

impl RecordedStores {
    fn open(data_dir: &Path, poll_interval: Duration) -> Result<Self, CliError> {
        let refused = |error: RecordingError| CliError::new(ExitReason::Usage, error);
        let settings = SeriesSettings {
            directory: data_dir.join(SERIES_DIRECTORY),
            poll_interval,
        };
        Ok(Self {
            series: SeriesStore::open(&settings).map_err(refused)?,
            views: ViewStore::open(&data_dir.join(VIEWS_DIRECTORY)).map_err(refused)?,
        })
    }
}
