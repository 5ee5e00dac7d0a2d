//! Events in, liveness of sessions out; no etcd.

use galera::access::Role;
use registry::{Error, KeyChange};

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);
const USERS: &str = "/state/users/";
const SESSIONS: &str = "/state/sessions/";
const HOUR: Duration = Duration::from_secs(3600);

fn entry(key: String, value: &impl serde::Serialize, lease: LeaseId) -> RegistryEntry {
    RegistryEntry {
        key: key.into_bytes(),
        value: serde_json::to_vec(value).unwrap(),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        lease,
    }
}

fn account(roles: &[Role], credential: u128, disabled: bool) -> UserRecord {
    UserRecord {
        password_hash: String::new(),
        email: None,
        credential: Uuid::from_u128(credential),
        roles: roles.to_vec(),
        disabled,
        created_at: START,
        changed_at: START,
    }
}

fn user_entry(name: &str, record: &UserRecord) -> RegistryEntry {
    entry(format!("{USERS}{name}"), record, 0)
}

fn session_record(name: &str, credential: u128) -> SessionRecord {
    SessionRecord {
        username: name.parse().unwrap(),
        credential: Uuid::from_u128(credential),
        created_at: START,
        expires_at: START.plus(HOUR),
    }
}

fn session_entry(id: Uuid, name: &str, credential: u128) -> RegistryEntry {
    entry(
        format!("{SESSIONS}{id}"),
        &session_record(name, credential),
        77,
    )
}

const ID: Uuid = Uuid::from_u128(42);

/// A directory in which dora has a live session.
fn cache_with_live_session() -> AccountCache {
    let directory = AccountCache::new("/state");
    assert!(directory.unready_reason().is_some());
    let users = vec![user_entry("dora", &account(&[Role::Viewer], 1, false))];
    directory.apply_users_event(
        USERS,
        WatchEvent::Reset {
            revision: 1,
            entries: users,
        },
        START,
    );
    let sessions = vec![session_entry(ID, "dora", 1)];
    directory.apply_sessions_event(
        SESSIONS,
        WatchEvent::Reset {
            revision: 1,
            entries: sessions,
        },
        START,
    );
    directory
}

fn put(entry: RegistryEntry) -> WatchEvent {
    WatchEvent::Changes {
        revision: 2,
        changes: vec![KeyChange::Put(entry)],
    }
}

fn delete(key: String) -> WatchEvent {
    WatchEvent::Changes {
        revision: 2,
        changes: vec![KeyChange::Delete {
            key: key.into_bytes(),
            revision: 2,
        }],
    }
}

#[test]
fn a_session_is_live_until_it_expires() {
    let directory = cache_with_live_session();
    let guard = directory.session(ID, START).unwrap();
    assert_eq!(&*guard.principal.username, "dora");
    assert!(!guard.has_ended());
    assert!(directory.session(ID, START.plus(HOUR)).is_err());
    directory.write().end_stale_sessions(START.plus(HOUR));
    assert!(guard.has_ended());
}

#[test]
fn every_cause_ends_a_session_immediately() {
    let user = |record: &UserRecord| put(user_entry("dora", record));
    type EventCase = (&'static str, bool, WatchEvent);
    let events: [EventCase; 5] = [
        (
            "the account is disabled",
            true,
            user(&account(&[Role::Viewer], 1, true)),
        ),
        (
            "the password changed",
            true,
            user(&account(&[Role::Viewer], 2, false)),
        ),
        (
            "the account is removed",
            true,
            delete(format!("{USERS}dora")),
        ),
        (
            "signed out or expired",
            false,
            delete(format!("{SESSIONS}{ID}")),
        ),
        (
            "the session is not listed any more",
            false,
            WatchEvent::Reset {
                revision: 9,
                entries: Vec::new(),
            },
        ),
    ];
    for (what, of_users, event) in events {
        let directory = cache_with_live_session();
        let guard = directory.session(ID, START).unwrap();
        if of_users {
            directory.apply_users_event(USERS, event, START);
        } else {
            directory.apply_sessions_event(SESSIONS, event, START);
        }
        assert!(guard.has_ended(), "{what}");
        assert!(directory.session(ID, START).is_err(), "{what}");
    }
}

#[test]
fn re_enabling_an_account_restores_no_old_sessions() {
    let directory = cache_with_live_session();
    let guard = directory.session(ID, START).unwrap();
    // What the store writes: disabling changes the credential.
    directory.apply_users_event(
        USERS,
        put(user_entry("dora", &account(&[Role::Viewer], 2, true))),
        START,
    );
    directory.apply_users_event(
        USERS,
        put(user_entry("dora", &account(&[Role::Viewer], 2, false))),
        START,
    );
    assert!(guard.has_ended());
    assert!(directory.session(ID, START).is_err());
}

#[test]
fn new_roles_apply_from_the_next_request() {
    let directory = cache_with_live_session();
    let guard = directory.session(ID, START).unwrap();
    directory.apply_users_event(
        USERS,
        put(user_entry("dora", &account(&[Role::Admin], 1, false))),
        START,
    );
    assert!(!guard.has_ended());
    assert_eq!(
        directory.session(ID, START).unwrap().principal.roles,
        [Role::Admin]
    );
}

#[test]
fn sessions_survive_an_etcd_outage() {
    let directory = cache_with_live_session();
    let guard = directory.session(ID, START).unwrap();
    let error = Error::Unavailable {
        endpoints: "etcd-1".to_owned(),
        cause: "refused".to_owned(),
    };
    let gone = WatchEvent::Unreachable {
        since: START,
        error,
    };
    directory.apply_users_event(USERS, gone.clone(), START);
    directory.apply_sessions_event(SESSIONS, gone, START);
    assert!(directory.etcd_error().unwrap().contains("etcd-1"));
    assert!(directory.session(ID, START).is_ok() && !guard.has_ended());
    directory.apply_users_event(USERS, WatchEvent::Reachable, START);
    assert_eq!(directory.etcd_error(), None);
}

#[test]
fn a_local_session_is_usable_before_the_watch_reports_it() {
    let directory = cache_with_live_session();
    let own = Uuid::from_u128(43);
    directory.insert_ahead_of_watch(own, session_record("dora", 1), 78, None, START);
    let listing_from_before = WatchEvent::Reset {
        revision: 1,
        entries: vec![session_entry(ID, "dora", 1)],
    };
    directory.apply_sessions_event(SESSIONS, listing_from_before.clone(), START);
    assert!(directory.session(own, START).is_ok());
    // Once it should have been told of, silence means that it is gone.
    let later = START.plus(CONFIRMATION_TIMEOUT);
    directory.apply_sessions_event(SESSIONS, listing_from_before, later);
    assert!(directory.session(own, later).is_err());
}

#[test]
fn a_session_the_watch_never_confirms_ends() {
    let directory = cache_with_live_session();
    let own = Uuid::from_u128(43);
    directory.insert_ahead_of_watch(own, session_record("dora", 1), 78, None, START);
    let guard = directory.session(own, START).unwrap();
    directory
        .write()
        .end_stale_sessions(START.plus(CONFIRMATION_TIMEOUT));
    assert!(guard.has_ended() && directory.session(own, START).is_err());
    assert!(
        directory
            .session(ID, START.plus(CONFIRMATION_TIMEOUT))
            .is_ok(),
        "the confirmed one stays"
    );
}

#[test]
fn a_lagging_watch_does_not_undo_a_newer_read() {
    let directory = cache_with_live_session();
    let own = Uuid::from_u128(43);
    let at = |credential: u128, revision: i64| {
        let mut entry = user_entry("dora", &account(&[Role::Viewer], credential, false));
        entry.mod_revision = revision;
        entry
    };
    // The password changed at revision 8; somebody signs in with it before the watch tells.
    let read = (account(&[Role::Viewer], 2, false), 8);
    directory.insert_ahead_of_watch(own, session_record("dora", 2), 78, Some(read), START);
    assert!(directory.session(own, START).is_ok());
    directory.apply_users_event(USERS, put(at(1, 7)), START);
    assert!(directory.session(own, START).is_ok());
    directory.apply_users_event(
        USERS,
        WatchEvent::Reset {
            revision: 7,
            entries: vec![at(1, 7)],
        },
        START,
    );
    assert!(directory.session(own, START).is_ok());
    // Whatever comes later counts.
    directory.apply_users_event(USERS, put(at(3, 9)), START);
    assert!(directory.session(own, START).is_err());
    // An etcd that was replaced counts its revisions anew.
    let later = START.plus(CONFIRMATION_TIMEOUT);
    directory.apply_users_event(
        USERS,
        WatchEvent::Reset {
            revision: 1,
            entries: Vec::new(),
        },
        later,
    );
    assert!(directory.session(ID, later).is_err());
}

#[test]
fn a_corrupt_record_grants_no_access_and_affects_no_other_account() {
    let directory = cache_with_live_session();
    let garbage = |key: String| {
        let mut entry = entry(key, &(), 0);
        entry.value = b"{\"roles\":".to_vec();
        put(entry)
    };
    directory.apply_users_event(USERS, garbage(format!("{USERS}emil")), START);
    directory.apply_users_event(USERS, garbage(format!("{USERS}Not A Name")), START);
    directory.apply_sessions_event(SESSIONS, garbage(format!("{SESSIONS}not-a-uuid")), START);
    assert!(directory.session(ID, START).is_ok());
    directory.apply_users_event(USERS, garbage(format!("{USERS}dora")), START);
    assert!(directory.session(ID, START).is_err());
}

#[test]
fn removing_the_signing_key_ends_every_session() {
    let directory = cache_with_live_session();
    let guard = directory.session(ID, START).unwrap();
    let key = entry(signing_key("/state"), &SigningKeyRecord::generate(START), 0);
    assert!(!directory.apply_key_event(
        WatchEvent::Reset {
            revision: 1,
            entries: vec![key]
        },
        true
    ));
    assert!(directory.signer().is_some() && directory.unready_reason().is_none());
    assert!(directory.apply_key_event(delete(signing_key("/state")), false));
    assert!(directory.signer().is_none() && guard.has_ended());
}
