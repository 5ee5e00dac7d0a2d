//! Builds what keeps and reads the past outside etcd.

use std::sync::Arc;

use monitor::Monitor;
use recorded_views::ViewStore;
use series::{SeriesSettings, SeriesStore};

use super::{BuildError, Builder, SERIES_DIRECTORY, VIEWS_DIRECTORY};
use crate::metrics_server::MetricsServer;

impl Builder<'_> {
    /// Records figures, if there is a directory for them.
    pub(super) fn series(&self, monitor: &Monitor) -> Option<SeriesStore> {
        let settings = SeriesSettings {
            directory: self.config.data_directory.as_ref()?.join(SERIES_DIRECTORY),
            poll_interval: self.config.poll_interval,
        };
        Some(SeriesStore::start(&settings, monitor, &self.tasks))
    }

    /// Records views, if there is a directory for them.
    pub(super) fn recorded_views(&self, monitor: &Monitor) -> Option<ViewStore> {
        let directory = self.config.data_directory.as_ref()?.join(VIEWS_DIRECTORY);
        Some(ViewStore::start(&directory, monitor, &self.tasks))
    }

    /// The server that figures of long ranges are queried from, if there is one.
    pub(super) fn metrics_server(&self) -> Result<Option<Arc<MetricsServer>>, BuildError> {
        let config = self.config.metrics_server.clone();
        let server = config.map(|config| MetricsServer::new(config, self.resolver.clone()));
        let server = server.transpose().map_err(BuildError::MetricsServer)?;
        Ok(server.map(Arc::new))
    }
}
