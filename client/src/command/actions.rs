//! Plans, actions and the switches of recovery.

use super::api_command::ArgumentKind::{Attestations, Choice, Cluster, List, Number, Switch, Text};
use super::api_command::{
    AnswerView, ApiArgument, ApiCommand, ArgumentPlace, CLUSTER, CommandRun, LIMIT, TableColumn,
};

const KINDS: &[&str] = &[
    "bootstrap",
    "cleanup",
    "decommission",
    "positions",
    "rejoin",
];
const ID: ApiArgument = ApiArgument::path("id", Text("ID"), "The action's id");
const COMMENT: ApiArgument = ApiArgument::body(
    "comment",
    Text("TEXT"),
    "A comment for the action and the audit trail",
);
const PLAN_DIGEST: ApiArgument = ApiArgument::body(
    "plan_digest",
    Text("DIGEST"),
    "The digest of the plan that you have seen; a changed one is refused",
)
.flag("digest");
const ATTEST: ApiArgument = ApiArgument::body(
    "attestations",
    Attestations,
    "What you attest about a member: NODE=stopped, NODE=fenced or NODE=decommissioned; may be repeated",
)
.flag("attest");

const SCOPE: ApiArgument = ApiArgument::path(
    "cluster",
    Cluster,
    "For this cluster; for the whole console by default",
)
.optional();

const DECISION: &[(&str, &str)] = &[("POST", "/api/v1/actions/{id}/{verb}")];

pub(super) static COMMANDS: &[ApiCommand] = &[
    ApiCommand::get(
        &["plan"],
        &[
            ("GET", "/api/v1/clusters/{cluster}/plans/{kind}"),
            ("POST", "/api/v1/clusters/{cluster}/plans/{kind}"),
        ],
        "Show what an action would do, with every check; changes nothing",
    )
    .with(&[
        ApiArgument::path("kind", Choice("KIND", KINDS), "The kind of action"),
        CLUSTER,
        ATTEST,
    ]),
    ApiCommand::get(&["actions", "list"], &[("GET", "/api/v1/actions")], "List actions, newest first")
        .with(&[
            ApiArgument::query("cluster", Cluster, "Only those of this cluster"),
            ApiArgument::query("state", List("STATE,…"), "Only those in one of these states, or `open`"),
            ApiArgument::query("before", Text("ID"), "Only actions before this one"),
            LIMIT,
        ])
        .shown(AnswerView::Table {
            rows: "/actions",
            columns: &[
                TableColumn::Fact("ID", "/id"),
                TableColumn::Fact("CLUSTER", "/cluster"),
                TableColumn::Fact("KIND", "/kind"),
                TableColumn::Fact("STATE", "/state"),
                TableColumn::Fact("REQUESTED BY", "/requested_by"),
                TableColumn::Fact("REQUESTED AT", "/requested_at"),
                TableColumn::Optional("OUTCOME", "/outcome"),
                TableColumn::Optional("WAITS", "/waiting/message"),
            ],
            notes: &[("more with --before", "/next_before")],
        }),
    ApiCommand::get(&["actions", "show"], &[("GET", "/api/v1/actions/{id}")], "Show an action").with(&[ID]),
    ApiCommand::get(&["actions", "plan"], &[("GET", "/api/v1/actions/{id}/plan")], "Show what the plan of an action would be now").with(&[ID]),
    ApiCommand::change(
        &["actions", "request"],
        &[("POST", "/api/v1/clusters/{cluster}/actions")],
        "Request an action; other people approve it",
        "Requested action {/id}: {/kind} of cluster {/cluster}, now {/state}. It needs {/approvals_needed} approvals.",
    )
    .with(&[
        ApiArgument::path("kind", Choice("KIND", KINDS), "The kind of action").placed(ArgumentPlace::Body),
        CLUSTER,
        PLAN_DIGEST.required(),
        ApiArgument::body("confirm", Text("CLUSTER"), "The cluster's name again, exactly").required(),
        ApiArgument::body("reason", Text("TEXT"), "Why, for those who approve it and the audit trail").required(),
        ATTEST,
    ]),
    ApiCommand::get(&["actions", "wait"], &[("GET", "/api/v1/actions/{id}")], "Wait until an action has ended; exits with 0 only if it succeeded")
        .with(&[
            ID,
            ApiArgument::client("for", Number, "Seconds after which to stop waiting; 600 by default"),
        ])
        .running(CommandRun::Wait),
    ApiCommand::change(&["actions", "approve"], DECISION, "Approve an action that another person requested, where the console permits it to a token", "Approved action {/id}; it is now {/state}.")
        .with(&[ID, ApiArgument::fixed("verb", "approve"), PLAN_DIGEST, COMMENT]),
    ApiCommand::change(&["actions", "reject"], DECISION, "Reject an action", "Rejected action {/id}; it is now {/state}.")
        .with(&[ID, ApiArgument::fixed("verb", "reject"), COMMENT]),
    ApiCommand::change(&["actions", "cancel"], DECISION, "Cancel an action that you requested", "Cancelled action {/id}; it is now {/state}.")
        .with(&[ID, ApiArgument::fixed("verb", "cancel"), COMMENT]),
    ApiCommand::change(&["actions", "execute"], DECISION, "Execute an approved action", "Execution of action {/id} begins; it is now {/state}.")
        .with(&[ID, ApiArgument::fixed("verb", "execute"), PLAN_DIGEST, COMMENT]),
    ApiCommand::change(&["actions", "comment"], DECISION, "Comment on an action", "Commented on action {/id}.")
        .with(&[ID, ApiArgument::fixed("verb", "comment"), COMMENT.required()]),
    ApiCommand::change(&["actions", "undo"], DECISION, "Undo a clean-up: write the removed keys again", "Undid action {/id}.")
        .with(&[ID, ApiArgument::fixed("verb", "undo"), COMMENT]),
    ApiCommand::get(&["recovery", "show"], &[("GET", "/api/v1/recovery"), ("GET", "/api/v1/clusters/{cluster}/recovery")], "Show whether recovery is paused")
        .with(&[SCOPE]),
    ApiCommand::change(&["recovery", "switch"], &[("PUT", "/api/v1/recovery"), ("PUT", "/api/v1/clusters/{cluster}/recovery")], "Pause recovery, or resume it", "Recovery is now {enabled}.")
        .with(&[
            ApiArgument::path("enabled", Switch, "on or off").placed(ArgumentPlace::Body),
            SCOPE,
            ApiArgument::body("reason", Text("TEXT"), "Why; required to pause it"),
        ]),
];
