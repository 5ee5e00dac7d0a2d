//! Clean-up: which registrations are stale, which are kept, and what blocks the plan.

use std::collections::BTreeMap;

use galera::observe::registration::RawKeyValue;
use galera::recover::attestation::AttestedState;
use galera::recover::cleanup::{
    RegistryReading, StalenessSettings, decommission, lost_registrations, plan,
};
use galera::recover::plan::{ActionKind, CheckCode, CheckStatus, Plan, PlanComparison, PlanStep};

use crate::action_fixture::action_id;
use crate::fixture::{FakeStatusRows, RecoveryFixture, at, check, failing, id, status};

/// A key of the reading.
fn key(name: &str, value: &str, mod_revision: i64, lease: i64) -> RawKeyValue {
    RawKeyValue {
        key: format!("/galera/lab/{name}").into_bytes(),
        value: value.as_bytes().to_vec(),
        mod_revision,
        lease,
        ttl: None,
    }
}

fn keys() -> Vec<RawKeyValue> {
    vec![
        key("founder", "{}", 1, 0),
        key("n1/registered", "{}", 2, 0),
        key("n1/phase", "running", 50, 7),
        key("n2/registered", "{}", 3, 0),
        key("n2/wsrep_local_state_comment", "Synced", 51, 8),
        key("n9/registered", "{\"first_seen\":\"x\"}", 4, 0),
        key("n9/ipaddress", "10.0.0.9", 5, 0),
    ]
}

/// Two nodes run; `n9` has been gone for five minutes.
pub(crate) struct CleanupFixture {
    pub(crate) fixture: RecoveryFixture,
    readings: Vec<RegistryReading>,
}

impl CleanupFixture {
    pub(crate) fn new() -> Self {
        let mut fixture = RecoveryFixture::expecting(&["n1", "n2"]);
        fixture.now = 300;
        let fixture = fixture
            .answers_since(
                "n1",
                FakeStatusRows::primary(&["n1:3306", "n2:3306"], 0, 20),
                200,
            )
            .answers_since(
                "n2",
                FakeStatusRows::primary(&["n1:3306", "n2:3306"], 1, 20),
                200,
            )
            .refuses_connections("n9");
        let readings = [100, 150, 200, 299].map(|second| RegistryReading {
            at: at(second),
            revision: 100 + second,
            keys: keys(),
        });
        Self {
            fixture,
            readings: readings.into(),
        }
    }

    /// Alters the keys of every reading from the place `from` on.
    fn with_altered_keys(mut self, from: usize, alter: impl Fn(&mut Vec<RawKeyValue>)) -> Self {
        for reading in &mut self.readings[from..] {
            alter(&mut reading.keys);
        }
        self
    }

    pub(crate) fn with_fixture(
        mut self,
        change: impl FnOnce(RecoveryFixture) -> RecoveryFixture,
    ) -> Self {
        self.fixture = change(self.fixture);
        self
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(
            &self.fixture.case(),
            &self.readings,
            &StalenessSettings::default(),
        )
    }

    fn removed(&self) -> Vec<String> {
        let target = self.plan().target;
        target.map_or(Vec::new(), |target| {
            target.removes.iter().map(ToString::to_string).collect()
        })
    }
}

#[test]
fn a_node_that_is_gone_is_removed_key_by_key() {
    let plan = CleanupFixture::new().plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(plan.kind, ActionKind::Cleanup);
    assert_eq!(
        serde_json::to_value(&plan.steps).unwrap(),
        serde_json::json!([
            {"key": "/galera/lab/n9/ipaddress", "mod_revision": 5, "value": null},
            {"key": "/galera/lab/n9/registered", "mod_revision": 4, "value": null},
        ])
    );
    assert_eq!(
        serde_json::to_value(&plan.undo).unwrap(),
        serde_json::json!([
            {"key": "/galera/lab/n9/ipaddress", "mod_revision": 0, "value": "10.0.0.9"},
            {"key": "/galera/lab/n9/registered", "mod_revision": 0, "value": "{\"first_seen\":\"x\"}"},
        ])
    );
    assert_eq!(plan.summary, "Remove the registration of n9.");
    assert!(
        check(&plan, &CheckCode::STALE_REGISTRATION)
            .message
            .starts_with("n9 is unreachable")
    );
}

#[test]
fn i25_every_sign_of_life_keeps_a_registration() {
    let leased = |keys: &mut Vec<RawKeyValue>| keys.push(key("n9/phase", "stopping", 60, 9));
    let rewritten = |keys: &mut Vec<RawKeyValue>| {
        keys.iter_mut()
            .filter(|raw| raw.mod_revision == 4)
            .for_each(|raw| raw.mod_revision = 61)
    };
    let speaks = |keys: &mut Vec<RawKeyValue>| keys.push(key("n9/seqno", "12", 6, 0));
    let signs = [
        CleanupFixture::new().with_altered_keys(0, leased),
        CleanupFixture::new().with_altered_keys(3, rewritten),
        CleanupFixture::new().with_altered_keys(0, speaks),
        CleanupFixture::new().with_fixture(|fixture| fixture.denies_access("n9")),
        CleanupFixture::new().with_fixture(|mut fixture| {
            fixture.evidence.probes.remove(&id("n9"));
            fixture
        }),
        CleanupFixture::new().with_fixture(|fixture| {
            let listed = FakeStatusRows::primary(&["n1:3306", "n2:3306", "n9:3306"], 0, 20);
            fixture.answers_since("n1", listed, 200)
        }),
        CleanupFixture::new()
            .with_fixture(|fixture| fixture.registered("n9", &[("phase", "running")])),
    ];
    for (place, register) in signs.iter().enumerate() {
        let plan = register.plan();
        assert!(
            !plan.executable && plan.steps.is_empty(),
            "{place}: {plan:#?}"
        );
        assert!(check(&plan, &CheckCode::KEPT_REGISTRATION).status == CheckStatus::Pass);
    }
}

#[test]
fn i25_a_lease_that_ended_within_the_period_keeps_it() {
    let mut register = CleanupFixture::new();
    register.readings[2]
        .keys
        .push(key("n9/phase", "running", 60, 9));
    assert!(register.removed().is_empty());
    let mut long_ago = CleanupFixture::new();
    long_ago.readings[0]
        .keys
        .push(key("n9/phase", "running", 60, 9));
    assert_eq!(long_ago.removed(), ["n9"]);
}

#[test]
fn i25_two_readings_over_ninety_seconds_at_least() {
    let mut register = CleanupFixture::new();
    register.readings.drain(..3);
    assert_eq!(
        status(&register.plan(), &CheckCode::READ_LONG_ENOUGH),
        CheckStatus::Unknown
    );
    let mut register = CleanupFixture::new();
    register.readings.drain(..2);
    assert!(
        register.plan().executable,
        "99 s are enough for a time to live of 10 s"
    );
    let slow = CleanupFixture {
        readings: register.readings,
        fixture: register.fixture.registered("n2", &[("phase", "running")]),
    };
    let mut slow = slow;
    slow.fixture
        .evidence
        .registrations
        .get_mut(&id("n2"))
        .unwrap()
        .ttl = Some(60);
    assert_eq!(
        status(&slow.plan(), &CheckCode::READ_LONG_ENOUGH),
        CheckStatus::Unknown
    );
    let mut old = CleanupFixture::new();
    old.readings.pop();
    assert_eq!(
        status(&old.plan(), &CheckCode::READ_LONG_ENOUGH),
        CheckStatus::Unknown
    );
}

#[test]
fn i25_an_attestation_stands_in_for_the_probe() {
    let register = CleanupFixture::new().with_fixture(|mut fixture| {
        fixture.evidence.probes.remove(&id("n9"));
        fixture.attest("n9", AttestedState::Decommissioned)
    });
    // Known by its registration only.
    let register = register.with_fixture(|mut fixture| {
        let seen = fixture.evidence.registrations.entry(id("n9")).or_default();
        let mut fields = BTreeMap::clone(&seen.fields);
        fields.insert("registered".to_owned(), "{}".to_owned());
        seen.fields = fields.into();
        seen.durable = true;
        fixture
    });
    assert_eq!(register.removed(), ["n9"]);
    assert!(register.plan().executable, "{:#?}", register.plan());
}

#[test]
fn i26_every_step_is_one_key_at_the_revision_that_was_seen() {
    let register = CleanupFixture::new();
    let last = register.readings.last().unwrap();
    for step in register.plan().steps {
        let PlanStep::Key {
            key,
            mod_revision,
            value: None,
        } = step
        else {
            panic!("{step:?}");
        };
        assert!(!key.ends_with('/'), "never a prefix");
        assert!(
            last.keys
                .iter()
                .any(|raw| raw.key == key.as_bytes() && raw.mod_revision == mod_revision)
        );
    }
}

#[test]
fn i27_nothing_while_the_cluster_is_not_primary() {
    let register = CleanupFixture::new().with_fixture(|fixture| {
        fixture
            .answers_since(
                "n1",
                FakeStatusRows::non_primary(&["n1:3306", "n2:3306"], 0, 20),
                200,
            )
            .answers_since(
                "n2",
                FakeStatusRows::non_primary(&["n1:3306", "n2:3306"], 1, 20),
                200,
            )
    });
    assert_eq!(
        failing(&register.plan()),
        ["cluster_primary", "keeps_verified"]
    );
    let blind =
        CleanupFixture::new().with_fixture(|fixture| fixture.times_out("n1").times_out("n2"));
    assert!(!blind.plan().executable);
}

#[test]
fn i27_nothing_while_a_node_starts_or_a_recovery_is_open() {
    for phase in ["starting", "waiting", "joining"] {
        let register = CleanupFixture::new()
            .with_altered_keys(3, |keys| keys.push(key("n5/phase", phase, 70, 11)));
        assert_eq!(
            status(&register.plan(), &CheckCode::NOBODY_STARTING),
            CheckStatus::Fail,
            "{phase}"
        );
    }
    let joining = CleanupFixture::new().with_fixture(|fixture| {
        let server = FakeStatusRows::primary(&["n1:3306", "n2:3306"], 1, 20)
            .with_row("wsrep_local_state", "1")
            .with_row(
                "wsrep_local_state_comment",
                "Joining: receiving State Transfer",
            );
        fixture.answers_since("n2", server, 200)
    });
    assert_eq!(failing(&joining.plan()), ["nobody_starting"]);
    let open = CleanupFixture::new().with_fixture(|mut fixture| {
        fixture.context.open_action = Some(action_id());
        fixture
    });
    assert_eq!(failing(&open.plan()), ["no_other_recovery"]);
}

#[test]
fn i28_a_verified_registration_remains() {
    let register = CleanupFixture::new().with_altered_keys(0, |keys| {
        keys.retain(|raw| raw.key.starts_with(b"/galera/lab/n9"))
    });
    assert_eq!(failing(&register.plan()), ["keeps_verified"]);
}

#[test]
fn i28_a_living_node_that_lost_its_registration_gets_it_back() {
    let register = CleanupFixture::new();
    let before = register.readings.last().unwrap();
    let mut after = before.clone();
    after.keys.retain(|raw| {
        !raw.key.starts_with(b"/galera/lab/n2/") && !raw.key.starts_with(b"/galera/lab/n9/")
    });
    assert_eq!(
        lost_registrations(&register.fixture.case(), before, &after),
        [PlanStep::Key {
            key: "/galera/lab/n2/registered".to_owned(),
            mod_revision: 0,
            value: Some("{}".to_owned()),
        }]
    );
    assert!(lost_registrations(&register.fixture.case(), before, before).is_empty());
}

#[test]
fn i29_unknown_keys_are_shown_and_stay() {
    let register = CleanupFixture::new().with_altered_keys(0, |keys| {
        keys.push(key("n9/something_else", "x", 8, 0));
        keys.push(key("n9/a/b", "x", 9, 0));
    });
    let plan = register.plan();
    assert!(
        check(&plan, &CheckCode::UNKNOWN_KEYS)
            .message
            .contains("/galera/lab/n9/something_else")
    );
    assert_eq!(plan.steps.len(), 2);
}

#[test]
fn a_value_that_cannot_be_put_back_is_not_removed() {
    let register = CleanupFixture::new().with_altered_keys(0, |keys| {
        keys.iter_mut()
            .filter(|raw| raw.mod_revision == 5)
            .for_each(|raw| raw.value = vec![0xff]);
    });
    assert!(register.removed().is_empty());
}

#[test]
fn the_digest_follows_revisions_but_not_time() {
    let register = CleanupFixture::new();
    let digest = register.plan().digest;
    let mut later = CleanupFixture::new();
    later.fixture.now = 302;
    let later = later.with_fixture(|fixture| {
        fixture
            .answers_since(
                "n1",
                FakeStatusRows::primary(&["n1:3306", "n2:3306"], 0, 25),
                200,
            )
            .answers_since(
                "n2",
                FakeStatusRows::primary(&["n1:3306", "n2:3306"], 1, 25),
                200,
            )
            .refuses_connections("n9")
    });
    assert_eq!(later.plan().digest, digest);
    let rewritten = CleanupFixture::new().with_altered_keys(0, |keys| {
        keys.iter_mut()
            .filter(|raw| raw.mod_revision == 5)
            .for_each(|raw| raw.mod_revision = 6)
    });
    assert_ne!(rewritten.plan().digest, digest);
}

/// A retired cluster of two nodes, both attested.
fn retired_cluster() -> (RecoveryFixture, RegistryReading) {
    let fixture = RecoveryFixture::expecting(&["n1", "n2"])
        .refuses_connections("n1")
        .times_out("n2")
        .attest("n1", AttestedState::Decommissioned)
        .attest("n2", AttestedState::Decommissioned);
    let mut keys = keys();
    keys.retain(|raw| raw.lease == 0 && !raw.key.starts_with(b"/galera/lab/n9"));
    let reading = RegistryReading {
        at: at(60),
        revision: 200,
        keys,
    };
    (fixture, reading)
}

#[test]
fn a_decommissioned_cluster_loses_every_key_the_founder_last() {
    let (fixture, reading) = retired_cluster();
    let plan = decommission(&fixture.case(), &reading);
    assert!(plan.executable, "{plan:#?}");
    let keys: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| match step {
            PlanStep::Key { key, .. } => key.as_str(),
            PlanStep::Statement { .. } => panic!("{step:?}"),
        })
        .collect();
    assert_eq!(
        keys,
        [
            "/galera/lab/n1/registered",
            "/galera/lab/n2/registered",
            "/galera/lab/founder"
        ]
    );
    assert_eq!(plan.undo.len(), 3);
}

#[test]
fn i26_decommissioning_needs_every_member_attested_and_none_running() {
    let (fixture, reading) = retired_cluster();
    let mut stopped = fixture.clone();
    stopped.attestations[1].statement = AttestedState::Stopped;
    assert_eq!(
        failing(&decommission(&stopped.case(), &reading)),
        ["all_attested"]
    );
    let mut more = reading.clone();
    more.keys.push(key("n7/registered", "{}", 9, 0));
    assert_eq!(
        failing(&decommission(&fixture.case(), &more)),
        ["all_attested"]
    );
    let mut leased = reading.clone();
    leased.keys.push(key("n2/phase", "running", 9, 4));
    assert_eq!(
        failing(&decommission(&fixture.case(), &leased)),
        ["nobody_answers"]
    );
    let alive = fixture
        .clone()
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 3));
    assert_eq!(
        failing(&decommission(&alive.case(), &reading)),
        ["attestations_hold", "nobody_answers"]
    );
}

#[test]
fn i30_nothing_stale_is_an_answer_with_every_why() {
    let gone =
        |keys: &mut Vec<RawKeyValue>| keys.retain(|raw| !raw.key.starts_with(b"/galera/lab/n9"));
    let plan = CleanupFixture::new().with_altered_keys(0, gone).plan();
    assert_eq!(failing(&plan), ["something_to_do"]);
    assert!(plan.target.is_none());
    assert_eq!(
        plan.summary,
        "Nothing to clean up: no registration is stale."
    );
    let kept = plan
        .checks
        .iter()
        .filter(|check| check.code == CheckCode::KEPT_REGISTRATION);
    assert_eq!(kept.count(), 2);
}

/// A replica that has just started to read cannot know what is stale, but does know what is wrong with the cluster.
#[test]
fn i16_i25_a_planner_that_has_not_read_for_long_knows_no_other_plan() {
    let approved = CleanupFixture::new().plan();
    assert!(approved.executable);
    let late = |change: fn(RecoveryFixture) -> RecoveryFixture| {
        let mut register = CleanupFixture::new().with_fixture(change);
        register.readings.drain(..3);
        register.plan().compare_with_approved(&approved)
    };
    assert_eq!(late(|fixture| fixture), PlanComparison::ShortObservation);
    let lost = |fixture: RecoveryFixture| {
        let alone = FakeStatusRows::non_primary(&["n1:3306"], 0, 20);
        fixture
            .refuses_connections("n2")
            .answers_since("n1", alone, 200)
    };
    assert_eq!(late(lost), PlanComparison::Changed);
    assert_eq!(
        CleanupFixture::new()
            .plan()
            .compare_with_approved(&approved),
        PlanComparison::Same
    );
    // A replica that has read for long enough knows what has changed.
    let back = CleanupFixture::new().with_altered_keys(0, |keys| {
        keys.retain(|raw| !raw.key.ends_with(b"9/ipaddress"))
    });
    assert_eq!(
        back.plan().compare_with_approved(&approved),
        PlanComparison::Changed
    );
}

#[test]
fn an_unconfirmed_registration_is_removed_once_it_is_attested() {
    let strict = |mut fixture: RecoveryFixture| {
        fixture.evidence.first_view = false;
        // Nobody can tell from here whether this is a forgery or a member that was forgotten.
        fixture.answers("n9", FakeStatusRows::primary(&["n9"], 0, 20))
    };
    let fixture = CleanupFixture::new().with_fixture(strict);
    assert!(fixture.removed().is_empty());
    let plan = fixture.plan();
    let kept = plan.checks.iter().any(|check| {
        check.code == CheckCode::KEPT_REGISTRATION
            && check
                .message
                .starts_with("n9 is not confirmed as a member; admit it")
    });
    assert!(kept, "{:#?}", plan.checks);
    let attested = fixture.with_fixture(|it| it.attest("n9", AttestedState::Decommissioned));
    assert!(
        attested.plan().executable,
        "{:?}",
        failing(&attested.plan())
    );
    assert_eq!(attested.removed(), ["n9"]);
}

#[test]
fn a_removed_member_that_the_configuration_pins_says_so() {
    let fixture = CleanupFixture::new()
        .with_altered_keys(0, |keys| {
            keys.retain(|key| !key.key.starts_with(b"/galera/lab/n9"));
        })
        .with_fixture(|mut fixture| {
            fixture.evidence.configured_members.insert(id("n9"));
            fixture.attest("n9", AttestedState::Decommissioned)
        });
    let plan = fixture.plan();
    let found = check(&plan, &CheckCode::SOMETHING_TO_DO);
    assert!(
        found
            .message
            .contains("n9 is expected because the configuration pins it: remove it from --cluster"),
        "{}",
        found.message
    );
}

#[test]
fn a_plan_that_needs_longer_readings_says_until_when() {
    let fixture = CleanupFixture::new();
    let readings = &fixture.readings[3..];
    let plan = plan(
        &fixture.fixture.case(),
        readings,
        &StalenessSettings::default(),
    );
    let found = check(&plan, &CheckCode::READ_LONG_ENOUGH);
    // The first reading is of second 299, and ninety seconds are needed.
    assert_eq!(found.expected_at, Some(at(389)));
}
