//! The runtime of everything that must outlive a single test's own: proxies and traffic of a lab that tests share.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use tokio::runtime::Runtime;

/// A runtime that lives as long as this process.
///
/// # Errors
/// If the operating system gives no thread.
pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name("lab")
            .enable_all()
            .build()
    });
    runtime
        .as_ref()
        .map_err(|error| anyhow!("no runtime: {error}"))
}
