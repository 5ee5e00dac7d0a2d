//! What the removal of a registration changes about the members of a cluster.

use galera::judge::cluster::fold;

use crate::cleanup::CleanupFixture;
use crate::fixture::id;

#[test]
fn a_removed_member_is_expected_no_longer() {
    let registered = |nodes: &[&str]| {
        let mut fixture = CleanupFixture::new().fixture;
        fixture.evidence.configured_members.clear();
        for node in nodes {
            let fields = [("registered", "{}")];
            fixture = fixture.registered(node, &fields);
            let seen = fixture.evidence.registrations.get_mut(&id(node)).unwrap();
            (seen.durable, seen.leased) = (true, false);
        }
        let case = fixture.case();
        fold(case.evidence, case.now, &case.settings.fold, None).expected_members
    };
    assert_eq!(
        registered(&["n1", "n2", "n9"]),
        [id("n1"), id("n2"), id("n9")]
    );
    assert_eq!(registered(&["n1", "n2"]), [id("n1"), id("n2")]);
}

#[test]
fn the_votes_before_and_after_a_removal_are_shown() {
    let cleanup = CleanupFixture::new().with_fixture(|mut fixture| {
        fixture.evidence.configured_members.clear();
        fixture.evidence.last_primary_members = [id("n1"), id("n2"), id("n9")].into();
        fixture
    });
    let plan = cleanup.plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(
        plan.summary,
        "Remove the registration of n9. Quorum now: 2 of 3 votes; losing one more stops writes. \
         Afterwards: 2 of 2 votes; losing one stops writes."
    );
}
