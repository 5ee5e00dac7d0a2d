//! Export of traces and metrics by OTLP, in builds with the feature `otlp`.

use console_core::resolver::Resolver;
use galera::ReplicaId;
use prometheus_client::registry::Registry;

use super::SpanLayer;

#[cfg(feature = "otlp")]
use std::sync::Arc;

/// Makes the text of all metrics, in pieces.
pub type MetricsSource = Box<dyn Fn() -> Box<dyn Iterator<Item = String> + Send> + Send + Sync>;

/// The settings of the export by OTLP.
#[cfg(feature = "otlp")]
pub type OtlpConfig = otlp_export::OtlpSettings;

/// There are none in a build without the feature.
#[cfg(not(feature = "otlp"))]
#[derive(Clone, Copy, Debug)]
pub enum OtlpConfig {}

/// Counts of the export for `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct ExportMetrics {
    #[cfg(feature = "otlp")]
    counts: Option<Arc<otlp_export::ExportCounts>>,
}

impl ExportMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        #[cfg(feature = "otlp")]
        if let Some(counts) = &self.counts {
            counts.register(registry);
        }
        #[cfg(not(feature = "otlp"))]
        let _ = registry;
    }
}

/// The export of a process that is starting: spans are collected already.
#[derive(Debug, Default)]
pub struct TelemetryExport {
    #[cfg(feature = "otlp")]
    prepared: Option<otlp_export::PreparedExport>,
}

/// A running export.
#[derive(Debug, Default)]
pub struct RunningExport {
    #[cfg(feature = "otlp")]
    running: Option<otlp_export::RunningExport>,
}

#[cfg(feature = "otlp")]
impl TelemetryExport {
    /// Prepares the export of `config` for the process `replica`, with the layer of the log that collects spans.
    #[must_use]
    pub fn prepare(config: Option<&OtlpConfig>, replica: &ReplicaId) -> (Self, Option<SpanLayer>) {
        let Some(mut settings) = config.cloned() else {
            return (Self::default(), None);
        };
        replica.as_str().clone_into(&mut settings.resource.instance);
        let (prepared, layer) = otlp_export::PreparedExport::new(settings);
        prepared.continue_traces();
        let export = Self {
            prepared: Some(prepared),
        };
        (export, Some(layer))
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> ExportMetrics {
        let counts = self
            .prepared
            .as_ref()
            .map(otlp_export::PreparedExport::counts);
        ExportMetrics { counts }
    }

    /// Begins to send, on the current runtime: what was collected, and the metrics of `source`.
    ///
    /// # Errors
    /// When the file of the authority cannot be read.
    pub fn start(self, resolver: Resolver, source: MetricsSource) -> Result<RunningExport, String> {
        let Some(prepared) = self.prepared else {
            return Ok(RunningExport::default());
        };
        Ok(RunningExport {
            running: Some(prepared.start(resolver, source)?),
        })
    }
}

#[cfg(not(feature = "otlp"))]
impl TelemetryExport {
    /// No export: the configuration has none.
    #[must_use]
    pub fn prepare(_: Option<&OtlpConfig>, _: &ReplicaId) -> (Self, Option<SpanLayer>) {
        (Self::default(), None)
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> ExportMetrics {
        ExportMetrics::default()
    }

    /// Does nothing.
    ///
    /// # Errors
    /// None.
    pub fn start(self, _: Resolver, _: MetricsSource) -> Result<RunningExport, String> {
        Ok(RunningExport::default())
    }
}

impl RunningExport {
    /// Sends what is queued, for a few seconds at most, and ends.
    pub async fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(running) = self.running {
            running.finish().await;
        }
    }
}
