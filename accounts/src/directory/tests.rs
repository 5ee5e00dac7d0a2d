//! Events in, liveness of sessions out; no etcd.

use galera::access::Role;
use registry::Error;

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);
const USERS: &str = "/state/users/";
const SESSIONS: &str = "/state/sessions/";
const HOUR: Duration = Duration::from_secs(3600);

fn entry(key: String, value: &impl serde::Serialize, lease: LeaseId) -> Entry {
    Entry {
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

fn user_entry(name: &str, record: &UserRecord) -> Entry {
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

fn session_entry(id: Uuid, name: &str, credential: u128) -> Entry {
    entry(
        format!("{SESSIONS}{id}"),
        &session_record(name, credential),
        77,
    )
}

const ID: Uuid = Uuid::from_u128(42);

/// A directory in which dora has a live session.
fn directory() -> Directory {
    let directory = Directory::new("/state");
    assert!(directory.not_ready().is_some());
    let users = vec![user_entry("dora", &account(&[Role::Viewer], 1, false))];
    directory.users_event(
        USERS,
        WatchEvent::Reset {
            revision: 1,
            entries: users,
        },
        START,
    );
    let sessions = vec![session_entry(ID, "dora", 1)];
    directory.sessions_event(
        SESSIONS,
        WatchEvent::Reset {
            revision: 1,
            entries: sessions,
        },
        START,
    );
    directory
}

fn put(entry: Entry) -> WatchEvent {
    WatchEvent::Changes {
        revision: 2,
        changes: vec![Change::Put(entry)],
    }
}

fn delete(key: String) -> WatchEvent {
    WatchEvent::Changes {
        revision: 2,
        changes: vec![Change::Delete {
            key: key.into_bytes(),
            revision: 2,
        }],
    }
}

#[test]
fn a_session_lives_until_its_time_is_over() {
    let directory = directory();
    let guard = directory.session(ID, START).unwrap();
    assert_eq!(&*guard.principal.username, "dora");
    assert!(!guard.has_ended());
    assert!(directory.session(ID, START.plus(HOUR)).is_err());
    directory.write().sweep(START.plus(HOUR));
    assert!(guard.has_ended());
}

#[test]
fn whatever_takes_the_session_away_ends_it_at_once() {
    let user = |record: &UserRecord| put(user_entry("dora", record));
    type Event = (&'static str, bool, WatchEvent);
    let events: [Event; 5] = [
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
        let directory = directory();
        let guard = directory.session(ID, START).unwrap();
        if of_users {
            directory.users_event(USERS, event, START);
        } else {
            directory.sessions_event(SESSIONS, event, START);
        }
        assert!(guard.has_ended(), "{what}");
        assert!(directory.session(ID, START).is_err(), "{what}");
    }
}

#[test]
fn a_disabled_account_that_is_enabled_again_has_no_old_sessions() {
    let directory = directory();
    let guard = directory.session(ID, START).unwrap();
    // What the store writes: disabling changes the credential.
    directory.users_event(
        USERS,
        put(user_entry("dora", &account(&[Role::Viewer], 2, true))),
        START,
    );
    directory.users_event(
        USERS,
        put(user_entry("dora", &account(&[Role::Viewer], 2, false))),
        START,
    );
    assert!(guard.has_ended());
    assert!(directory.session(ID, START).is_err());
}

#[test]
fn new_roles_hold_from_the_next_request_on() {
    let directory = directory();
    let guard = directory.session(ID, START).unwrap();
    directory.users_event(
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
fn nothing_is_forgotten_while_etcd_is_away() {
    let directory = directory();
    let guard = directory.session(ID, START).unwrap();
    let error = Error::Unavailable {
        endpoints: "etcd-1".to_owned(),
        cause: "refused".to_owned(),
    };
    let gone = WatchEvent::Unreachable {
        since: START,
        error,
    };
    directory.users_event(USERS, gone.clone(), START);
    directory.sessions_event(SESSIONS, gone, START);
    assert!(directory.unreachable().unwrap().contains("etcd-1"));
    assert!(directory.session(ID, START).is_ok() && !guard.has_ended());
    directory.users_event(USERS, WatchEvent::Reachable, START);
    assert_eq!(directory.unreachable(), None);
}

#[test]
fn a_session_of_this_replica_is_known_before_the_watch_tells_of_it() {
    let directory = directory();
    let own = Uuid::from_u128(43);
    directory.note(own, session_record("dora", 1), 78, None, START);
    let listing_from_before = WatchEvent::Reset {
        revision: 1,
        entries: vec![session_entry(ID, "dora", 1)],
    };
    directory.sessions_event(SESSIONS, listing_from_before.clone(), START);
    assert!(directory.session(own, START).is_ok());
    // Once it should have been told of, silence means that it is gone.
    let later = START.plus(UNCONFIRMED);
    directory.sessions_event(SESSIONS, listing_from_before, later);
    assert!(directory.session(own, later).is_err());
}

#[test]
fn a_session_that_the_watch_never_confirms_lapses() {
    let directory = directory();
    let own = Uuid::from_u128(43);
    directory.note(own, session_record("dora", 1), 78, None, START);
    let guard = directory.session(own, START).unwrap();
    directory.write().sweep(START.plus(UNCONFIRMED));
    assert!(guard.has_ended() && directory.session(own, START).is_err());
    assert!(
        directory.session(ID, START.plus(UNCONFIRMED)).is_ok(),
        "the confirmed one stays"
    );
}

#[test]
fn what_was_read_itself_is_not_undone_by_a_watch_that_is_behind() {
    let directory = directory();
    let own = Uuid::from_u128(43);
    let at = |credential: u128, revision: i64| {
        let mut entry = user_entry("dora", &account(&[Role::Viewer], credential, false));
        entry.mod_revision = revision;
        entry
    };
    // The password changed at revision 8; somebody signs in with it before the watch tells.
    let read = (account(&[Role::Viewer], 2, false), 8);
    directory.note(own, session_record("dora", 2), 78, Some(read), START);
    assert!(directory.session(own, START).is_ok());
    directory.users_event(USERS, put(at(1, 7)), START);
    assert!(directory.session(own, START).is_ok());
    directory.users_event(
        USERS,
        WatchEvent::Reset {
            revision: 7,
            entries: vec![at(1, 7)],
        },
        START,
    );
    assert!(directory.session(own, START).is_ok());
    // Whatever comes later counts.
    directory.users_event(USERS, put(at(3, 9)), START);
    assert!(directory.session(own, START).is_err());
    // An etcd that was replaced counts its revisions anew.
    let later = START.plus(UNCONFIRMED);
    directory.users_event(
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
fn garbage_lets_nobody_in_and_harms_nobody_else() {
    let directory = directory();
    let garbage = |key: String| {
        let mut entry = entry(key, &(), 0);
        entry.value = b"{\"roles\":".to_vec();
        put(entry)
    };
    directory.users_event(USERS, garbage(format!("{USERS}emil")), START);
    directory.users_event(USERS, garbage(format!("{USERS}Not A Name")), START);
    directory.sessions_event(SESSIONS, garbage(format!("{SESSIONS}not-a-uuid")), START);
    assert!(directory.session(ID, START).is_ok());
    directory.users_event(USERS, garbage(format!("{USERS}dora")), START);
    assert!(directory.session(ID, START).is_err());
}

#[test]
fn removing_the_signing_key_ends_every_session() {
    let directory = directory();
    let guard = directory.session(ID, START).unwrap();
    let key = entry(signing_key("/state"), &KeyRecord::generate(START), 0);
    assert!(!directory.key_event(
        WatchEvent::Reset {
            revision: 1,
            entries: vec![key]
        },
        true
    ));
    assert!(directory.signer().is_some() && directory.not_ready().is_none());
    assert!(directory.key_event(delete(signing_key("/state")), false));
    assert!(directory.signer().is_none() && guard.has_ended());
}
