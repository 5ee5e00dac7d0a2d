use galera::observe::observation::ProbeFailure;

use super::*;

fn answers(state: &str, comment: &str, cluster: &str, ready: &str) -> Server {
    let rows = [
        ("WSREP_LOCAL_STATE", state),
        ("wsrep_local_state_comment", comment),
        ("wsrep_cluster_status", cluster),
        ("wsrep_cluster_size", "3"),
        ("wsrep_ready", ready),
        ("wsrep_protocol_version", "10"),
    ];
    let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Server::Unknown.after(Ok(Reading::from_rows(&rows)))
}

fn refused() -> ProbeError {
    ProbeError {
        kind: ProbeFailure::Refused,
        message: "connection refused".to_owned(),
    }
}

#[test]
fn only_a_synced_ready_primary_server_is_healthy() {
    for (server, healthy, line) in [
        (answers("4", "Synced", "Primary", "ON"), true, "Synced"),
        (
            answers("4", "Synced", "Primary", "OFF"),
            false,
            "Synced, but wsrep_ready is OFF",
        ),
        (
            answers("4", "Synced", "non-Primary", "ON"),
            false,
            "Synced, non-Primary, 3 members",
        ),
        (
            answers("2", "Donor/Desynced", "Primary", "ON"),
            false,
            "Donor/Desynced, Primary, 3 members",
        ),
        (
            answers("0", "Initialized", "non-Primary", "OFF"),
            false,
            "Initialized, non-Primary, 3 members",
        ),
        (answers("", "", "", ""), false, ", , 3 members"),
        (
            Server::Unknown.after(Err(refused())),
            false,
            "connection refused",
        ),
        (Server::Unknown, false, "the server was not asked yet"),
    ] {
        assert_eq!(
            server.health(&Availability::default()),
            (healthy, line.to_owned())
        );
    }
}

#[test]
fn donors_and_read_only_servers_are_healthy_where_that_is_wanted() {
    let donor = answers("2", "Donor/Desynced", "Primary", "ON");
    let mut read_only = answers("4", "Synced", "Primary", "ON");
    if let Server::Answers { reading, .. } = &mut read_only {
        reading.read_only = Some(true);
    }
    let healthy =
        |server: &Server, donor, read_only| server.health(&Availability { donor, read_only }).0;
    assert!(healthy(&donor, true, false) && !healthy(&donor, false, true));
    assert!(healthy(&read_only, false, true) && !healthy(&read_only, true, false));
    let apart = answers("2", "Donor/Desynced", "non-Primary", "ON");
    assert!(!healthy(&apart, true, true));
}

#[test]
fn what_the_server_tells_counts_until_it_is_asked() {
    let event = |status| Event::from_arguments(["--status", status]);
    let running = answers("4", "Synced", "Primary", "ON");
    let told = running.told(&event("donor"));
    assert_eq!(told.fields()["wsrep_local_state_comment"], "Donor/Desynced");
    assert_eq!(running.told(&event("connected")).fields(), running.fields());
    // The status lags behind what the server tells, but not for more than one answer of another kind.
    let joining = answers("1", "Joining: receiving State Transfer", "Primary", "OFF");
    let read = |server: &Server| match server {
        Server::Answers { reading, .. } => reading.as_ref().clone(),
        _ => panic!("{server:?}"),
    };
    let joined = joining.told(&event("joined")).after(Ok(read(&joining)));
    assert_eq!(joined.fields()["wsrep_local_state_comment"], "Joined");
    let synced = joined.after(Ok(read(&running)));
    assert_eq!(synced.fields()["wsrep_local_state_comment"], "Synced");
    let again = synced.after(Ok(read(&joining)));
    assert_ne!(again.fields()["wsrep_local_state_comment"], "Joined");
    let held = |phase| {
        Server::Held(Box::new(Held {
            phase,
            recovered: None,
            state: None,
            line: "waiting".to_owned(),
            since: Timestamp::default(),
        }))
    };
    let joined = held(Phase::Starting).told(&event("joined"));
    assert_eq!(joined.phase(), Phase::Joining);
    assert_eq!(joined.fields()["wsrep_local_state_comment"], "Joined");
    // It does not answer yet, which is no news; once it is told to stop, nothing it says counts.
    assert_eq!(joined.after(Err(refused())).fields(), joined.fields());
    let stopping = held(Phase::Stopping).told(&event("synced"));
    assert_eq!(
        stopping.fields(),
        BTreeMap::from([("phase", "stopping".to_owned())])
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_yet_may_tell_but_not_for_long() {
    let event = |status| Event::from_arguments(["--status", status]);
    let silent = answers("4", "Synced", "Primary", "ON").after(Err(refused()));
    for server in [silent, Server::Unknown] {
        let told = server.told(&event("joined"));
        let expected = [
            ("phase", "joining"),
            ("wsrep_local_state_comment", "Joined"),
        ];
        let expected = expected.map(|(name, value)| (name, value.to_owned()));
        assert_eq!(told.fields(), BTreeMap::from(expected));
        assert_eq!(told.after(Err(refused())).fields(), told.fields());
        assert!(!told.health(&Availability::default()).0);
        let silent = server.after(Err(refused())).fields();
        tokio::time::advance(FRESH).await;
        // Whoever told may have died since.
        assert_eq!(told.after(Err(refused())).fields(), silent);
    }
    assert_eq!(
        Server::Unknown.told(&event("connected")).fields(),
        Server::Unknown.fields()
    );
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_no_health() {
    let server = answers("4", "Synced", "Primary", "ON");
    tokio::time::advance(FRESH + Duration::from_secs(1)).await;
    assert_eq!(
        server.health(&Availability::default()),
        (false, "the last answer is 7 s old".to_owned())
    );
}

#[test]
fn phases_are_truthful() {
    let running = answers("4", "Synced", "Primary", "ON");
    for (server, phase) in [
        (Server::Unknown, Phase::Starting),
        (Server::Unknown.after(Err(refused())), Phase::Starting),
        (
            answers("1", "Joining: receiving State Transfer", "Primary", "OFF"),
            Phase::Joining,
        ),
        (answers("3", "Joined", "Primary", "ON"), Phase::Joining),
        (
            answers("0", "Initialized", "non-Primary", "OFF"),
            Phase::Running,
        ),
        (running.after(Err(refused())), Phase::Waiting),
        (
            running.after(Err(refused())).after(Err(refused())),
            Phase::Waiting,
        ),
        (running, Phase::Running),
    ] {
        assert_eq!(server.phase(), phase, "{server:?}");
    }
}

#[test]
fn a_silent_server_leaves_no_status_behind() {
    let running = answers("4", "Synced", "Primary", "ON");
    let keys: Vec<_> = running.fields().into_keys().collect();
    let expected = [
        "phase",
        "wsrep_cluster_size",
        "wsrep_cluster_status",
        "wsrep_local_state_comment",
    ];
    assert_eq!(
        keys, expected,
        "only what is reported, under its lower-case name"
    );
    let silent = running.after(Err(refused())).fields();
    assert_eq!(silent, BTreeMap::from([("phase", "waiting".to_owned())]));
}
