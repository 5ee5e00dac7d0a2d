//! Notification targets and deliveries.

use super::api_command::ArgumentKind::{Choice, Text};
use super::api_command::{AnswerView, ApiArgument, ApiCommand, LIMIT, TableColumn};

const ID: ApiArgument = ApiArgument::path("id", Text("ID"), "The target's id");
const DOCUMENT: ApiArgument = ApiArgument::document(
    "A JSON file with the target as in docs/notifications.md, or as `targets show --output json` prints it, `-` for standard input; secrets do not belong on a command line",
)
.without(&[
    "id",
    "has_secret",
    "changed_at",
    "changed_by",
    "waiting",
    "last",
]);

pub(super) static COMMANDS: &[ApiCommand] = &[
    ApiCommand::get(
        &["targets", "list"],
        &[("GET", "/api/v1/notifications/targets")],
        "List notification targets",
    )
    .shown(AnswerView::Table {
        rows: "/targets",
        columns: &[
            TableColumn::Fact("ID", "/id"),
            TableColumn::Fact("NAME", "/name"),
            TableColumn::Fact("TYPE", "/type"),
            TableColumn::Fact("ENABLED", "/enabled"),
            TableColumn::Fact("WAITING", "/waiting"),
            TableColumn::Optional("LAST DELIVERY", "/last/state"),
            TableColumn::Optional("URL", "/url"),
            TableColumn::Optional("TO", "/to"),
        ],
        notes: &[("e-mail is set up", "/smtp")],
    }),
    ApiCommand::get(
        &["targets", "show"],
        &[("GET", "/api/v1/notifications/targets/{id}")],
        "Show a target",
    )
    .with(&[ID]),
    ApiCommand::change(
        &["targets", "add"],
        &[("POST", "/api/v1/notifications/targets")],
        "Add a target",
        "Added target {/id}: {/name}.",
    )
    .with(&[DOCUMENT]),
    ApiCommand::change(
        &["targets", "change"],
        &[("PATCH", "/api/v1/notifications/targets/{id}")],
        "Change a target; omitted fields are unchanged",
        "Changed target {/id}: {/name}.",
    )
    .with(&[ID, DOCUMENT]),
    ApiCommand::change(
        &["targets", "remove"],
        &[("DELETE", "/api/v1/notifications/targets/{id}")],
        "Remove a target",
        "Removed target {id}.",
    )
    .with(&[ID]),
    ApiCommand::change(
        &["targets", "test"],
        &[("POST", "/api/v1/notifications/targets/{id}/test")],
        "Send a test notification to a target",
        "Queued test notification {/notice/id} for target {/target}; see `ctl deliveries list`.",
    )
    .with(&[ID]),
    ApiCommand::get(
        &["deliveries", "list"],
        &[("GET", "/api/v1/notifications/deliveries")],
        "List deliveries, newest first",
    )
    .with(&[
        ApiArgument::query("target", Text("ID"), "Only those to this target"),
        ApiArgument::query(
            "state",
            Choice("STATE", &["waiting", "delivered", "failed"]),
            "Only those in this state",
        ),
        LIMIT,
    ])
    .shown(AnswerView::Table {
        rows: "/deliveries",
        columns: &[
            TableColumn::Fact("TARGET", "/target"),
            TableColumn::Fact("NOTICE", "/notice/id"),
            TableColumn::Fact("STATE", "/state"),
            TableColumn::Fact("ATTEMPTS", "/attempts"),
            TableColumn::Fact("QUEUED AT", "/queued_at"),
            TableColumn::Fact("TITLE", "/notice/title"),
        ],
        notes: &[("more", "/more")],
    }),
    ApiCommand::change(
        &["deliveries", "redeliver"],
        &[(
            "POST",
            "/api/v1/notifications/deliveries/{target}/{notice}/redeliver",
        )],
        "Send a notification again",
        "Queued notification {notice} for target {target} again.",
    )
    .with(&[
        ApiArgument::path("target", Text("TARGET"), "The target's id"),
        ApiArgument::path("notice", Text("NOTICE"), "The notification's id"),
    ]),
];
