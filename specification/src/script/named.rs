//! Scripts with a name: what recovery rests on.

use super::GaleraScript;
use super::ScriptStep::{
    Bootstrap, Cut, EmptyData, Heal, Kill, Lock, Mend, Pause, RemoveSavedView, Resume,
    SetSafeToBootstrap, Start, StartNewCluster, Stop, Unlock, WaitPrimTimeout, Write,
};

pub(super) fn all() -> Vec<GaleraScript> {
    [crashes(), stops(), partitions(), votes(), servers()].concat()
}

fn crashes() -> Vec<GaleraScript> {
    vec![
        GaleraScript::new(
            "survivor_of_two_crashes",
            3,
            [
                Write(1, 1),
                Kill(1),
                Write(2, 2),
                Kill(2),
                Write(0, 3),
                Bootstrap(0),
                Write(0, 4),
                Start(1),
                Start(2),
                Write(2, 5),
            ],
        ),
        GaleraScript::new(
            "all_crashed_and_all_back",
            3,
            [
                Write(0, 1),
                Kill(0),
                Kill(1),
                Kill(2),
                Start(0),
                Start(1),
                Start(2),
                Write(1, 2),
            ],
        ),
        GaleraScript::new(
            "crashed_without_saved_view",
            3,
            [
                Kill(0),
                Kill(1),
                Kill(2),
                RemoveSavedView(1),
                Start(1),
                WaitPrimTimeout,
                StartNewCluster(0),
                SetSafeToBootstrap(0),
                StartNewCluster(0),
                Start(1),
                Start(2),
            ],
        ),
        GaleraScript::new(
            "ahead_of_a_new_cluster",
            3,
            [
                Kill(1),
                Kill(2),
                Bootstrap(0),
                Write(0, 1),
                Write(0, 2),
                Kill(0),
                SetSafeToBootstrap(1),
                StartNewCluster(1),
                Start(2),
                Write(1, 10),
                Write(1, 11),
                Write(1, 12),
                Write(1, 13),
                RemoveSavedView(0),
                Start(0),
            ],
        ),
    ]
}

fn stops() -> Vec<GaleraScript> {
    vec![
        GaleraScript::new(
            "stopped_one_after_the_other",
            3,
            [
                Stop(0),
                Write(1, 1),
                Stop(1),
                Write(2, 2),
                Stop(2),
                StartNewCluster(0),
                StartNewCluster(2),
                Start(0),
                Start(1),
                Write(0, 3),
            ],
        ),
        GaleraScript::new(
            "stop_and_crash",
            3,
            [
                Stop(0),
                Kill(1),
                Bootstrap(2),
                Stop(2),
                StartNewCluster(2),
                Start(1),
                Start(0),
            ],
        ),
        GaleraScript::new(
            "emptied_and_joined",
            3,
            [
                Stop(2),
                Write(0, 1),
                EmptyData(2),
                Start(2),
                Kill(2),
                EmptyData(2),
                Start(2),
                Write(2, 2),
            ],
        ),
    ]
}

fn partitions() -> Vec<GaleraScript> {
    vec![
        GaleraScript::new(
            "even_split",
            4,
            [
                Cut(0, 2),
                Cut(0, 3),
                Cut(1, 2),
                Cut(1, 3),
                Heal,
                Write(3, 1),
            ],
        ),
        GaleraScript::new(
            "cut_from_one_of_two",
            3,
            // The third one relays.
            [
                Cut(0, 1),
                Write(0, 1),
                Write(1, 2),
                Cut(0, 2),
                Write(1, 3),
                Heal,
                Write(0, 4),
            ],
        ),
        GaleraScript::new(
            "all_cut_and_one_bootstrapped",
            3,
            [
                Cut(0, 1),
                Cut(0, 2),
                Cut(1, 2),
                Bootstrap(0),
                Write(0, 1),
                Mend(0, 1),
                Write(1, 2),
                Heal,
                Write(2, 3),
            ],
        ),
        GaleraScript::new(
            "all_cut_and_the_others_meet_first",
            3,
            [
                Cut(0, 1),
                Cut(0, 2),
                Cut(1, 2),
                Bootstrap(0),
                Write(0, 1),
                // They are most of the last view of all three, and forget the third one as it has forgotten them.
                Mend(1, 2),
                Write(1, 2),
                Heal,
                Write(0, 3),
            ],
        ),
        GaleraScript::new(
            "second_primary_is_not_noticed",
            3,
            // Each has forgotten the other. What happens when a server is restarted depends on whom it meets first.
            [
                Cut(0, 1),
                Cut(0, 2),
                Write(1, 1),
                Bootstrap(0),
                Write(0, 2),
                Heal,
                Write(0, 3),
                Write(2, 4),
                Stop(2),
            ],
        ),
    ]
}

fn votes() -> Vec<GaleraScript> {
    vec![
        GaleraScript::new(
            "heavy_node_goes_on",
            3,
            [Cut(0, 1), Cut(0, 2), Write(0, 1), Heal],
        )
        .with_weights(&[3, 1, 1]),
        GaleraScript::new(
            "member_without_votes",
            2,
            [Kill(1), Bootstrap(0), Write(0, 7), Start(1), Write(1, 8)],
        )
        .with_weights(&[0, 1]),
        GaleraScript::new(
            "arbitrator_keeps_quorum",
            2,
            [Kill(1), Write(0, 1), Start(1), Kill(0), Write(1, 2)],
        )
        .with_arbitrator(),
        // It stays Primary alone, and neither side has the address of the other.
        GaleraScript::new(
            "arbitrator_left_alone",
            2,
            [
                Write(0, 1),
                Stop(0),
                Stop(1),
                Start(0),
                WaitPrimTimeout,
                SetSafeToBootstrap(1),
                StartNewCluster(1),
                Start(0),
                Kill(2),
                Start(2),
            ],
        )
        .with_arbitrator(),
        GaleraScript::new(
            "arbitrator_lost_with_a_node",
            2,
            [
                Kill(2),
                Write(0, 1),
                Kill(1),
                Bootstrap(0),
                Start(2),
                Start(1),
            ],
        )
        .with_arbitrator(),
    ]
}

fn servers() -> Vec<GaleraScript> {
    vec![
        GaleraScript::new(
            "paused_and_expelled",
            3,
            [
                Pause(2),
                Write(0, 5),
                Resume(2),
                Pause(0),
                Pause(1),
                Resume(0),
                Resume(1),
            ],
        ),
        GaleraScript::new("locked_survivor", 3, [Lock(0), Kill(1), Kill(2), Unlock(0)]),
    ]
}
