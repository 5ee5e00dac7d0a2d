//! The bootstrap statement in the dialect of the server that runs it (I20, I38), and no other statement (I24).

use galera::observe::wsrep::WsrepStatus;
use galera::recover::action::{SEND_WINDOW, STATEMENT_WAIT_TIMEOUT};
use galera::recover::bootstrap::{STATEMENT_DEADLINE, StatementDialect};
use galera::recover::plan::{CheckCode, PlanStep};

use crate::fixture::{FakeStatusRows, RecoveryFixture};

const OPTIONS: &str = StatementDialect::ProviderOptions.bootstrap_statement();
const PLUGIN: &str = StatementDialect::ProviderPlugin.bootstrap_statement();
const MYSQL: &str = StatementDialect::MysqlProviderOptions.bootstrap_statement();

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
            let dialect = StatementDialect::ALL
                .into_iter()
                .find(|dialect| dialect.bootstrap_statement() == statement)
                .unwrap();
            let client = match dialect {
                StatementDialect::MysqlProviderOptions => "mysql",
                _ => "mariadb",
            };
            let typed = format!("{client} -e \"{}\"", dialect.manual_statement());
            assert!(plan.commands.iter().any(|line| line.command == typed));
            let ready = plan.check(&CheckCode::EXECUTOR_READY).unwrap();
            assert!(
                ready.message.contains("more than 5 s after"),
                "{}",
                ready.message
            );
            statement.clone()
        }
        steps => panic!("{steps:?}: {:?}", plan.summary),
    }
}

#[test]
fn i20_the_statement_is_a_constant_in_the_servers_dialect() {
    let plain = FakeStatusRows::non_primary(&["n1"], 0, 5);
    let percona = plain.clone().with_row("version", "8.0.36-28.1");
    let plugin = plain.clone().with_row("wsrep_provider_pc_bootstrap", "OFF");
    let again = plain.clone().with_row("WSREP_PROVIDER_PC_BOOTSTRAP", "ON");
    let hostile = plain
        .clone()
        .with_row("wsrep_node_name", "'; DROP TABLE t; --")
        .with_row("version", "pc.ignore_sb=1")
        .with_row("wsrep_provider_pc_bootstrap_", "ON");
    assert_eq!(statement(plain), OPTIONS);
    assert_eq!(statement(hostile), MYSQL);
    assert_eq!(statement(percona), MYSQL);
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

/// Each statement names a deadline of its session, in a form that fails without one, and the deadline lies between the time
/// for which an idle connection lives and the time after which an unknown outcome may be concluded.
#[test]
fn i38_every_statement_is_judged_by_the_server_that_runs_it() {
    for dialect in StatementDialect::ALL {
        let statement = dialect.bootstrap_statement();
        assert!(
            statement.contains("SYSDATE(6)<@galera_console_deadline,"),
            "{statement}"
        );
        assert!(statement.contains("too_late"), "{statement}");
        assert!(!statement.contains("NOW("), "{statement}");
        assert!(
            !statement.contains('\n') && !statement.contains("  "),
            "{statement}"
        );
        let guarded = statement.contains("='non-Primary' AND SYSDATE");
        assert_eq!(guarded, dialect != StatementDialect::MysqlProviderOptions);
    }
    assert!(STATEMENT_DEADLINE.ends_with("=SYSDATE(6)+INTERVAL 5 SECOND"));
    let deadline = std::time::Duration::from_secs(5);
    assert!(STATEMENT_WAIT_TIMEOUT < deadline && deadline < SEND_WINDOW);
}
