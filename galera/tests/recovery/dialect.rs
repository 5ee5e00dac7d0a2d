//! The bootstrap statement in the dialect of the server that runs it (I20), and no other statement (I24).

use galera::observe::wsrep::WsrepStatus;
use galera::recover::plan::PlanStep;

use crate::fixture::{FakeStatusRows, RecoveryFixture};

const OPTIONS: &str = "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'";
const PLUGIN: &str = "SET GLOBAL wsrep_provider_pc_bootstrap=ON";

/// What MariaDB 11.8.9 of Debian 13 answers to the probe's two statements once its arbitrator was killed. The plugin is
/// there without having been asked for; the same server answers [`OPTIONS`] with error 1210 and obeys [`PLUGIN`].
const RECORDED: &str = include_str!("recorded/mariadb-11.8-plugin.tsv");

fn recorded() -> Vec<(&'static str, &'static str)> {
    let row = |line: &'static str| line.split_once('\t').unwrap();
    RECORDED.lines().map(row).collect()
}

/// The statement for a lone survivor that answers `server`.
fn statement(server: FakeStatusRows) -> String {
    let plan = RecoveryFixture::expecting(&["n1"])
        .answers("n1", server)
        .plan();
    match &plan.steps[..] {
        [PlanStep::Statement { statement, .. }] => {
            let typed = format!("mariadb -e \"{statement}\"");
            assert!(plan.commands.iter().any(|line| line.command == typed));
            statement.clone()
        }
        steps => panic!("{steps:?}: {:?}", plan.summary),
    }
}

#[test]
fn i20_the_statement_is_a_constant_in_the_servers_dialect() {
    let plain = FakeStatusRows::non_primary(&["n1"], 0, 5);
    let plugin = plain.clone().with_row("wsrep_provider_pc_bootstrap", "OFF");
    let again = plain.clone().with_row("WSREP_PROVIDER_PC_BOOTSTRAP", "ON");
    let hostile = plain
        .clone()
        .with_row("wsrep_node_name", "'; DROP TABLE t; --")
        .with_row("version", "pc.ignore_sb=1")
        .with_row("wsrep_provider_pc_bootstrap_", "ON");
    assert_eq!(statement(plain), OPTIONS);
    assert_eq!(statement(hostile), OPTIONS);
    // The variable stays ON after a bootstrap, but setting it again still triggers one.
    for server in [plugin, again] {
        assert_eq!(statement(server), PLUGIN);
    }
}

#[test]
fn i20_a_recorded_server_with_the_plugin_gets_its_dialect() {
    let server = |rows: Vec<(&str, &str)>| {
        let start = FakeStatusRows::non_primary(&["n1"], 0, 3);
        rows.into_iter()
            .filter(|(name, _)| *name != "wsrep_incoming_addresses")
            .fold(start, |server, (name, value)| server.with_row(name, value))
    };
    assert_eq!(statement(server(recorded())), PLUGIN);
    let without = recorded()
        .into_iter()
        .filter(|(name, _)| *name != "wsrep_provider_pc_bootstrap");
    assert_eq!(statement(server(without.collect())), OPTIONS);
}

#[test]
fn i11_a_recorded_undefined_view_number_is_none() {
    let status = WsrepStatus::from_rows(recorded());
    assert_eq!((status.conf_id, status.last_committed), (None, Some(3)));
    assert!(status.evicted.is_empty());
    assert!(status.provider_plugin);
}
