//! The arithmetic of quorum, for components that the console cannot see (I43).
//!
//! Galera counts votes of the last Primary view: a component remains Primary with more than half of them, where members
//! that left in order are subtracted first. A console sees neither the votes nor the order of events on the other side
//! of a partition, so it asks the weaker question: *could* members out of its sight be Primary?
//!
//! A member that answers as non-Primary, or that such a member lists, is not Primary. One whose server does not run is
//! not Primary either, but may have left in order and so have left its votes to others. Of two servers that stop one
//! after the other, the second may have been Primary alone. The question is therefore whether the members that are *not*
//! seen hold more than half of the votes together, while one of them may run. It errs towards yes: a console that is
//! blind reports that, not an outage (I18).

/// Whether a member of the last Primary view runs, as far as the console knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberPresence {
    /// In a component that the console sees.
    Seen,
    /// Its server does not run: its port is closed, or its agent reports that it is stopped.
    Stopped,
    /// It may run out of sight.
    Silent,
}

/// Options of the provider that weaken the rule. One member that has them suffices for doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumRules {
    /// `pc.ignore_sb`: half of the votes suffice.
    pub ignore_split_brain: bool,
    /// `pc.ignore_quorum`: any component is Primary.
    pub ignore_quorum: bool,
}

/// The votes of the last Primary view, by where their members are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteCount {
    seen: u64,
    stopped: u64,
    silent: u64,
    /// Whether one of the silent members is a database server with a vote, or any server where votes do not matter.
    silent_voter: bool,
    silent_server: bool,
}

impl VoteCount {
    /// Adds a database server with `votes` (`pc.weight`; 0 is permitted).
    pub fn add_server(&mut self, votes: u8, presence: MemberPresence) {
        self.add(u64::from(votes), presence);
        if presence == MemberPresence::Silent {
            self.silent_server = true;
            self.silent_voter |= votes > 0;
        }
    }

    /// Adds the votes of arbitrators, which serve no clients: alone they are no Primary component.
    pub fn add_arbitrators(&mut self, votes: u64, presence: MemberPresence) {
        self.add(votes, presence);
    }

    fn add(&mut self, votes: u64, presence: MemberPresence) {
        let sum = match presence {
            MemberPresence::Seen => &mut self.seen,
            MemberPresence::Stopped => &mut self.stopped,
            MemberPresence::Silent => &mut self.silent,
        };
        *sum = sum.saturating_add(votes);
    }

    /// All votes of the view.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.unseen().saturating_add(self.seen)
    }

    /// The votes of members in components that the console sees.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The votes of members that the console does not see in a component.
    #[must_use]
    pub const fn unseen(&self) -> u64 {
        self.silent.saturating_add(self.stopped)
    }

    /// Whether members out of sight could be Primary together.
    #[must_use]
    pub const fn unseen_could_be_primary(&self, rules: QuorumRules) -> bool {
        // A component without votes was bootstrapped: it stays Primary until its members change.
        if rules.ignore_quorum || self.total() == 0 {
            return self.silent_server;
        }
        // A server without a vote can be Primary with an arbitrator, or with a voter that is silent itself.
        let voters = self.silent_voter || (self.silent_server && self.silent > 0);
        // More than half of all: more than the seen ones have.
        let suffices =
            self.unseen() > self.seen || (rules.ignore_split_brain && self.unseen() == self.seen);
        voters && suffices
    }
}

/// How many of the `votes` of a Primary component can be lost at once, by members that fail rather than stop in order, so
/// that the rest remains Primary. Without votes nothing can.
#[must_use]
pub const fn votes_to_spare(votes: u64, rules: QuorumRules) -> u64 {
    match rules {
        QuorumRules {
            ignore_quorum: true,
            ..
        } => votes.saturating_sub(1),
        QuorumRules {
            ignore_split_brain: true,
            ..
        } => votes / 2,
        QuorumRules { .. } => votes.saturating_sub(1) / 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use MemberPresence::{Seen, Silent, Stopped};

    fn count(servers: &[(u8, MemberPresence)], arbitrators: &[(u64, MemberPresence)]) -> VoteCount {
        let mut count = VoteCount::default();
        for (votes, presence) in servers {
            count.add_server(*votes, *presence);
        }
        for (votes, presence) in arbitrators {
            count.add_arbitrators(*votes, *presence);
        }
        count
    }

    fn could(servers: &[(u8, MemberPresence)], arbitrators: &[(u64, MemberPresence)]) -> bool {
        count(servers, arbitrators).unseen_could_be_primary(QuorumRules::default())
    }

    #[test]
    fn i43_the_arithmetic_of_an_unseen_majority() {
        for (what, servers, arbitrators, expected) in [
            (
                "two of three silent",
                vec![(1, Seen), (1, Silent), (1, Silent)],
                vec![],
                true,
            ),
            (
                "two of three stopped",
                vec![(1, Seen), (1, Stopped), (1, Stopped)],
                vec![],
                false,
            ),
            (
                "one may have shut down cleanly",
                vec![(1, Seen), (1, Stopped), (1, Silent)],
                vec![],
                true,
            ),
            (
                "one of three silent",
                vec![(1, Seen), (1, Seen), (1, Silent)],
                vec![],
                false,
            ),
            (
                "an even split",
                vec![(1, Seen), (1, Seen), (1, Silent), (1, Silent)],
                vec![],
                false,
            ),
            (
                "an even split and an arbitrator",
                vec![(1, Seen), (1, Silent)],
                vec![(1, Silent)],
                true,
            ),
            (
                "the arbitrator is on this side",
                vec![(1, Seen), (1, Silent)],
                vec![(1, Seen)],
                false,
            ),
            (
                "an arbitrator alone",
                vec![(1, Seen), (1, Stopped)],
                vec![(1, Silent)],
                false,
            ),
            (
                "a heavy silent one",
                vec![(1, Seen), (1, Seen), (3, Silent)],
                vec![],
                true,
            ),
            (
                "a heavy seen one",
                vec![(3, Seen), (1, Silent), (1, Silent)],
                vec![],
                false,
            ),
            ("no vote", vec![(1, Seen), (0, Silent)], vec![], false),
            (
                "no vote, with a stopped voter",
                vec![(1, Seen), (0, Silent), (3, Stopped)],
                vec![],
                false,
            ),
            (
                "no vote, with an arbitrator",
                vec![(0, Seen), (0, Silent)],
                vec![(1, Silent)],
                true,
            ),
            (
                "a view without votes",
                vec![(0, Seen), (0, Silent)],
                vec![],
                true,
            ),
            (
                "a view without votes, stopped",
                vec![(0, Stopped)],
                vec![],
                false,
            ),
            ("nothing known", vec![], vec![], false),
        ] {
            assert_eq!(could(&servers, &arbitrators), expected, "{what}");
        }
    }

    #[test]
    fn i43_options_of_the_provider_weaken_the_rule() {
        let even = count(&[(1, Seen), (1, Silent)], &[]);
        let minority = count(&[(1, Seen), (1, Seen), (0, Silent)], &[]);
        let rules = |ignore_split_brain, ignore_quorum| QuorumRules {
            ignore_split_brain,
            ignore_quorum,
        };
        assert!(even.unseen_could_be_primary(rules(true, false)));
        assert!(!minority.unseen_could_be_primary(rules(true, false)));
        assert!(minority.unseen_could_be_primary(rules(false, true)));
        assert!(!count(&[(1, Seen), (1, Stopped)], &[]).unseen_could_be_primary(rules(true, true)));
    }

    /// Galera's own rule, for a component that is formed at once: present and left members against the last view.
    fn has_quorum(present: u64, left: u64, total: u64) -> bool {
        2 * present + left > total
    }

    fn presences() -> impl Strategy<Value = MemberPresence> {
        prop_oneof![Just(Seen), Just(Stopped), Just(Silent)]
    }

    proptest! {
        #[test]
        fn i43_more_silence_never_proves_that_there_is_no_primary(
            servers in prop::collection::vec((any::<u8>(), presences()), 0..8),
            arbitrators in 0_u64..3,
            silenced in any::<prop::sample::Index>(),
            rules in (any::<bool>(), any::<bool>()),
        ) {
            let rules = QuorumRules { ignore_split_brain: rules.0, ignore_quorum: rules.1 };
            let before = count(&servers, &[(arbitrators, Silent)]).unseen_could_be_primary(rules);
            let mut more = servers;
            if !more.is_empty() {
                let index = silenced.index(more.len());
                more[index].1 = Silent;
            }
            let after = count(&more, &[(arbitrators, Silent)]).unseen_could_be_primary(rules);
            prop_assert!(after || !before);
        }

        #[test]
        fn i43_a_component_with_quorum_is_never_excluded(
            servers in prop::collection::vec((any::<u8>(), presences()), 1..8),
        ) {
            let votes = |of: MemberPresence| -> u64 {
                servers.iter().filter(|(_, at)| *at == of).map(|(votes, _)| u64::from(*votes)).sum()
            };
            let total = votes(Seen) + votes(Stopped) + votes(Silent);
            // Every stopped member may have left in order before.
            if votes(Silent) > 0 && has_quorum(votes(Silent), votes(Stopped), total) {
                prop_assert!(could(&servers, &[]));
            }
        }

        #[test]
        fn what_can_be_spared_is_the_most_that_leaves_quorum(votes in 1_u64..2_000, ignore_sb in any::<bool>()) {
            let rules = QuorumRules { ignore_split_brain: ignore_sb, ignore_quorum: false };
            let remains = |lost: u64| {
                let rest = votes - lost;
                2 * rest > votes || (ignore_sb && 2 * rest == votes)
            };
            let spare = votes_to_spare(votes, rules);
            prop_assert!(remains(spare));
            prop_assert!(spare == votes || !remains(spare + 1));
        }

        #[test]
        fn huge_votes_do_not_overflow(votes in prop::collection::vec(any::<u64>(), 0..6)) {
            let mut count = VoteCount::default();
            for votes in votes {
                count.add_arbitrators(votes, Silent);
                count.add_arbitrators(votes, Stopped);
            }
            count.add_server(255, Silent);
            prop_assert!(count.unseen_could_be_primary(QuorumRules::default()));
        }
    }
}
