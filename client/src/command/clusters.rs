//! Clusters, nodes, findings and alarms about the data.

use serde_json::Value;

use super::api_command::ArgumentKind::{Choice, Cluster, List, Node, Number, Text, Time};
use super::api_command::{
    AnswerView, ApiArgument, ApiCommand, ArgumentPlace, CLUSTER, CommandRun, LIMIT, TableColumn,
};

const NODE: ApiArgument = ApiArgument::path("node", Node, "The node's id");
const CODE: ApiArgument =
    ApiArgument::path("code", Text("CODE"), "The finding's code").placed(ArgumentPlace::Body);
const SUBJECT: ApiArgument = ApiArgument::body(
    "subject",
    Text("SUBJECT"),
    "Subject of the finding, as the list shows it",
);

const NAME: ApiArgument = ApiArgument::query(
    "name",
    List("NAME,…"),
    "Only these figures; docs/series.md lists them",
);
const FROM: ApiArgument =
    ApiArgument::query("from", Time, "Begin; an hour before the end by default");
const TO: ApiArgument = ApiArgument::query("to", Time, "End; now by default");
const STEP: ApiArgument = ApiArgument::query("step", Number, "Seconds of one interval");

const SERIES_VIEW: AnswerView = AnswerView::Table {
    rows: "/series",
    columns: &[
        TableColumn::Fact("NODE", "/node"),
        TableColumn::Fact("NAME", "/name"),
        TableColumn::Fact("UNIT", "/unit"),
        TableColumn::Made("MIN", |row| extreme(row, "/min", f64::min), &["/min"]),
        TableColumn::Made("LAST MEAN", last_mean, &["/mean"]),
        TableColumn::Made("MAX", |row| extreme(row, "/max", f64::max), &["/max"]),
    ],
    notes: &[
        ("from", "/from"),
        ("to", "/to"),
        ("step in seconds", "/step"),
        ("recorded since", "/recorded_since"),
        ("recording", "/state"),
        ("sources", "/sources"),
    ],
};

pub(super) static COMMANDS: &[ApiCommand] = &[
    ApiCommand::get(
        &["clusters", "list"],
        &[("GET", "/api/v1/clusters")],
        "List clusters, worst verdict first",
    )
    .with(&[
        ApiArgument::query(
            "verdict",
            List("VERDICT,…"),
            "Only clusters with one of these verdicts",
        ),
        ApiArgument::query(
            "label",
            List("KEY=VALUE,…"),
            "Only clusters with all of these labels",
        ),
        ApiArgument::query(
            "q",
            Text("TEXT"),
            "Only clusters with this in their name, or in the name or address of a node",
        )
        .flag("filter"),
    ])
    .shown(AnswerView::Table {
        rows: "/clusters",
        columns: &[
            TableColumn::Fact("CLUSTER", "/name"),
            TableColumn::Fact("VERDICT", "/verdict/state"),
            TableColumn::Made("SYNCED", synced, &["/synced", "/expected"]),
            TableColumn::Fact("SEQNO", "/position/seqno"),
            TableColumn::Fact("OBSERVED AT", "/observed_at"),
            TableColumn::Rare("LABELS", labels, &["/labels"]),
            TableColumn::Optional("REASONS", "/verdict/reasons/*/message"),
        ],
        notes: &[("notice", "/notices")],
    }),
    ApiCommand::get(
        &["clusters", "show"],
        &[("GET", "/api/v1/clusters/{cluster}")],
        "Show a cluster, now or as it was at a time",
    )
    .with(&[
        CLUSTER,
        ApiArgument::query("at", Time, "As it was recorded at this time"),
    ]),
    ApiCommand::get(
        &["clusters", "watch"],
        &[("GET", "/api/v1/clusters")],
        "Show changes of verdicts and node states until interrupted",
    )
    .with(&[
        ApiArgument::client("cluster", Cluster, "Only this cluster"),
        ApiArgument::client(
            "interval",
            Number,
            "Seconds between two requests; 2 by default",
        ),
        ApiArgument::client("count", Number, "End after this many changes"),
    ])
    .running(CommandRun::Watch),
    ApiCommand::get(
        &["clusters", "registry"],
        &[("GET", "/api/v1/clusters/{cluster}/registry")],
        "Show a cluster's keys in the registry",
    )
    .with(&[CLUSTER])
    .shown(AnswerView::Table {
        rows: "/keys",
        columns: &[
            TableColumn::Fact("KEY", "/key"),
            TableColumn::Fact("REVISION", "/revision"),
            TableColumn::Optional("TTL", "/ttl"),
            TableColumn::Made("STALE", stale_key, &["/stale", "/reason"]),
            TableColumn::Fact("VALUE", "/value"),
        ],
        notes: &[("observed at", "/observed_at")],
    }),
    ApiCommand::get(
        &["clusters", "stop-check"],
        &[("GET", "/api/v1/clusters/{cluster}/stop-check")],
        "Check whether nodes may be stopped together",
    )
    .with(&[
        CLUSTER,
        ApiArgument::query("nodes", List("NODE,…"), "These nodes"),
        ApiArgument::query("segment", Number, "All nodes of this segment"),
    ]),
    ApiCommand::get(
        &["clusters", "rolling-restart"],
        &[("GET", "/api/v1/clusters/{cluster}/rolling-restart")],
        "Show where a rolling restart is",
    )
    .with(&[
        CLUSTER,
        ApiArgument::query("since", Time, "When it began").required(),
    ])
    .shown(AnswerView::Table {
        rows: "/steps",
        columns: &[
            TableColumn::Fact("NODE", "/node"),
            TableColumn::Fact("STATE", "/state"),
            TableColumn::Fact("STARTED AT", "/started_at"),
            TableColumn::Fact("MESSAGE", "/message"),
        ],
        notes: &[("complete", "/complete"), ("observed at", "/observed_at")],
    }),
    ApiCommand::get(
        &["clusters", "runway"],
        &[("GET", "/api/v1/clusters/{cluster}/runway")],
        "Show until when members return by an incremental state transfer",
    )
    .with(&[CLUSTER])
    .shown(AnswerView::Table {
        rows: "/nodes",
        columns: &[
            TableColumn::Fact("NODE", "/node"),
            TableColumn::Fact("AWAY", "/away"),
            TableColumn::Fact("TRANSFER", "/forecast/transfer"),
            TableColumn::Optional("UNTIL", "/forecast/until"),
            TableColumn::Fact("SUMMARY", "/summary"),
        ],
        notes: &[("observed at", "/observed_at")],
    }),
    ApiCommand::get(
        &["nodes", "list"],
        &[("GET", "/api/v1/clusters/{cluster}")],
        "List the nodes of a cluster",
    )
    .with(&[
        CLUSTER,
        ApiArgument::query("at", Time, "As recorded at this time"),
    ])
    .shown(AnswerView::Table {
        rows: "/nodes",
        columns: &[
            TableColumn::Fact("NODE", "/id"),
            TableColumn::Optional("NAME", "/name"),
            TableColumn::Fact("STATE", "/state"),
            TableColumn::Fact("STATUS", "/cluster_status"),
            TableColumn::Made("SEQNO", seqno, &["/position/seqno", "/position_fresh"]),
            TableColumn::Fact("BEHIND", "/behind"),
            TableColumn::Made("STALE", stale_sources, &["/sources"]),
            TableColumn::Optional("VERSION", "/version"),
        ],
        notes: &[("observed at", "/observed_at")],
    }),
    ApiCommand::get(
        &["nodes", "show"],
        &[("GET", "/api/v1/clusters/{cluster}")],
        "Show a node",
    )
    .with(&[
        CLUSTER,
        NODE.placed(ArgumentPlace::Select("/nodes")),
        ApiArgument::query("at", Time, "As recorded at this time"),
    ]),
    ApiCommand::get(
        &["nodes", "stop-check"],
        &[("GET", "/api/v1/clusters/{cluster}/nodes/{node}/stop-check")],
        "Check whether a node may be stopped",
    )
    .with(&[CLUSTER, NODE]),
    ApiCommand::get(
        &["nodes", "series"],
        &[("GET", "/api/v1/clusters/{cluster}/nodes/{node}/series")],
        "Show recorded figures of a node",
    )
    .with(&[CLUSTER, NODE, NAME, FROM, TO, STEP])
    .shown(SERIES_VIEW),
    ApiCommand::change(
        &["nodes", "admit"],
        &[("POST", "/api/v1/clusters/{cluster}/nodes/{node}/admit")],
        "Admit an unconfirmed node as a member",
        "Admitted node {/node} to cluster {cluster}.",
    )
    .with(&[
        CLUSTER,
        NODE,
        ApiArgument::body("reason", Text("TEXT"), "Why, for the audit trail"),
    ]),
    ApiCommand::get(
        &["series"],
        &[("GET", "/api/v1/clusters/{cluster}/series")],
        "Show recorded figures of a cluster's nodes",
    )
    .with(&[
        CLUSTER,
        ApiArgument::query("node", List("NODE,…"), "Only these nodes"),
        NAME,
        FROM,
        TO,
        STEP,
    ])
    .shown(SERIES_VIEW),
    ApiCommand::get(
        &["events"],
        &[("GET", "/api/v1/clusters/{cluster}/events")],
        "List changes of a cluster's verdict and node states, newest first",
    )
    .with(&[
        CLUSTER,
        LIMIT,
        ApiArgument::query("before", Number, "Only events before this number"),
        ApiArgument::query("after", Number, "Only events after this number"),
        ApiArgument::query("at", Time, "Events around this time"),
        ApiArgument::query(
            "kind",
            Choice("KIND", &["verdict", "node"]),
            "Only changes of this kind",
        ),
        ApiArgument::query("node", Node, "Only changes of this node"),
        ApiArgument::query(
            "state",
            Text("STATE"),
            "Only changes to this verdict or node state",
        ),
    ])
    .shown(AnswerView::Table {
        rows: "/events",
        columns: &[
            TableColumn::Fact("NUMBER", "/sequence"),
            TableColumn::Fact("AT", "/at"),
            TableColumn::Fact("KIND", "/kind"),
            TableColumn::Optional("NODE", "/node"),
            TableColumn::Optional("FROM", "/from"),
            TableColumn::Fact("TO", "/to"),
            TableColumn::Optional("REASONS", "/reasons/*/message"),
        ],
        notes: &[("more with --before", "/next_before")],
    }),
    ApiCommand::get(
        &["findings", "list"],
        &[("GET", "/api/v1/clusters/{cluster}/findings")],
        "List what is risky or slow besides the verdict, most urgent first",
    )
    .with(&[CLUSTER])
    .shown(AnswerView::Table {
        rows: "/findings",
        columns: &[
            TableColumn::Fact("SEVERITY", "/severity"),
            TableColumn::Fact("CODE", "/code"),
            TableColumn::Optional("SUBJECT", "/subject"),
            TableColumn::Optional("NODES", "/nodes"),
            TableColumn::Optional("ACKNOWLEDGED BY", "/acknowledged/by"),
            TableColumn::Fact("MESSAGE", "/message"),
        ],
        notes: &[
            ("not looked at", "/unseen"),
            ("observed at", "/observed_at"),
        ],
    }),
    ApiCommand::change(
        &["findings", "acknowledge"],
        &[("POST", "/api/v1/clusters/{cluster}/findings/acknowledge")],
        "Acknowledge a finding",
        "Acknowledged finding {/code} of cluster {cluster} until {/until}.",
    )
    .with(&[
        CLUSTER,
        CODE,
        SUBJECT,
        ApiArgument::body(
            "nodes",
            List("NODE,…"),
            "Only for these nodes; all that it concerns by default",
        ),
        ApiArgument::body("reason", Text("TEXT"), "Why, for the audit trail").required(),
        ApiArgument::body("days", Number, "For how many days"),
        ApiArgument::body("until", Time, "Until when, instead of --days"),
    ]),
    ApiCommand::change(
        &["findings", "reopen"],
        &[("POST", "/api/v1/clusters/{cluster}/findings/reopen")],
        "Withdraw the acknowledgement of a finding",
        "Reopened finding {/code} of cluster {cluster}.",
    )
    .with(&[CLUSTER, CODE, SUBJECT]),
    ApiCommand::get(
        &["alarms", "list"],
        &[("GET", "/api/v1/clusters/{cluster}/recovery")],
        "List alarms about the data of a cluster that are not acknowledged",
    )
    .with(&[CLUSTER])
    .shown(AnswerView::Table {
        rows: "/history_alarms",
        columns: &[
            TableColumn::Fact("NUMBER", "/number"),
            TableColumn::Fact("AT", "/at"),
            TableColumn::Fact("KIND", "/kind"),
        ],
        notes: &[],
    }),
    ApiCommand::change(
        &["alarms", "acknowledge"],
        &[("POST", "/api/v1/clusters/{cluster}/alarms/acknowledge")],
        "Acknowledge alarms about the data of a cluster",
        "Acknowledged alarms {/acknowledged} of cluster {cluster}.",
    )
    .with(&[
        CLUSTER,
        ApiArgument::body(
            "through",
            Number,
            "The number of the newest alarm that you have seen",
        )
        .required(),
        ApiArgument::body("reason", Text("TEXT"), "Why, for the audit trail").required(),
    ]),
];

/// The labels of a cluster; empty without any.
fn labels(row: &Value) -> String {
    let labels = row.get("labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten().map(|(key, value)| {
        let text = value.as_str();
        text.map_or_else(|| format!("{key}={value}"), |text| format!("{key}={text}"))
    });
    labels.collect::<Vec<_>>().join(", ")
}

fn synced(row: &Value) -> String {
    let number = |name: &str| {
        let number = row.get(name).and_then(Value::as_u64);
        number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
    };
    format!("{}/{}", number("synced"), number("expected"))
}

fn seqno(row: &Value) -> String {
    let Some(seqno) = row.pointer("/position/seqno").and_then(Value::as_i64) else {
        return "unknown".to_owned();
    };
    match row.get("position_fresh").and_then(Value::as_bool) {
        Some(true) => seqno.to_string(),
        _ => format!("{seqno} (stale)"),
    }
}

/// The sources of a node whose last observation is stale.
fn stale_sources(row: &Value) -> String {
    let sources = row.get("sources").and_then(Value::as_array);
    let Some(sources) = sources.filter(|sources| !sources.is_empty()) else {
        return "no source".to_owned();
    };
    let stale = sources.iter().filter(|source| {
        // Without the member nothing says that it is fresh.
        source.get("stale").and_then(Value::as_bool) != Some(false)
    });
    let kinds: Vec<&str> = stale
        .map(|source| {
            source
                .get("kind")
                .and_then(Value::as_str)
                .unwrap_or("unknown")
        })
        .collect();
    if kinds.is_empty() {
        "no".to_owned()
    } else {
        kinds.join(", ")
    }
}

fn stale_key(row: &Value) -> String {
    match row.get("stale").and_then(Value::as_bool) {
        Some(false) => "no".to_owned(),
        Some(true) => match row.get("reason").and_then(Value::as_str) {
            Some(reason) => format!("yes: {reason}"),
            None => "yes".to_owned(),
        },
        None => "unknown".to_owned(),
    }
}

fn numbers(row: &Value, pointer: &str) -> Vec<f64> {
    let values = row.pointer(pointer).and_then(Value::as_array);
    let values = values.into_iter().flatten();
    values.filter_map(Value::as_f64).collect()
}

fn extreme(row: &Value, pointer: &str, pick: fn(f64, f64) -> f64) -> String {
    let found = numbers(row, pointer).into_iter().reduce(pick);
    found.map_or_else(|| "no readings".to_owned(), |value| value.to_string())
}

/// The newest mean; intervals without readings have none.
fn last_mean(row: &Value) -> String {
    let found = numbers(row, "/mean").into_iter().next_back();
    found.map_or_else(|| "no readings".to_owned(), |value| value.to_string())
}
