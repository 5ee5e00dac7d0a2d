//! Pages for people who operate consoles, etcd and databases.

use crate::block_table::TextReplacement::Text;
use crate::block_table::{MissingRequirement, PageEntry, StartingPoint, executed, not_executed};

pub(super) const AUDIT: PageEntry = PageEntry {
    page: "docs/audit.md",
    starting_point: StartingPoint::Loopback,
    before: "account ada admin",
    blocks: &[
        executed("galera-console audit verify")
            .after("wait_until grep -q : /var/log/galera-console/anchors")
            .with(&[(
                "120:5f1a…",
                Text("\"$(grep -oE '[0-9]+:[0-9a-f]{64}' /var/log/galera-console/anchors | tail -n 1)\""),
            )])
            .printing(&["the chain is intact"]),
        executed("galera-console audit export --archive-dir DIR")
            .after("mkdir DIR")
            .with(&[
                ("DIR/audit-000000000001-000000000299.jsonl", Text("DIR/audit-*.jsonl")),
                ("--archive …", Text("")),
            ])
            .printing(&["the chain is intact"]),
    ],
};

pub(super) const ETCD: PageEntry = PageEntry {
    page: "docs/etcd.md",
    starting_point: StartingPoint::Loopback,
    before: "account ada admin",
    blocks: &[
        executed("etcdctl endpoint status")
            .with(&[(
                "REVISION #",
                Text("\"$(etcdctl endpoint status --write-out json | jq '.[0].Status.header.revision')\" #"),
            )])
            .printing(&["127.0.0.1:2379"]),
        // The etcd that has no state is the embedded one.
        executed("galera-console state export FILE").with(&[(
            "galera-console state import",
            Text("env -u GALERA_CONSOLE_ETCD_ENDPOINTS -u GALERA_CONSOLE_DATA_DIR galera-console state import"),
        )]),
    ],
};

pub(super) const HARDENING: PageEntry = PageEntry {
    page: "docs/hardening.md",
    starting_point: StartingPoint::Https("console.example.org"),
    before: "",
    blocks: &[
        executed("galera-console etcd-roles print")
            .after(
                "cp /etc/galera-console/ca.pem .; umask 077\n\
                 prefix=$GALERA_CONSOLE_STATE_PREFIX; unset GALERA_CONSOLE_STATE_PREFIX\n\
                 for name in console n1 root; do printf %s \"$name-of-etcd\" >$name-password; done",
            )
            .printing(&["etcdctl role"]),
        executed("galera-console user add ci")
            .after("export GALERA_CONSOLE_STATE_PREFIX=$prefix")
            .with(&[(
            "0123456789abcdef",
            Text("\"$(galera-console token list ci | grep -oE '[0-9a-f]{16}' | head -n 1)\""),
        )]),
        executed("curl -fsS -H \"Authorization: Bearer $GALERA_CONSOLE_TOKEN\"")
            .after(
                "GALERA_CONSOLE_TOKEN=$(galera-console token add ci pipeline --role viewer --days 1)\n\
                 may_stop() { curl -H \"Authorization: Bearer $GALERA_CONSOLE_TOKEN\" \
                 https://console.example.org/api/v1/clusters/lab/nodes/10.0.0.2/stop-check | jq -e '.answer == \"yes\"'; }\n\
                 wait_until may_stop",
            )
            .with(&[("prod-eu/nodes/db1", Text("lab/nodes/10.0.0.2"))])
            .printing(&["true"]),
    ],
};

pub(super) const AGENT: PageEntry = PageEntry {
    page: "docs/agent.md",
    starting_point: StartingPoint::NewHost,
    before: "",
    blocks: &[
        executed("galera-agent arbitrator").after(
            "export CLUSTER_NAME=lab DISCOVERY_SERVICE=127.0.0.1:2379 ARBITRATOR_LISTEN=10.0.0.11:4567 LIVENESS_SOCKET=off",
        ),
        executed("galera-console order-key new").printing(&["-----BEGIN PUBLIC KEY-----"]),
    ],
};

pub(super) const CTL: PageEntry = PageEntry {
    page: "docs/ctl.md",
    starting_point: StartingPoint::Https("console.example.org"),
    before: "account anna approver\n\
             galera-console user add ci --service --role operator\n\
             kill_node n2 & kill_node n3; wait",
    // Two of three nodes are lost. Anna approves what is requested.
    blocks: &[executed("(umask 077; galera-console token add ci deploy")
        .after(
            "url=https://console.example.org\n\
             attested=--attest=10.0.0.2=stopped,10.0.0.3=stopped\n\
             plan() { GALERA_CONSOLE_URL=$url GALERA_CONSOLE_TOKEN_FILE=plan-token galera-console ctl plan bootstrap lab \"$attested\"; }\n\
             executable() { plan | jq -e '.executable or (.checks | map(select(.status != \"pass\" and .status != \"attested\")) | tostring | error)'; }\n\
             galera-console token add ci plan --role operator --days 1 >plan-token\n\
             wait_until executable\n\
             sign_in $url anna anna\n\
             approve() { curl -b anna -H \"Origin: $url\" --json '{}' \
             \"$url/api/v1/actions/$(curl -b anna \"$url/api/v1/actions?state=pending\" | jq -er '.actions[0].id')/approve\"; }\n\
             wait_until approve &",
        )
        .with(&[
            ("--digest DIGEST", Text("\"$attested\" --digest \"$(plan | jq -r .digest)\"")),
            ("wait ID", Text("wait \"$(galera-console ctl actions list | jq -r '.actions[0].id')\"")),
        ])
        .printing(&["\"lab\"", "\"succeeded\""]),
        executed("galera-console ctl status-pages show")
            .after(
                "galera-console user add web --service --role admin\n\
                 galera-console token add web pages --role admin --days 1 >pages-token\n\
                 export GALERA_CONSOLE_TOKEN_FILE=pages-token\n\
                 echo '{\"slug\":\"shop\",\"title\":\"Shop\",\"clusters\":[{\"cluster\":\"lab\"}]}' |\n\
                 galera-console ctl status-pages create --file -",
            )
            .printing(&["\"shop\""]),
    ],
};

pub(super) const RECOVERY: PageEntry = PageEntry {
    page: "docs/recovery.md",
    starting_point: StartingPoint::NewHost,
    before: "",
    blocks: &[
        not_executed("docker stop NODE", MissingRequirement::Docker),
        executed("cat /var/lib/mysql/grastate.dat")
            .after(
                "kill_node n3; install -d -o mysql /run/mysqld\n\
                 cp --archive \"$LAB/n3/data\" /var/lib/mysql\n\
                 mkdir -p /etc/mysql/mariadb.conf.d\n\
                 printf '[mysqld]\\nwsrep_on=ON\\nwsrep_provider=/usr/lib/galera/libgalera_smm.so\\nwsrep_cluster_address=gcomm://10.0.0.1\\nbinlog_format=ROW\\nbind_address=10.0.0.13\\n' >/etc/mysql/mariadb.conf.d/99-galera.cnf",
            )
            .printing(&["seqno:", "Recovered position"]),
        // It restarts the service.
        executed("sed -i 's/^safe_to_bootstrap: .*/safe_to_bootstrap: 1/'")
            .with(&[("galera_new_cluster", Text("command -v galera_new_cluster"))]),
    ],
};
