//! The store without its recorder, for `examples/view_cost.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use console_core::published::Published;
use galera::view::ClusterView;
use galera::{ClusterName, Timestamp};
use recording::{BatchWriter, RecordingError};

use crate::collector::ViewSighting;
use crate::head::SharedFrames;
use crate::reader::{self, ViewLookup};
use crate::writer::ViewWriter;

/// A store that is written and read directly.
#[derive(Debug)]
pub struct MeasuredStore {
    head: SharedFrames,
    writer: ViewWriter,
    directory: PathBuf,
}

impl MeasuredStore {
    /// Opens a store in `directory`.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(directory: &Path) -> Result<Self, RecordingError> {
        let head = SharedFrames::default();
        Ok(Self {
            writer: ViewWriter::open(directory, Arc::clone(&head))?,
            head,
            directory: directory.to_owned(),
        })
    }

    /// Writes views of the time `at`, in milliseconds since 1970. Returns the bytes of the file.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn write(&mut self, views: &[Arc<ClusterView>], at: i64) -> Result<u64, RecordingError> {
        let sightings: Vec<_> = views
            .iter()
            .map(|view| ViewSighting {
                at: Timestamp::from_unix_millis(at),
                view: Arc::new(Published::new(1, ClusterView::clone(view))),
            })
            .collect();
        Ok(self.writer.write(&sightings, at)?.bytes)
    }

    /// Reads the view of `cluster` at `at`.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn read(&self, cluster: &ClusterName, at: i64) -> Result<ViewLookup, RecordingError> {
        reader::view_at(&self.directory, &self.head, cluster, at)
    }
}
