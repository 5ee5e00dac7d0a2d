//! `order-key new|show`: the key that signs bootstrap orders.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ArgMatches;
use order_signature::{KeyFileError, OrderSigningKey, create_key_file, read_key_file};

use super::{CliError, ExitReason, print};
use crate::config::{Config, EtcdConfig};

impl From<KeyFileError> for CliError {
    fn from(error: KeyFileError) -> Self {
        let exit = if error.is_permission() {
            ExitReason::NoPermission
        } else {
            ExitReason::Usage
        };
        Self::new(exit, error)
    }
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let (command, path) = match matches.subcommand() {
        Some((command, matches)) => (command, matches.get_one::<PathBuf>("file")),
        None => ("", None),
    };
    let Some(path) = path else {
        return Err(CliError::new(
            ExitReason::Usage,
            "no command given; see galera-console order-key --help",
        ));
    };
    let key = match command {
        "new" => create_key_file(path)?,
        _ => read_key_file(path)?,
    };
    // On standard output only what belongs in the agents' file.
    let _ = writeln!(
        std::io::stderr(),
        "galera-console: order key {} in {}; the public key below belongs in ORDER_PUBLIC_KEY_FILE of every agent",
        key.public().id(),
        path.display()
    );
    print(&key.public().to_pem())
}

/// With the embedded etcd and without --order-key-file, the key is a file beside etcd's data directory, created at the
/// first start.
pub(super) fn provide_for_embedded_etcd(config: &mut Config) -> Result<(), CliError> {
    let EtcdConfig::Embedded(directory) = &config.etcd else {
        return Ok(());
    };
    if config.order_key.is_some() {
        return Ok(());
    }
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let path = directory.with_file_name(format!("{name}-order.key"));
    let key = match read_key_file(&path) {
        Err(KeyFileError::Missing { .. }) => match create(&path) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(%error, "No order key: orders to stopped clusters are unavailable");
                return Ok(());
            }
        },
        read => read?,
    };
    tracing::info!(
        key_id = key.public().id(),
        "Orders to agents are signed with {0}; `galera-console order-key show {0}` prints the public key for them",
        path.display()
    );
    config.order_key = Some(Arc::new(key));
    Ok(())
}

fn create(path: &Path) -> Result<OrderSigningKey, KeyFileError> {
    if let Some(parent) = path.parent() {
        // As the embedded etcd creates its directory.
        let mut directories = std::fs::DirBuilder::new();
        let created = directories.recursive(true).mode(0o700).create(parent);
        created.map_err(|error| KeyFileError::Io {
            path: parent.to_owned(),
            error,
        })?;
    }
    create_key_file(path)
}
