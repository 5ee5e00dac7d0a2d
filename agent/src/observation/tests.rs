use galera::observe::observation::ProbeErrorKind;

use super::*;

fn responding(state: &str, comment: &str, cluster: &str, ready: &str) -> ServerState {
    let rows = [
        ("WSREP_LOCAL_STATE", state),
        ("wsrep_local_state_comment", comment),
        ("wsrep_cluster_status", cluster),
        ("wsrep_cluster_size", "3"),
        ("wsrep_ready", ready),
        ("wsrep_protocol_version", "10"),
    ];
    let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ServerState::Unknown.after_probe(Ok(StatusReading::from_rows(&rows)))
}

/// A Synced server with a variable set.
fn synced_with(name: &str, value: &str) -> ServerState {
    let rows = [
        ("wsrep_local_state", "4"),
        ("wsrep_local_state_comment", "Synced"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_ready", "ON"),
        (name, value),
    ];
    let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ServerState::Unknown.after_probe(Ok(StatusReading::from_rows(&rows)))
}

/// The same function that the console judges by.
#[test]
fn a_server_that_refuses_clients_is_not_healthy() {
    for (name, value, healthy) in [
        ("wsrep_reject_queries", "ALL", false),
        ("wsrep_reject_queries", "ALL_KILL", false),
        ("wsrep_reject_queries", "NONE", true),
        ("wsrep_on", "OFF", false),
        ("offline_mode", "ON", false),
        ("pxc_maint_mode", "MAINTENANCE", false),
        ("pxc_maint_mode", "DISABLED", true),
        ("wsrep_desync", "ON", true),
    ] {
        let available = AvailabilityPolicy {
            donor: false,
            read_only: true,
        };
        let (answer, line) = synced_with(name, value).health(&available);
        assert_eq!(answer, healthy, "{name}={value}: {line}");
        assert!(healthy || line.contains(name), "{line}");
    }
}

fn refused() -> ProbeError {
    ProbeError {
        kind: ProbeErrorKind::Refused,
        message: "connection refused".to_owned(),
    }
}

#[test]
fn only_a_synced_ready_primary_server_is_healthy() {
    for (server, healthy, line) in [
        (responding("4", "Synced", "Primary", "ON"), true, "Synced"),
        (
            responding("4", "Synced", "Primary", "OFF"),
            false,
            "Synced, but wsrep_ready is OFF: every query fails with error 1047",
        ),
        (
            responding("4", "Synced", "non-Primary", "ON"),
            false,
            "Synced, non-Primary, 3 members",
        ),
        (
            responding("2", "Donor/Desynced", "Primary", "ON"),
            false,
            "Donor/Desynced, Primary, 3 members",
        ),
        (
            responding("0", "Initialized", "non-Primary", "OFF"),
            false,
            "Initialized, non-Primary, 3 members",
        ),
        (responding("", "", "", ""), false, ", , 3 members"),
        (
            ServerState::Unknown.after_probe(Err(refused())),
            false,
            "connection refused",
        ),
        (
            ServerState::Unknown,
            false,
            "the server has not been probed yet",
        ),
    ] {
        assert_eq!(
            server.health(&AvailabilityPolicy::default()),
            (healthy, line.to_owned())
        );
    }
}

#[test]
fn donors_and_read_only_servers_are_healthy_if_configured() {
    let donor = responding("2", "Donor/Desynced", "Primary", "ON");
    let read_only = synced_with("read_only", "ON");
    let healthy = |server: &ServerState, donor, read_only| {
        server.health(&AvailabilityPolicy { donor, read_only }).0
    };
    assert!(healthy(&donor, true, false) && !healthy(&donor, false, true));
    assert!(healthy(&read_only, false, true) && !healthy(&read_only, true, false));
    let apart = responding("2", "Donor/Desynced", "non-Primary", "ON");
    assert!(!healthy(&apart, true, true));
}

#[test]
fn a_notification_applies_until_the_next_probe() {
    let event = |status| WsrepEvent::from_arguments(["--status", status]);
    let running = responding("4", "Synced", "Primary", "ON");
    let notified = running.after_event(&event("donor"));
    assert_eq!(
        notified.fields()["wsrep_local_state_comment"],
        "Donor/Desynced"
    );
    assert_eq!(
        running.after_event(&event("connected")).fields(),
        running.fields()
    );
    // The status may lag behind a notification, but only until one probe has returned another state.
    let joining = responding("1", "Joining: receiving State Transfer", "Primary", "OFF");
    let read = |server: &ServerState| match server {
        ServerState::Responding { reading, .. } => reading.as_ref().clone(),
        _ => panic!("{server:?}"),
    };
    let joined = joining
        .after_event(&event("joined"))
        .after_probe(Ok(read(&joining)));
    assert_eq!(joined.fields()["wsrep_local_state_comment"], "Joined");
    let synced = joined.after_probe(Ok(read(&running)));
    assert_eq!(synced.fields()["wsrep_local_state_comment"], "Synced");
    let again = synced.after_probe(Ok(read(&joining)));
    assert_ne!(again.fields()["wsrep_local_state_comment"], "Joined");
    let offline = |phase| {
        ServerState::Offline(Box::new(OfflineStatus {
            phase,
            recovered_position: None,
            members_seen: None,
            held: None,
            state_comment: None,
            message: "waiting".to_owned(),
            since: Timestamp::default(),
        }))
    };
    let joined = offline(AgentPhase::Starting).after_event(&event("joined"));
    assert_eq!(joined.phase(), AgentPhase::Joining);
    assert_eq!(joined.fields()["wsrep_local_state_comment"], "Joined");
    // A failed probe changes nothing while the server joins; after a stop request notifications are ignored.
    assert_eq!(joined.after_probe(Err(refused())).fields(), joined.fields());
    let stopping = offline(AgentPhase::Stopping).after_event(&event("synced"));
    assert_eq!(
        stopping.fields(),
        BTreeMap::from([("phase", "stopping".to_owned())])
    );
}

#[tokio::test(start_paused = true)]
async fn a_notification_of_an_unreachable_server_expires() {
    let event = |status| WsrepEvent::from_arguments(["--status", status]);
    let unreachable = responding("4", "Synced", "Primary", "ON").after_probe(Err(refused()));
    for server in [unreachable, ServerState::Unknown] {
        let notified = server.after_event(&event("joined"));
        let expected = [
            ("phase", "joining"),
            ("wsrep_local_state_comment", "Joined"),
        ];
        let expected = expected.map(|(name, value)| (name, value.to_owned()));
        assert_eq!(notified.fields(), BTreeMap::from(expected));
        assert_eq!(
            notified.after_probe(Err(refused())).fields(),
            notified.fields()
        );
        assert!(!notified.health(&AvailabilityPolicy::default()).0);
        let unreachable = server.after_probe(Err(refused())).fields();
        tokio::time::advance(STATUS_MAX_AGE).await;
        // The server may have died since the notification.
        assert_eq!(notified.after_probe(Err(refused())).fields(), unreachable);
    }
    assert_eq!(
        ServerState::Unknown
            .after_event(&event("connected"))
            .fields(),
        ServerState::Unknown.fields()
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_status_is_unhealthy() {
    let server = responding("4", "Synced", "Primary", "ON");
    tokio::time::advance(STATUS_MAX_AGE + Duration::from_secs(1)).await;
    assert_eq!(
        server.health(&AvailabilityPolicy::default()),
        (false, "the last successful probe was 7 s ago".to_owned())
    );
}

#[test]
fn phase_follows_the_server_state() {
    let running = responding("4", "Synced", "Primary", "ON");
    for (server, phase) in [
        (ServerState::Unknown, AgentPhase::Starting),
        (
            ServerState::Unknown.after_probe(Err(refused())),
            AgentPhase::Starting,
        ),
        (
            responding("1", "Joining: receiving State Transfer", "Primary", "OFF"),
            AgentPhase::Joining,
        ),
        (
            responding("3", "Joined", "Primary", "ON"),
            AgentPhase::Joining,
        ),
        (
            responding("0", "Initialized", "non-Primary", "OFF"),
            AgentPhase::Running,
        ),
        (running.after_probe(Err(refused())), AgentPhase::Waiting),
        (
            running
                .after_probe(Err(refused()))
                .after_probe(Err(refused())),
            AgentPhase::Waiting,
        ),
        (running, AgentPhase::Running),
    ] {
        assert_eq!(server.phase(), phase, "{server:?}");
    }
}

#[test]
fn an_unreachable_server_has_no_status_fields() {
    let running = responding("4", "Synced", "Primary", "ON");
    let keys: Vec<_> = running.fields().into_keys().collect();
    let expected = [
        "phase",
        "wsrep_cluster_size",
        "wsrep_cluster_status",
        "wsrep_local_state_comment",
    ];
    assert_eq!(
        keys, expected,
        "only published variables, with lower-case names"
    );
    let unreachable = running.after_probe(Err(refused())).fields();
    assert_eq!(
        unreachable,
        BTreeMap::from([("phase", "waiting".to_owned())])
    );
}

#[tokio::test(start_paused = true)]
async fn i42_a_frozen_primary_is_published_and_answered_as_what_it_is() {
    let rows = |weight: &str, queue: &str| {
        let rows = [
            ("wsrep_local_state", "4"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_cluster_conf_id", "7"),
            ("wsrep_cluster_size", "3"),
            ("wsrep_incoming_addresses", "n1:3306,n2:3306,n3:3306"),
            ("wsrep_cluster_weight", weight),
            ("wsrep_evs_state", "OPERATIONAL"),
            ("wsrep_local_recv_queue", queue),
            ("wsrep_provider_options", "pc.weight = 1; "),
            ("wsrep_last_committed", "36"),
        ];
        let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(StatusReading::from_rows(&rows))
    };
    let policy = AvailabilityPolicy::default();
    // During a view change every member contradicts its group for a moment.
    let server = ServerState::Unknown.after_probe(rows("0", "1"));
    assert!(server.health(&policy).0);
    tokio::time::advance(FROZEN_AFTER).await;
    let frozen = server.after_probe(rows("0", "1"));
    let (healthy, reason) = frozen.health(&policy);
    assert!(!healthy && reason.contains("UNLOCK TABLES"), "{reason}");
    let fields = frozen.fields();
    assert_eq!(fields["wsrep_cluster_status"], "non-Primary");
    assert_eq!(fields["wsrep_local_state_comment"], "Initialized");
    assert_eq!(fields["wsrep_last_committed"], "36");
    assert!(
        !fields.contains_key("wsrep_incoming_addresses"),
        "{fields:?}"
    );
    assert!(fields["waiting_for"].contains("frozen"), "{fields:?}");
    // As long as the lock lasts, and not longer.
    tokio::time::advance(FROZEN_AFTER).await;
    let frozen = frozen.after_probe(rows("0", "2"));
    assert!(!frozen.health(&policy).0);
    let released = frozen.after_probe(rows("3", "0"));
    assert!(released.health(&policy).0);
    assert!(!released.fields().contains_key("waiting_for"));
    // An interruption begins the observation again.
    let before = ServerState::Unknown.after_probe(rows("0", "1"));
    tokio::time::advance(FROZEN_AFTER).await;
    let interrupted = before.after_probe(Err(refused()));
    assert!(interrupted.after_probe(rows("0", "1")).health(&policy).0);
}

#[test]
fn a_server_that_denies_access_is_known_to_run() {
    let denied = ProbeError {
        kind: ProbeErrorKind::AccessDenied,
        message: "the server runs, but denies access".to_owned(),
    };
    let offline = |phase| {
        ServerState::Offline(Box::new(OfflineStatus {
            phase,
            recovered_position: None,
            members_seen: None,
            held: None,
            state_comment: None,
            message: "joining".to_owned(),
            since: Timestamp::default(),
        }))
    };
    let joining = offline(AgentPhase::Joining);
    assert_eq!(
        joining.after_probe(Err(refused())).fields(),
        joining.fields()
    );
    let server = joining.after_probe(Err(denied.clone()));
    let (healthy, reason) = server.health(&AvailabilityPolicy::default());
    assert_eq!((healthy, reason), (false, denied.message.clone()));
    assert_eq!(server.fields()["waiting_for"], denied.message);
    let stopping = offline(AgentPhase::Stopping);
    assert_eq!(
        stopping.after_probe(Err(denied)).fields(),
        stopping.fields()
    );
}
