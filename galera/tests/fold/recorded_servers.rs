//! What real servers of each release answer to the console and log for the agent (docs/dialects.md): recorded from the
//! first member of a cluster, then after SIGKILL.

use galera::observe::saved_state::parse_recovered_position;
use galera::observe::server_details::ServerDetails;
use galera::observe::wsrep::{LocalState, WsrepStatus};
use galera::recover::bootstrap::StatementDialect;
use galera::view::ClusterStatus;

struct RecordedServer {
    version: &'static str,
    dialect: StatementDialect,
    rows: &'static str,
    recovery_log: &'static str,
}

const SERVERS: [RecordedServer; 4] = [
    RecordedServer {
        version: "10.5.23-MariaDB",
        dialect: StatementDialect::ProviderOptions,
        rows: include_str!("recorded/mariadb-10.5.23-galera-26.4.18.tsv"),
        recovery_log: include_str!("recorded/mariadb-10.5.23-galera-26.4.18-recover.txt"),
    },
    RecordedServer {
        version: "10.11.18-MariaDB",
        dialect: StatementDialect::ProviderOptions,
        rows: include_str!("recorded/mariadb-10.11.18-galera-26.4.23.tsv"),
        recovery_log: include_str!("recorded/mariadb-10.11.18-galera-26.4.23-recover.txt"),
    },
    RecordedServer {
        version: "11.8.9-MariaDB",
        dialect: StatementDialect::ProviderPlugin,
        rows: include_str!("recorded/mariadb-11.8.9-galera-26.4.23.tsv"),
        recovery_log: include_str!("recorded/mariadb-11.8.9-galera-26.4.23-recover.txt"),
    },
    RecordedServer {
        version: "11.8.9-MariaDB",
        dialect: StatementDialect::ProviderPlugin,
        rows: include_str!("recorded/mariadb-11.8.9-galera-26.4.27.tsv"),
        recovery_log: include_str!("recorded/mariadb-11.8.9-galera-26.4.27-recover.txt"),
    },
];

impl RecordedServer {
    fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.rows.lines().filter_map(|line| line.split_once('\t'))
    }
}

#[test]
fn every_release_reports_what_decisions_rest_on() {
    for server in &SERVERS {
        let status = WsrepStatus::from_rows(server.rows());
        let version = status.version.clone().unwrap_or_default();
        assert!(version.starts_with(server.version), "{version}");
        assert_eq!(StatementDialect::of(&status), server.dialect, "{version}");
        assert_eq!(status.local_state, Some(LocalState::Synced), "{version}");
        assert_eq!(status.cluster_status, Some(ClusterStatus::Primary));
        assert!(status.position().is_some(), "{version}");
        assert_eq!((status.ready, status.connected), (Some(true), Some(true)));
        assert_eq!((status.conf_id, status.cluster_size), (Some(1), Some(1)));
        assert_eq!(
            (status.local_index, status.cluster_weight),
            (Some(0), Some(1))
        );
        assert_eq!((status.recv_queue, status.desync_count), (Some(0), Some(0)));
        assert_eq!(status.evs_state.as_deref(), Some("OPERATIONAL"));
        assert_eq!(status.incoming_addresses.len(), 1, "{version}");
        assert!(status.gcomm_uuid.is_some() && status.cached_from.is_some());
        assert!(status.flow_control_paused_ns.is_some(), "{version}");
        let options = status.quorum_options;
        assert_eq!(options.weight, Some(1), "{version}");
        assert_eq!(options.ignore_quorum, Some(false), "{version}");
        assert_eq!(options.ignore_split_brain, Some(false), "{version}");
    }
}

/// Members of two releases, as during an upgrade, must not seem to be configured differently.
#[test]
fn provider_options_are_spelled_alike_by_every_release() {
    let names = [
        "evs.inactive_timeout",
        "evs.keepalive_period",
        "evs.suspect_timeout",
        "gcache.recover",
        "gcache.size",
        "gcs.fc_factor",
        "gcs.fc_limit",
        "gmcast.segment",
        "pc.ignore_quorum",
        "pc.ignore_sb",
        "pc.recovery",
        "pc.weight",
        "repl.causal_read_timeout",
        "repl.max_ws_size",
    ];
    for name in names {
        let of = |server: &RecordedServer| {
            // In the order of the server, and in the reverse one.
            let forwards = ServerDetails::from_rows(server.rows());
            let backwards: Vec<_> = server.rows().collect();
            let backwards = ServerDetails::from_rows(backwards.into_iter().rev());
            let value = forwards.text(name).unwrap_or_default().to_owned();
            assert_eq!(Some(value.as_str()), backwards.text(name), "{name}");
            forwards.meaning(name, &value)
        };
        let first = of(&SERVERS[0]);
        assert!(!first.is_empty(), "{name}");
        for server in &SERVERS[1..] {
            assert_eq!(of(server), first, "{name} of {}", server.version);
        }
    }
}

#[test]
fn the_position_is_recovered_from_the_log_of_every_release() {
    for server in &SERVERS {
        let recovered = parse_recovered_position(server.recovery_log.as_bytes());
        let status = WsrepStatus::from_rows(server.rows());
        let recovered = recovered.map(|recovered| recovered.position);
        let uuid = recovered.and_then(|position| position.map(|position| position.uuid));
        assert_eq!(uuid, status.cluster_state_uuid, "{}", server.version);
    }
}
