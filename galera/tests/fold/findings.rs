//! Findings on views of the real fold.

use std::collections::BTreeSet;

use galera::insight::findings::{Finding, FindingCode, FindingSeverity, FindingsReport, findings};
use galera::observe::observation::ProbeErrorKind;
use galera::view::NodeState;
use proptest::prelude::*;

use crate::fixture::{FakeServer, FoldFixture, at, failure, id, node, state, timed_out};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const PORT: u16 = 3306;

/// Variables of a member that nothing is wrong with.
const SOUND: [(&str, &str); 12] = [
    ("binlog_format", "ROW"),
    ("innodb_autoinc_lock_mode", "2"),
    ("innodb_flush_log_at_trx_commit", "1"),
    ("max_connections", "151"),
    ("Threads_connected", "7"),
    (
        "wsrep_cluster_address",
        "gcomm://10.0.0.1,10.0.0.2,10.0.0.3",
    ),
    ("wsrep_slave_threads", "4"),
    ("wsrep_sst_donor", ""),
    ("wsrep_sst_method", "mariabackup"),
    ("wsrep_sync_wait", "1"),
    ("wsrep_auto_increment_control", "ON"),
    (
        "wsrep_provider_options",
        "gcache.size = 1G; pc.recovery = true; socket.ssl = YES",
    ),
];

/// A sound member of three.
fn member(index: usize) -> FakeServer {
    let server = FakeServer::synced(&format!("db{}", index + 1))
        .view(&["AUTO"; 3], index)
        .with_row(
            "wsrep_provider_options",
            "pc.weight = 1; pc.ignore_sb = false",
        );
    SOUND.iter().fold(server, |server, (name, value)| {
        server.with_detail(name, value)
    })
}

/// Three members, of which `change` makes another one at each index.
fn cluster(change: impl Fn(usize, FakeServer) -> FakeServer) -> FoldFixture {
    let mut fixture = FoldFixture::expecting(&MEMBERS);
    for (index, name) in MEMBERS.iter().enumerate() {
        fixture = fixture.answers(name, change(index, member(index)));
    }
    fixture
}

/// The first member changed, the others sound.
fn first(change: impl Fn(FakeServer) -> FakeServer) -> FoldFixture {
    cluster(|index, server| match index {
        0 => change(server),
        _ => server,
    })
}

fn report(fixture: &FoldFixture) -> FindingsReport {
    findings(&fixture.view(), &fixture.evidence, PORT)
}

fn codes(report: &FindingsReport) -> Vec<FindingCode> {
    report.findings.iter().map(|finding| finding.code).collect()
}

/// The only finding.
fn only(fixture: &FoldFixture) -> Finding {
    let report = report(fixture);
    let [finding] = &report.findings[..] else {
        panic!("{:#?}", report.findings);
    };
    finding.clone()
}

#[test]
fn a_sound_cluster_has_no_findings() {
    let report = report(&cluster(|_, server| server));
    assert_eq!(codes(&report), []);
    assert_eq!(report.unseen.len(), 1, "what the account cannot see");
}

#[test]
fn each_fault_of_one_member_is_found_and_names_it() {
    let cases: [(&str, &str, FindingCode, FindingSeverity); 13] = [
        (
            "wsrep_cluster_address",
            "gcomm://",
            FindingCode::BootstrapAddress,
            FindingSeverity::Warning,
        ),
        (
            "wsrep_cluster_address",
            "gcomm://10.9.9.9",
            FindingCode::OutdatedAddress,
            FindingSeverity::Warning,
        ),
        // Only itself.
        (
            "wsrep_cluster_address",
            "gcomm://10.0.0.1:4567",
            FindingCode::OutdatedAddress,
            FindingSeverity::Warning,
        ),
        (
            "innodb_autoinc_lock_mode",
            "1",
            FindingCode::AutoincLockMode,
            FindingSeverity::Warning,
        ),
        (
            "binlog_format",
            "MIXED",
            FindingCode::BinlogFormat,
            FindingSeverity::Critical,
        ),
        (
            "innodb_flush_log_at_trx_commit",
            "0",
            FindingCode::RelaxedDurability,
            FindingSeverity::Notice,
        ),
        (
            "wsrep_sync_wait",
            "0",
            FindingCode::StaleReads,
            FindingSeverity::Notice,
        ),
        (
            "wsrep_sst_method",
            "rsync",
            FindingCode::BlockingTransfer,
            FindingSeverity::Notice,
        ),
        (
            "wsrep_sst_donor",
            "db9",
            FindingCode::UnknownDonor,
            FindingSeverity::Warning,
        ),
        (
            "Threads_connected",
            "121",
            FindingCode::ConnectionsUsed,
            FindingSeverity::Warning,
        ),
        (
            "Threads_connected",
            "150",
            FindingCode::ConnectionsUsed,
            FindingSeverity::Critical,
        ),
        (
            "Innodb_history_list_length",
            "4000000",
            FindingCode::LongTransactions,
            FindingSeverity::Warning,
        ),
        (
            "wsrep_provider_options",
            "gcache.size = 1G; pc.recovery = false; socket.ssl = YES",
            FindingCode::PrimaryNotRecovered,
            FindingSeverity::Notice,
        ),
    ];
    for (name, value, code, severity) in cases {
        let report = report(&first(|server| server.with_detail(name, value)));
        let found = report.findings.iter().find(|finding| finding.code == code);
        let found = found.unwrap_or_else(|| panic!("{name}={value}: {report:#?}"));
        assert_eq!(found.severity, severity, "{name}={value}");
        assert_eq!(found.nodes, [id("10.0.0.1")], "{name}={value}");
        assert!(!found.remedy.is_empty());
        assert!(found.manual.starts_with("https://"), "{}", found.manual);
        // A difference to the others is a finding of its own, and nothing else is found.
        let others: BTreeSet<FindingCode> =
            codes(&report).into_iter().filter(|c| *c != code).collect();
        assert!(
            others.is_subset(&BTreeSet::from([FindingCode::ConfigurationDrift])),
            "{name}={value}: {others:?}"
        );
    }
}

#[test]
fn variables_that_only_some_servers_have_do_not_differ() {
    let fixture = first(|server| server.with_detail("pxc_strict_mode", "ENFORCING"));
    assert_eq!(codes(&report(&fixture)), []);
    let fixture = cluster(|index, server| {
        let value = if index == 2 {
            "PERMISSIVE"
        } else {
            "ENFORCING"
        };
        server.with_detail("pxc_strict_mode", value)
    });
    let finding = only(&fixture);
    assert_eq!(finding.code, FindingCode::ConfigurationDrift);
    assert_eq!(finding.severity, FindingSeverity::Warning);
    assert_eq!(
        finding.message,
        "pxc_strict_mode differs between members: ENFORCING, PERMISSIVE."
    );
    assert_eq!(finding.nodes.len(), 3);
    assert_eq!(finding.evidence[2].value, "PERMISSIVE");
}

#[test]
fn another_spelling_is_no_difference() {
    let fixture = cluster(|index, server| {
        let (size, switch) = [("1G", "TRUE"), ("1024M", "true"), ("1073741824", "YES")][index];
        let options = format!("gcache.size = {size}; pc.recovery = {switch}; socket.ssl = YES");
        server.with_detail("wsrep_provider_options", &options)
    });
    assert_eq!(codes(&report(&fixture)), []);
}

#[test]
fn relaxed_durability_on_all_members_is_worse_than_on_one() {
    let fixture = cluster(|_, server| server.with_detail("innodb_flush_log_at_trx_commit", "2"));
    let finding = only(&fixture);
    assert_eq!(finding.severity, FindingSeverity::Warning);
    assert_eq!(
        finding.message,
        "innodb_flush_log_at_trx_commit is 2 on db1 (10.0.0.1), db2 (10.0.0.2) and db3 (10.0.0.3): committed transactions \
         of the last second are lost when all members crash together."
    );
}

#[test]
fn a_founder_that_an_agent_runs_needs_no_address() {
    let agent = [
        ("phase", "running"),
        ("wsrep_local_state_comment", "Synced"),
    ];
    let fixture = first(|server| server.with_detail("wsrep_cluster_address", "gcomm://"));
    assert_eq!(only(&fixture).code, FindingCode::BootstrapAddress);
    let run = fixture.registered("10.0.0.1", 9.0, &agent);
    assert_eq!(codes(&report(&run)), []);
}

#[test]
fn an_address_by_name_is_not_judged() {
    let fixture =
        first(|server| server.with_detail("wsrep_cluster_address", "gcomm://galera.example"));
    assert_eq!(codes(&report(&fixture)), []);
}

#[test]
fn a_donor_list_that_permits_others_is_sound() {
    for list in ["db9,", "db2", "db9,db3"] {
        let fixture = first(|server| server.with_detail("wsrep_sst_donor", list));
        assert_eq!(codes(&report(&fixture)), [], "{list}");
    }
}

#[test]
fn the_same_offset_matters_without_automatic_control() {
    let fixed = |server: FakeServer| server.with_detail("auto_increment_offset", "1");
    assert_eq!(codes(&report(&cluster(|_, server| fixed(server)))), []);
    let fixture =
        cluster(|_, server| fixed(server).with_detail("wsrep_auto_increment_control", "OFF"));
    assert_eq!(only(&fixture).code, FindingCode::AutoIncrementOverlap);
    let fixture = cluster(|index, server| {
        server
            .with_detail("wsrep_auto_increment_control", "OFF")
            .with_detail("auto_increment_offset", &(index + 1).to_string())
    });
    assert_eq!(codes(&report(&fixture)), []);
}

/// `count` members with these votes and segments.
fn voters(voters: &[(&str, &str)]) -> FoldFixture {
    let names: Vec<String> = (1..=voters.len()).map(|n| format!("10.0.0.{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let total: u32 = voters
        .iter()
        .map(|(votes, _)| votes.parse::<u32>().unwrap())
        .sum();
    let address = format!("gcomm://{}", ids.join(","));
    let mut fixture = FoldFixture::expecting(&ids);
    for (index, (votes, segment)) in voters.iter().enumerate() {
        let server = member(index)
            .view(&vec!["AUTO"; voters.len()], index)
            .with_row("wsrep_provider_options", &format!("pc.weight = {votes}"))
            .with_row("wsrep_cluster_weight", &total.to_string())
            .with_row("wsrep_gmcast_segment", segment)
            .with_detail("wsrep_cluster_address", &address);
        fixture = fixture.answers(ids[index], server);
    }
    fixture
}

#[test]
fn votes_are_judged_by_what_a_crash_does() {
    use FindingCode::{DecisiveVotes, EvenVotes, NoVote, SingleMember};
    type Voters = &'static [(&'static str, &'static str)];
    let cases: [(Voters, &[FindingCode]); 9] = [
        (&[("1", "0"), ("1", "0"), ("1", "0")], &[]),
        (&[("1", "0")], &[SingleMember]),
        (&[("1", "0"), ("1", "0")], &[EvenVotes]),
        (&[("1", "0"); 4], &[EvenVotes]),
        (&[("1", "0"); 5], &[]),
        // 3 of 5 votes.
        (&[("3", "0"), ("1", "0"), ("1", "0")], &[DecisiveVotes]),
        (&[("1", "0"), ("1", "0"), ("1", "0"), ("0", "0")], &[NoVote]),
        // Segment 0 has 3 of 5.
        (
            &[("1", "0"), ("1", "0"), ("1", "0"), ("1", "1"), ("1", "1")],
            &[DecisiveVotes],
        ),
        (
            &[("1", "0"), ("1", "0"), ("1", "1"), ("1", "1"), ("1", "2")],
            &[],
        ),
    ];
    for (members, expected) in cases {
        assert_eq!(codes(&report(&voters(members))), expected, "{members:?}");
    }
}

#[test]
fn an_arbitrator_makes_an_even_number_odd() {
    let mut fixture = FoldFixture::expecting(&MEMBERS[..2]);
    for (index, name) in MEMBERS.iter().take(2).enumerate() {
        let server = member(index)
            .view(&["AUTO", "AUTO", ""], index)
            .with_row("wsrep_cluster_weight", "3");
        fixture = fixture.answers(name, server);
    }
    assert_eq!(codes(&report(&fixture)), []);
}

#[test]
fn a_group_that_ignores_quorum_is_critical() {
    let fixture = first(|server| {
        server.with_row(
            "wsrep_provider_options",
            "pc.weight = 1; pc.ignore_sb = true",
        )
    });
    let finding = only(&fixture);
    assert_eq!(
        (finding.code, finding.severity),
        (FindingCode::QuorumIgnored, FindingSeverity::Critical)
    );
}

#[test]
fn versions_that_differ_are_a_notice() {
    let fixture = first(|server| server.with_row("version", "11.8.2-MariaDB"));
    let finding = only(&fixture);
    assert_eq!(finding.code, FindingCode::VersionSkew);
    assert_eq!(
        finding.message,
        "Members run different versions (version: 10.11.19-MariaDB, 11.8.2-MariaDB), as during a rolling upgrade."
    );
    let fixture = cluster(|index, server| {
        server.with_row(
            "wsrep_protocol_version",
            if index == 0 { "10" } else { "11" },
        )
    });
    assert_eq!(only(&fixture).code, FindingCode::OldProtocol);
}

#[test]
fn a_donor_without_a_joiner_is_a_notice_and_a_real_one_is_none() {
    let donor = |server: FakeServer| server.state("2", "Donor/Desynced");
    let fixture = first(donor);
    assert_eq!(only(&fixture).code, FindingCode::DonorWithoutJoiner);
    let fixture = cluster(|index, server| match index {
        0 => donor(server),
        1 => server.state("1", "Joining: receiving State Transfer"),
        _ => server,
    });
    assert_eq!(state(&fixture.view(), "10.0.0.2"), NodeState::Joining);
    assert_eq!(codes(&report(&fixture)), []);
    // The one that receives may be the one that does not answer.
    let fixture = first(donor).fails("10.0.0.3", 1.0, timed_out());
    assert_eq!(codes(&report(&fixture)), []);
}

#[test]
fn limits_that_a_server_sets_itself_are_findings() {
    let fixture = first(|server| server.with_row("wsrep_desync", "ON"));
    let finding = only(&fixture);
    assert_eq!(finding.code, FindingCode::ServiceLimited);
    assert!(
        finding.message.contains("wsrep_desync is ON"),
        "{finding:?}"
    );
}

/// One reading each second for a minute, with rows that depend on member and second.
fn minute(rows: impl Fn(usize, u64) -> Vec<(&'static str, u64)>) -> FoldFixture {
    minute_of(|index, second| {
        rows(index, second)
            .into_iter()
            .fold(member(index), |server, (row, value)| {
                server.with_row(row, &value.to_string())
            })
    })
}

/// One reading each second for a minute of servers that depend on member and second.
fn minute_of(server: impl Fn(usize, u64) -> FakeServer) -> FoldFixture {
    let mut fixture = FoldFixture::expecting(&MEMBERS).at(60.0);
    for second in 0..=60_u64 {
        for (index, name) in MEMBERS.iter().enumerate() {
            let server = server(index, second);
            let probe = fixture.evidence.probes.entry(id(name)).or_default();
            #[expect(clippy::cast_precision_loss, reason = "a minute")]
            probe.record_success(at(second as f64), server.status());
        }
    }
    fixture
}

#[test]
fn conflicts_between_writers_are_found() {
    let conflicts = |per_second: u64| {
        minute(move |index, second| match index {
            2 => vec![
                ("wsrep_replicated", 7),
                ("wsrep_local_cert_failures", 0),
                ("wsrep_local_bf_aborts", 0),
            ],
            _ => vec![
                ("wsrep_replicated", second * 20),
                ("wsrep_local_cert_failures", second * per_second),
                ("wsrep_local_bf_aborts", 3),
            ],
        })
    };
    let finding = only(&conflicts(2));
    assert_eq!(finding.code, FindingCode::WriteConflicts);
    assert_eq!(
        finding.nodes,
        [id("10.0.0.1"), id("10.0.0.2")],
        "who writes"
    );
    assert!(
        finding
            .message
            .starts_with("4.0 transactions per second are rolled back"),
        "{}",
        finding.message
    );
    assert_eq!(codes(&report(&conflicts(0))), []);
}

#[test]
fn a_cache_is_judged_by_what_is_written() {
    let written = |per_second: u64| {
        let fixture = minute(move |_, second| {
            vec![
                ("wsrep_replicated_bytes", second * per_second),
                ("wsrep_received_bytes", second * per_second),
            ]
        });
        codes(&report(&fixture))
    };
    // 1 GiB: 2 MB/s are 9 min, 200 kB/s an hour and a half.
    assert_eq!(written(1_000_000), [FindingCode::SmallCache]);
    assert_eq!(written(100_000), []);
    assert_eq!(written(0), [], "nothing is written");
}

#[test]
fn the_source_of_flow_control_is_named() {
    let fixture = minute(|index, second| {
        vec![
            ("wsrep_flow_control_paused_ns", second * 300_000_000),
            (
                "wsrep_flow_control_sent",
                if index == 1 { second * 3 } else { 0 },
            ),
            ("wsrep_last_committed", 2_881 + second),
            ("wsrep_local_recv_queue", if index == 1 { 170 } else { 0 }),
        ]
    });
    let finding = only(&fixture);
    assert_eq!(finding.code, FindingCode::FlowControlSource);
    assert_eq!(finding.nodes, [id("10.0.0.2")]);
    assert!(
        finding.message.contains("paused 30 % of the time"),
        "{}",
        finding.message
    );
}

#[test]
fn open_transactions_that_do_not_commit_are_found_and_an_idle_cluster_is_none() {
    let stalled = |open: u64, commits: u64| {
        let fixture = minute(move |index, second| {
            vec![
                ("wsrep_open_transactions", if index == 0 { open } else { 0 }),
                ("wsrep_last_committed", 2_881 + second * commits),
            ]
        });
        codes(&report(&fixture))
    };
    assert_eq!(stalled(12, 0), [FindingCode::CommitsStalled]);
    assert_eq!(stalled(12, 1), []);
    assert_eq!(stalled(0, 0), []);
}

#[test]
fn open_transactions_of_idle_sessions_are_not_stalled() {
    let stalled = |running: &str| {
        let fixture = minute_of(|index, _| {
            let open = if index == 0 { "2" } else { "0" };
            member(index)
                .with_row("wsrep_open_transactions", open)
                .with_detail("Threads_running", running)
        });
        codes(&report(&fixture))
    };
    assert_eq!(stalled("1"), [], "only the thread that reads the status");
    assert_eq!(stalled("2"), []);
    assert_eq!(stalled("3"), [FindingCode::CommitsStalled]);
}

#[test]
fn a_server_without_a_free_connection_is_critical() {
    let full = failure(ProbeErrorKind::TooManyConnections, "error 1040");
    let fixture = first(|server| {
        server
            .with_row("extra_port", "3307")
            .with_detail("Threads_connected", "130")
    })
    .fails("10.0.0.1", 4.0, full.clone());
    let finding = only(&fixture);
    assert_eq!(
        (finding.code, finding.severity),
        (FindingCode::ConnectionsUsed, FindingSeverity::Critical)
    );
    assert_eq!(finding.nodes, [id("10.0.0.1")]);
    let evidence: Vec<_> = finding
        .evidence
        .iter()
        .map(|fact| (fact.name.as_str(), fact.value.as_str()))
        .collect();
    assert_eq!(
        evidence,
        [
            ("error", "error 1040"),
            ("max_connections", "151"),
            ("extra_port", "3307")
        ]
    );
    assert!(finding.remedy.contains("extra_port 3307"), "{finding:?}");
    assert_eq!(
        report(&fixture).unseen[0],
        "db1 (10.0.0.1) has no fresh answer: its variables and status are not in the findings."
    );
    // One that never answered.
    let unknown = FoldFixture::expecting(&MEMBERS[..1]).fails("10.0.0.1", 1.0, full);
    assert_eq!(only(&unknown).code, FindingCode::ConnectionsUsed);
}

#[test]
fn peers_that_answer_late_or_were_evicted_are_named() {
    let fixture = first(|server| {
        server.with_row(
            "wsrep_evs_delayed",
            "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:tcp://10.0.0.2:4567:3",
        )
    });
    assert_eq!(only(&fixture).code, FindingCode::DelayedPeers);
    let fixture = first(|server| server.with_row("wsrep_evs_repl_latency", "0.1/0.4/1.2/0.1/20"));
    assert_eq!(only(&fixture).code, FindingCode::DelayedPeers);
    let fixture =
        first(|server| server.with_row("wsrep_evs_repl_latency", "0.0001/0.0004/0.002/0.0001/20"));
    assert_eq!(codes(&report(&fixture)), []);
    let fixture = first(|server| {
        server.with_row(
            "wsrep_evs_evict_list",
            "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b",
        )
    });
    assert_eq!(only(&fixture).code, FindingCode::EvictedPeers);
}

#[test]
fn the_late_or_evicted_peer_is_named_if_its_process_is_known() {
    let sound = cluster(|_, server| server).view();
    let peer = node(&sound, "10.0.0.2").gcomm_uuid.clone().unwrap();
    let stranger = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
    let late = only(&first(|server| {
        let list = format!("{peer}:tcp://10.0.0.2:4567:3,{stranger}:tcp://10.0.0.9:4567:1");
        server.with_row("wsrep_evs_delayed", &list)
    }));
    assert_eq!(late.nodes, [id("10.0.0.1"), id("10.0.0.2")]);
    assert_eq!(
        late.message,
        "db1 (10.0.0.1) receives late answers from db2 (10.0.0.2), and a process that is no known node: commits wait for the \
         slowest member."
    );
    // It no longer answers.
    let evicted = first(|server| server.with_row("wsrep_evs_evict_list", &peer)).fails(
        "10.0.0.2",
        4.0,
        timed_out(),
    );
    let evicted = only(&evicted);
    assert_eq!(evicted.nodes, [id("10.0.0.1"), id("10.0.0.2")]);
    assert_eq!(
        evicted.message,
        "db1 (10.0.0.1) evicted db2 (10.0.0.2) from the group: it cannot join again before it is restarted."
    );
}

#[test]
fn what_does_not_answer_is_said_and_not_judged() {
    let fixture = first(|server| server.with_detail("binlog_format", "MIXED"));
    let silent = fixture.fails("10.0.0.1", 4.0, timed_out());
    let report = report(&silent);
    assert_eq!(codes(&report), []);
    assert_eq!(
        report.unseen[0],
        "db1 (10.0.0.1) has not answered recently and was not checked."
    );
}

#[test]
fn variables_that_were_not_read_yet_are_said() {
    let fixture = FoldFixture::healthy();
    let report = report(&fixture);
    assert_eq!(codes(&report), []);
    assert!(
        report.unseen[0].contains("have not been read yet"),
        "{:?}",
        report.unseen
    );
}

#[test]
fn the_most_urgent_comes_first() {
    let fixture = first(|server| {
        server
            .with_detail("wsrep_sync_wait", "0")
            .with_detail("binlog_format", "STATEMENT")
            .with_detail("Threads_connected", "130")
    });
    let severities: Vec<_> = report(&fixture)
        .findings
        .iter()
        .map(|finding| finding.severity)
        .collect();
    assert_eq!(severities[0], FindingSeverity::Critical);
    assert!(severities.is_sorted_by(|a, b| a >= b), "{severities:?}");
}

proptest! {
    /// Whatever a server reports ends neither the console nor a sentence.
    #[test]
    fn any_text_is_survived(
        name in prop::sample::select(SOUND.map(|(name, _)| name).to_vec()),
        text in "\\PC{0,300}",
    ) {
        let report = report(&first(|server| server.with_detail(name, &text)));
        for finding in &report.findings {
            prop_assert!(finding.message.ends_with('.'));
            prop_assert!(finding.message.chars().count() < 2_000);
        }
    }
}
