//! Watch events in, live sessions out; without etcd.

use galera::access::{Role, RoleGrant};
use galera::publish::accounts::AccountKind;
use registry::{Error, KeyChange};

use super::state::CONFIRMATION_TIMEOUT;
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
        kind: AccountKind::Person,
        grants: Vec::new(),
        groups: Vec::new(),
        external: None,
        password_hash: String::new(),
        email: None,
        factor: None,
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
        kid: None,
        proven_at: None,
        provider_session: None,
        provider_factor: false,
        address: None,
        user_agent: None,
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

/// A cache in which dora has a live session.
fn cache_with_live_session() -> AccountCache {
    let cache = AccountCache::new("/state", &[]);
    assert!(cache.unready_reason().is_some());
    let users = vec![user_entry("dora", &account(&[Role::Viewer], 1, false))];
    cache.apply_users_event(
        USERS,
        WatchEvent::Reset {
            revision: 1,
            entries: users,
        },
        START,
    );
    let sessions = vec![session_entry(ID, "dora", 1)];
    cache.apply_sessions_event(
        SESSIONS,
        WatchEvent::Reset {
            revision: 1,
            entries: sessions,
        },
        START,
    );
    cache
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
    let cache = cache_with_live_session();
    let guard = cache.session(ID, START).unwrap();
    assert_eq!(&*guard.principal.username, "dora");
    assert!(!guard.has_ended());
    assert!(cache.session(ID, START.plus(HOUR)).is_err());
    cache.write().end_stale_sessions(START.plus(HOUR));
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
            "the session is no longer listed",
            false,
            WatchEvent::Reset {
                revision: 9,
                entries: Vec::new(),
            },
        ),
    ];
    for (what, of_users, event) in events {
        let cache = cache_with_live_session();
        let guard = cache.session(ID, START).unwrap();
        if of_users {
            cache.apply_users_event(USERS, event, START);
        } else {
            cache.apply_sessions_event(SESSIONS, event, START);
        }
        assert!(guard.has_ended(), "{what}");
        assert!(cache.session(ID, START).is_err(), "{what}");
    }
}

#[test]
fn re_enabling_an_account_restores_no_old_sessions() {
    let cache = cache_with_live_session();
    let guard = cache.session(ID, START).unwrap();
    // What the store writes: disabling changes the credential.
    cache.apply_users_event(
        USERS,
        put(user_entry("dora", &account(&[Role::Viewer], 2, true))),
        START,
    );
    cache.apply_users_event(
        USERS,
        put(user_entry("dora", &account(&[Role::Viewer], 2, false))),
        START,
    );
    assert!(guard.has_ended());
    assert!(cache.session(ID, START).is_err());
}

#[test]
fn new_roles_apply_from_the_next_request() {
    let cache = cache_with_live_session();
    let guard = cache.session(ID, START).unwrap();
    cache.apply_users_event(
        USERS,
        put(user_entry("dora", &account(&[Role::Admin], 1, false))),
        START,
    );
    assert!(!guard.has_ended());
    assert_eq!(
        cache.session(ID, START).unwrap().principal.roles,
        [Role::Admin]
    );
}

#[test]
fn a_connection_loses_its_view_with_the_roles_and_when_a_factor_is_needed() {
    let cache = cache_with_live_session();
    let guard = cache.session(ID, START).unwrap();
    let change = |roles: &[Role], factor: Option<Uuid>| {
        let record = UserRecord {
            factor,
            ..account(roles, 1, false)
        };
        cache.apply_users_event(USERS, put(user_entry("dora", &record)), START);
        (*guard.may_view.borrow(), guard.has_ended())
    };
    assert_eq!(change(&[], None), (false, false));
    assert_eq!(change(&[Role::Operator], None), (true, false));
    cache.write().second_factor_roles = vec![Role::Approver];
    assert_eq!(change(&[Role::Approver], None), (false, false));
    assert!(cache.session(ID, START).unwrap().principal.must_enrol);
    assert_eq!(change(&[Role::Approver], Some(ID)), (true, false));
    assert!(!cache.session(ID, START).unwrap().principal.must_enrol);
}

#[test]
fn new_labels_end_the_connections_of_limited_accounts_only() {
    let labels = |text: &str| {
        let rules = galera::access::LabelRule::parse_all(text).unwrap();
        galera::access::ClusterLabels::new(rules).unwrap()
    };
    let shop: galera::ClusterName = "shop".parse().unwrap();
    for (clusters, limited) in [(&[][..], false), (&["lab"], true), (&["env=test"], true)] {
        let cache = cache_with_live_session();
        let selectors = clusters.iter().map(|text| text.parse().unwrap());
        let scope = galera::access::ClusterScope::new(selectors.collect());
        let grant = RoleGrant::of(vec![Role::Operator], scope);
        let record = UserRecord {
            grants: limited.then_some(grant).into_iter().collect(),
            ..account(&[Role::Operator], 1, false)
        };
        cache.apply_users_event(USERS, put(user_entry("dora", &record)), START);
        let before = cache.session(ID, START).unwrap();
        cache.replace_labels(labels("shop:env=test"));
        assert_eq!(*before.may_view.borrow(), !limited, "{clusters:?}");
        assert!(!before.has_ended());
        let after = cache.session(ID, START).unwrap();
        assert!(*after.may_view.borrow());
        let permitted = after.principal.clusters.permits(&shop);
        assert_eq!(permitted, clusters != ["lab"], "{clusters:?}");
        // The same labels change nothing.
        cache.replace_labels(labels("shop:env=test"));
        assert!(*after.may_view.borrow());
        cache.replace_labels(labels("shop:env=other"));
        let last = cache.session(ID, START).unwrap();
        let permitted = last.principal.clusters.permits(&shop);
        assert_eq!(permitted, clusters.is_empty(), "{clusters:?}");
    }
}

#[test]
fn a_session_that_is_given_the_new_credential_continues() {
    let cache = cache_with_live_session();
    // The watch of accounts is ahead of the one of sessions.
    let changed = account(&[Role::Viewer], 2, false);
    cache.apply_users_event(USERS, put(user_entry("dora", &changed)), START);
    assert!(matches!(
        cache.session(ID, START),
        Err(MissingSession::OtherCredential)
    ));
    cache.apply_sessions_event(SESSIONS, put(session_entry(ID, "dora", 2)), START);
    assert!(!cache.session(ID, START).unwrap().has_ended());
}

#[test]
fn sessions_survive_an_etcd_outage() {
    let cache = cache_with_live_session();
    let guard = cache.session(ID, START).unwrap();
    let error = Error::Unavailable {
        endpoints: "etcd-1".to_owned(),
        cause: "refused".to_owned(),
    };
    let unreachable = WatchEvent::Unreachable {
        since: START,
        error,
    };
    cache.apply_users_event(USERS, unreachable.clone(), START);
    cache.apply_sessions_event(SESSIONS, unreachable, START);
    assert!(cache.etcd_error().unwrap().contains("etcd-1"));
    assert!(cache.session(ID, START).is_ok() && !guard.has_ended());
    cache.apply_users_event(USERS, WatchEvent::Reachable, START);
    assert_eq!(cache.etcd_error(), None);
}

#[test]
fn a_local_session_is_usable_before_the_watch_reports_it() {
    let cache = cache_with_live_session();
    let own = Uuid::from_u128(43);
    cache.insert_ahead_of_watch(own, session_record("dora", 1), 78, None, START);
    let older_listing = WatchEvent::Reset {
        revision: 1,
        entries: vec![session_entry(ID, "dora", 1)],
    };
    cache.apply_sessions_event(SESSIONS, older_listing.clone(), START);
    assert!(cache.session(own, START).is_ok());
    // After the confirmation timeout, a session that is not listed is gone.
    let later = START.plus(CONFIRMATION_TIMEOUT);
    cache.apply_sessions_event(SESSIONS, older_listing, later);
    assert!(cache.session(own, later).is_err());
}

#[test]
fn a_session_the_watch_never_confirms_ends() {
    let cache = cache_with_live_session();
    let own = Uuid::from_u128(43);
    cache.insert_ahead_of_watch(own, session_record("dora", 1), 78, None, START);
    let guard = cache.session(own, START).unwrap();
    cache
        .write()
        .end_stale_sessions(START.plus(CONFIRMATION_TIMEOUT));
    assert!(guard.has_ended() && cache.session(own, START).is_err());
    assert!(
        cache.session(ID, START.plus(CONFIRMATION_TIMEOUT)).is_ok(),
        "the confirmed session stays"
    );
}

#[test]
fn a_lagging_watch_does_not_undo_a_newer_read() {
    let cache = cache_with_live_session();
    let own = Uuid::from_u128(43);
    let at = |credential: u128, revision: i64| {
        let mut entry = user_entry("dora", &account(&[Role::Viewer], credential, false));
        entry.mod_revision = revision;
        entry
    };
    // The password changed at revision 8; the user signs in with it before the watch reports it.
    let read = (account(&[Role::Viewer], 2, false), 8);
    cache.insert_ahead_of_watch(own, session_record("dora", 2), 78, Some(read), START);
    assert!(cache.session(own, START).is_ok());
    cache.apply_users_event(USERS, put(at(1, 7)), START);
    assert!(cache.session(own, START).is_ok());
    cache.apply_users_event(
        USERS,
        WatchEvent::Reset {
            revision: 7,
            entries: vec![at(1, 7)],
        },
        START,
    );
    assert!(cache.session(own, START).is_ok());
    // A later change applies.
    cache.apply_users_event(USERS, put(at(3, 9)), START);
    assert!(cache.session(own, START).is_err());
    // A replaced etcd restarts its revisions.
    let later = START.plus(CONFIRMATION_TIMEOUT);
    cache.apply_users_event(
        USERS,
        WatchEvent::Reset {
            revision: 1,
            entries: Vec::new(),
        },
        later,
    );
    assert!(cache.session(ID, later).is_err());
}

#[test]
fn a_corrupt_record_grants_no_access_and_affects_no_other_account() {
    let cache = cache_with_live_session();
    let garbage = |key: String| {
        let mut entry = entry(key, &(), 0);
        entry.value = b"{\"roles\":".to_vec();
        put(entry)
    };
    cache.apply_users_event(USERS, garbage(format!("{USERS}emil")), START);
    cache.apply_users_event(USERS, garbage(format!("{USERS}Not A Name")), START);
    cache.apply_sessions_event(SESSIONS, garbage(format!("{SESSIONS}not-a-uuid")), START);
    assert!(cache.session(ID, START).is_ok());
    cache.apply_users_event(USERS, garbage(format!("{USERS}dora")), START);
    assert!(cache.session(ID, START).is_err());
}

#[test]
fn removing_the_signing_key_ends_every_session() {
    let cache = cache_with_live_session();
    let guard = cache.session(ID, START).unwrap();
    let key = entry(signing_key("/state"), &SigningKeyRecord::generate(START), 0);
    assert!(!cache.apply_key_event(
        WatchEvent::Reset {
            revision: 1,
            entries: vec![key]
        },
        true
    ));
    let no_tokens = WatchEvent::Reset {
        revision: 1,
        entries: Vec::new(),
    };
    assert!(cache.unready_reason().is_some());
    cache.apply_tokens_event("/state/tokens/", no_tokens, START);
    assert!(cache.keys().is_some() && cache.unready_reason().is_none());
    assert!(cache.apply_key_event(delete(signing_key("/state")), false));
    assert!(cache.keys().is_none() && guard.has_ended());
}

mod tokens {
    use galera::access::ClusterScope;
    use galera::publish::accounts::TokenState;

    use super::*;
    use crate::api_token::{TokenHash, TokenId, TokenRecord, TokenText};

    const TOKENS: &str = "/state/tokens/";

    fn id() -> TokenId {
        "0123456789abcdef".parse().unwrap()
    }

    fn record(revoked_at: Option<Timestamp>) -> TokenRecord {
        let name = "dora".parse().unwrap();
        TokenRecord {
            hash: TokenHash::of(&TokenText::generate(), &name),
            account: name,
            credential: Uuid::from_u128(1),
            name: "deploy".to_owned(),
            roles: vec![Role::Viewer, Role::Admin],
            clusters: ClusterScope::all(),
            created_at: START,
            created_by: "dora".to_owned(),
            expires_at: START.plus(HOUR),
            revoked_at,
        }
    }

    fn stored(revision: i64, revoked_at: Option<Timestamp>) -> RegistryEntry {
        RegistryEntry {
            mod_revision: revision,
            ..entry(format!("{TOKENS}{}", id()), &record(revoked_at), 7)
        }
    }

    fn reset(revision: i64, entries: Vec<RegistryEntry>) -> WatchEvent {
        WatchEvent::Reset { revision, entries }
    }

    /// A cache with the account `dora`, a viewer, and a token of hers.
    fn cache() -> AccountCache {
        let cache = AccountCache::new("/state", &[]);
        let dora = user_entry("dora", &account(&[Role::Viewer], 1, false));
        cache.apply_users_event(USERS, reset(1, vec![dora]), START);
        cache.apply_tokens_event(TOKENS, reset(5, vec![stored(5, None)]), START);
        cache
    }

    fn state(cache: &AccountCache, at: Timestamp) -> Option<TokenState> {
        cache.live_token(&id(), at).err()
    }

    #[test]
    fn a_token_has_the_roles_that_its_account_has_too() {
        let cache = cache();
        let token = cache.live_token(&id(), START).ok().unwrap();
        assert_eq!(token.guard.principal.roles, [Role::Viewer]);
        assert!(!token.guard.has_ended());
    }

    #[test]
    fn a_late_report_of_the_watch_does_not_revive_a_token() {
        let cache = cache();
        let guard = cache.live_token(&id(), START).ok().unwrap().guard;
        cache.learn_token(id(), record(Some(START)), 7, 9, START);
        assert_eq!(state(&cache, START), Some(TokenState::Revoked));
        assert!(guard.has_ended());
        cache.apply_tokens_event(TOKENS, reset(8, vec![stored(5, None)]), START);
        assert_eq!(state(&cache, START), Some(TokenState::Revoked));
        // A listing that lacks it ends it as well.
        cache.apply_tokens_event(TOKENS, reset(9, Vec::new()), START);
        assert_eq!(state(&cache, START), Some(TokenState::Ended));
    }

    #[test]
    fn what_ends_a_token() {
        let expired = START.plus(HOUR);
        assert_eq!(state(&cache(), expired), Some(TokenState::Expired));
        for (credential, disabled) in [(2, false), (1, true)] {
            let cache = cache();
            let guard = cache.live_token(&id(), START).ok().unwrap().guard;
            let changed = user_entry("dora", &account(&[Role::Viewer], credential, disabled));
            cache.apply_users_event(USERS, reset(6, vec![changed]), START);
            assert_eq!(state(&cache, START), Some(TokenState::Ended));
            assert!(guard.has_ended());
        }
        let cache = cache();
        let guard = cache.live_token(&id(), START).ok().unwrap().guard;
        cache.apply_users_event(USERS, reset(6, Vec::new()), START);
        assert!(guard.has_ended());
    }
}
