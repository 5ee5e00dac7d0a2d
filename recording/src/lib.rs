//! Files of recorded data on the console's own disk: one SQLite file of each kind, with one writer.
//!
//! [`BatchRecorder`] collects items and passes them to a [`BatchWriter`] every two seconds, on a thread of its own. [`RecordingFile`]
//! is what writers write to.
//!
//! Invariants: nothing but the recorder waits for the disk. What cannot be written is lost, counted and shown on every page
//! with its remedy, and monitoring continues. A damaged file, or one of another kind or version, is never changed.

mod error;
mod file;
mod recorder;

pub use error::RecordingError;
pub use file::{FileFormat, RecordingFile, open_for_reading};
pub use recorder::{BatchOutcome, BatchRecorder, BatchWriter, RecorderNotice, RecorderState};
