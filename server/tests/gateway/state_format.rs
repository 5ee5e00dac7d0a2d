//! A state that consoles of several versions use: what an earlier one would find, and what this one does with a newer format.

use std::path::Path;

use console_core::keyspace::{self, protection};
use console_core::state_format::{STATE_FORMAT, StateFormat};
use console_core::state_secret::{generate_file, read_file};
use galera_console::authority::SealedState;
use galera_console::config::StateSecretConfig;
use registry::Registry;
use serde_json::Value;

use crate::etcd::{TestEtcd, eventually};
use crate::first_edition::recorded;
use crate::test_console::{ConsoleOptions, STATE_PREFIX, TestConsole};

fn secret_in(folder: &Path) -> StateSecretConfig {
    let file = folder.join("state-secret");
    if !file.exists() {
        generate_file(&file).unwrap();
    }
    StateSecretConfig {
        secrets: Some(read_file(&file).unwrap()),
        file,
        migration: Default::default(),
        seen_records: None,
    }
}

fn options(secret: &Path) -> ConsoleOptions {
    ConsoleOptions {
        state_secret: Some(secret_in(secret)),
        ..ConsoleOptions::default()
    }
}

fn newer(format: u32, needs: u32) -> StateFormat {
    StateFormat {
        format,
        needs,
        version: "9.9.9".to_owned(),
        ..StateFormat::of_this_version()
    }
}

async fn store(registry: &Registry, format: &StateFormat) {
    let value = serde_json::to_vec(format).unwrap();
    let key = keyspace::state_format(STATE_PREFIX);
    registry.put(key, value, None).await.unwrap();
}

async fn stored(registry: &Registry) -> StateFormat {
    let key = keyspace::state_format(STATE_PREFIX);
    let entry = registry.get(key).await.unwrap().unwrap();
    serde_json::from_slice(&entry.value).unwrap()
}

/// All keys and values, as etcd has them.
async fn everything(registry: &Registry) -> Vec<(Vec<u8>, Vec<u8>)> {
    let listing = registry.unsealed().list(STATE_PREFIX).await.unwrap();
    let entries = listing.entries.into_iter().filter(|entry| entry.lease == 0);
    entries.map(|entry| (entry.key, entry.value)).collect()
}

/// Version 0.1 reads JSON of its own records only: after the upgrade none of them has a member that it requires.
#[tokio::test]
async fn an_earlier_console_cannot_misread_what_this_one_has_sealed() {
    let etcd = TestEtcd::in_memory();
    let registry = etcd.registry();
    for (key, text) in recorded("records") {
        registry.put(key, text, None).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let console = TestConsole::start_with(&etcd, options(folder.path())).await;
    let found = stored(&console.registry).await;
    assert_eq!(
        (found.format, found.version.as_str()),
        (STATE_FORMAT, env!("CARGO_PKG_VERSION"))
    );
    let mut compared = 0;
    for (key, text) in recorded("records") {
        let Ok(Value::Object(before)) = serde_json::from_str(text) else {
            continue;
        };
        if protection(STATE_PREFIX, key.as_bytes()).is_none() {
            continue;
        }
        let entry = registry.get(key).await.unwrap().unwrap();
        compared += 1;
        if let Ok(Value::Object(after)) = serde_json::from_slice(&entry.value) {
            // Heads of the history have a member that is named as that of the seal, beside others.
            let shared: Vec<_> = after
                .keys()
                .filter(|name| *name != "sealed" && before.contains_key(*name))
                .collect();
            assert!(shared.is_empty(), "{key} could be misread: {shared:?}");
        }
    }
    assert!(compared > 30, "{compared}");
}

#[tokio::test]
async fn a_console_refuses_a_state_that_it_would_misread_and_changes_nothing() {
    let etcd = TestEtcd::in_memory();
    let folder = tempfile::tempdir().unwrap();
    let console = TestConsole::start_with(&etcd, options(folder.path())).await;
    store(
        &console.registry,
        &newer(STATE_FORMAT + 1, STATE_FORMAT + 1),
    )
    .await;
    drop(console);
    let before = everything(&etcd.registry()).await;
    for secret in [Some(secret_in(folder.path())), None] {
        let state = SealedState::new(etcd.registry(), STATE_PREFIX, secret.as_ref(), "old");
        let state = state.unwrap();
        for refused in [state.establish().await, state.check().await] {
            let error = refused.unwrap_err();
            assert!(!error.is_transient());
            // Without the secret, that is what is missing first.
            if secret.is_some() {
                let text = error.to_string();
                assert!(
                    text.contains("9.9.9") && text.contains(env!("CARGO_PKG_VERSION")),
                    "{text}"
                );
            }
        }
    }
    assert_eq!(everything(&etcd.registry()).await, before);
}

#[tokio::test]
async fn a_running_console_stops_writing_when_a_newer_one_changes_the_format() {
    let etcd = TestEtcd::in_memory();
    let folder = tempfile::tempdir().unwrap();
    let console = TestConsole::start_with(&etcd, options(folder.path())).await;
    console
        .add_user("ada", &[galera::access::Role::Admin])
        .await;
    let ada = console.sign_in("ada").await;

    // One that only adds something: both run beside each other, and nothing is lowered.
    let beside = newer(STATE_FORMAT + 1, STATE_FORMAT);
    store(&console.registry, &beside).await;
    let replica = TestConsole::start_with(&etcd, options(folder.path())).await;
    assert_eq!(stored(&replica.registry).await, beside);
    assert_eq!(console.anonymous().get("/readyz").await.status, 200);
    drop(replica);

    store(
        &console.registry,
        &newer(STATE_FORMAT + 1, STATE_FORMAT + 1),
    )
    .await;
    eventually("the console is not ready", async || {
        console.anonymous().get("/readyz").await.status == 503
    })
    .await;
    let page = ada.get("/api/v1/clusters").await;
    assert!(page.text().contains("9.9.9"), "{}", page.text());
    let before = everything(&etcd.registry()).await;
    let refused = console.registry.put("/state/users/eve", "{}", None).await;
    let refused = refused.unwrap_err();
    assert!(
        refused.is_transient() && refused.to_string().contains("newer console"),
        "{refused}"
    );
    assert_eq!(everything(&etcd.registry()).await, before);
}

#[tokio::test]
async fn a_forged_format_is_named_and_stops_no_console() {
    let etcd = TestEtcd::in_memory();
    let folder = tempfile::tempdir().unwrap();
    drop(TestConsole::start_with(&etcd, options(folder.path())).await);
    store(&etcd.registry(), &newer(99, 99)).await;
    let console = TestConsole::start_with(&etcd, options(folder.path())).await;
    let key = keyspace::state_format(STATE_PREFIX);
    eventually("the record is named", async || {
        let tampered = console.registry.tampered();
        tampered.records.iter().any(|record| record.key == key)
    })
    .await;
}
