//! Status pages, incidents, maintenance and announcements.

use super::api_command::ArgumentKind::{Choice, Cluster, Clusters, List, Text, Time};
use super::api_command::{AnswerView, ApiArgument, ApiCommand, LIMIT, TableColumn};

const SLUG: ApiArgument = ApiArgument::path("slug", Text("SLUG"), "The page's name in its address");
const ID: ApiArgument = ApiArgument::path("id", Text("ID"), "The id, as the list shows it");
const DOCUMENT: ApiArgument = ApiArgument::document(
    "A JSON file with the page as `status-pages show --output json` prints it, `-` for standard input",
)
.without(&[
    "selected",
    "links",
    "created_by",
    "created_at",
    "changed_at",
    "url",
]);
const CLUSTERS: ApiArgument =
    ApiArgument::body("clusters", Clusters, "The clusters concerned").required();
const TITLE: ApiArgument =
    ApiArgument::body("title", Text("TEXT"), "The title, which is public").required();
const TEXT: ApiArgument =
    ApiArgument::body("text", Text("TEXT"), "The text, which is public").required();
const STATE: ApiArgument = ApiArgument::body(
    "state",
    Choice(
        "STATE",
        &["investigating", "identified", "monitoring", "resolved"],
    ),
    "The state",
);

pub(super) static COMMANDS: &[ApiCommand] = &[
    ApiCommand::get(
        &["status-pages", "list"],
        &[("GET", "/api/v1/status/pages")],
        "List status pages",
    )
    .shown(AnswerView::Table {
        rows: "/pages",
        columns: &[
            TableColumn::Fact("SLUG", "/slug"),
            TableColumn::Fact("TITLE", "/title"),
            TableColumn::Fact("VISIBILITY", "/visibility"),
            TableColumn::Optional("CLUSTERS", "/clusters/*/cluster"),
            TableColumn::Fact("URL", "/url"),
        ],
        notes: &[],
    }),
    ApiCommand::get(
        &["status-pages", "show"],
        &[("GET", "/api/v1/status/pages/{slug}")],
        "Show a status page and its links",
    )
    .with(&[SLUG]),
    ApiCommand::change(
        &["status-pages", "create"],
        &[("POST", "/api/v1/status/pages")],
        "Create a status page",
        "Created status page {/slug} at {/url}.",
    )
    .with(&[DOCUMENT]),
    ApiCommand::change(
        &["status-pages", "replace"],
        &[("PUT", "/api/v1/status/pages/{slug}")],
        "Replace a status page",
        "Replaced status page {/slug}.",
    )
    .with(&[SLUG, DOCUMENT]),
    ApiCommand::change(
        &["status-pages", "delete"],
        &[("DELETE", "/api/v1/status/pages/{slug}")],
        "Delete a status page with its links",
        "Deleted status page {slug}.",
    )
    .with(&[
        SLUG,
        ApiArgument::body("confirm", Text("SLUG"), "The page's name again, exactly").required(),
    ]),
    ApiCommand::change(
        &["status-pages", "add-link"],
        &[("POST", "/api/v1/status/pages/{slug}/links")],
        "Create a secret link to a status page",
        "Created link {/id}. Its address is shown only now: {/url}",
    )
    .with(&[
        SLUG,
        ApiArgument::body("label", Text("TEXT"), "For whom it is").required(),
        ApiArgument::body(
            "expires_at",
            Time,
            "Until when it is valid; without an end by default",
        )
        .flag("until"),
    ]),
    ApiCommand::change(
        &["status-pages", "revoke-link"],
        &[("DELETE", "/api/v1/status/pages/{slug}/links/{id}")],
        "Revoke a secret link",
        "Revoked link {id} of status page {slug}.",
    )
    .with(&[SLUG, ID]),
    ApiCommand::get(
        &["incidents", "list"],
        &[("GET", "/api/v1/status/incidents")],
        "List incidents, newest first",
    )
    .with(&[
        ApiArgument::query("state", Text("STATE"), "open, or a state"),
        ApiArgument::query("cluster", Cluster, "Only those of this cluster"),
        LIMIT,
    ])
    .shown(AnswerView::Table {
        rows: "/incidents",
        columns: &[
            TableColumn::Fact("ID", "/id"),
            TableColumn::Fact("STATE", "/state"),
            TableColumn::Fact("OPENED AT", "/opened_at"),
            TableColumn::Optional("RESOLVED AT", "/resolved_at"),
            TableColumn::Fact("CLUSTERS", "/clusters"),
            TableColumn::Fact("TITLE", "/title"),
        ],
        notes: &[],
    }),
    ApiCommand::get(
        &["incidents", "show"],
        &[("GET", "/api/v1/status/incidents/{id}")],
        "Show an incident",
    )
    .with(&[ID]),
    ApiCommand::change(
        &["incidents", "open"],
        &[("POST", "/api/v1/status/incidents")],
        "Open an incident",
        "Opened incident {/id}.",
    )
    .with(&[CLUSTERS, TITLE, TEXT, STATE]),
    ApiCommand::change(
        &["incidents", "update"],
        &[("POST", "/api/v1/status/incidents/{id}/updates")],
        "Add an update to an incident, or resolve it",
        "Updated incident {/id}; it is now {/state}.",
    )
    .with(&[ID, STATE.required(), TEXT]),
    ApiCommand::get(
        &["maintenance", "list"],
        &[("GET", "/api/v1/status/maintenance")],
        "List maintenance windows",
    )
    .shown(AnswerView::Table {
        rows: "/maintenance",
        columns: &[
            TableColumn::Fact("ID", "/id"),
            TableColumn::Fact("PHASE", "/phase"),
            TableColumn::Fact("FROM", "/from"),
            TableColumn::Fact("UNTIL", "/until"),
            TableColumn::Fact("CLUSTERS", "/clusters"),
            TableColumn::Fact("TITLE", "/title"),
        ],
        notes: &[],
    }),
    ApiCommand::change(
        &["maintenance", "plan"],
        &[("POST", "/api/v1/status/maintenance")],
        "Plan a maintenance window",
        "Planned maintenance {/id} from {/from} until {/until}.",
    )
    .with(&[
        CLUSTERS,
        TITLE,
        TEXT,
        ApiArgument::body("from", Time, "Begin; now by default"),
        ApiArgument::body("until", Time, "End").required(),
    ]),
    ApiCommand::change(
        &["maintenance", "end"],
        &[("POST", "/api/v1/status/maintenance/{id}/end")],
        "End a maintenance window, or cancel a planned one",
        "Ended maintenance {/id}.",
    )
    .with(&[ID]),
    ApiCommand::get(
        &["announcements", "list"],
        &[("GET", "/api/v1/status/announcements")],
        "List announcements, newest first",
    )
    .shown(AnswerView::Table {
        rows: "/announcements",
        columns: &[
            TableColumn::Fact("ID", "/id"),
            TableColumn::Fact("AT", "/at"),
            TableColumn::Optional("UNTIL", "/until"),
            TableColumn::Optional("WITHDRAWN AT", "/withdrawn_at"),
            TableColumn::Optional("PAGES", "/pages"),
            TableColumn::Fact("TITLE", "/title"),
        ],
        notes: &[],
    }),
    ApiCommand::change(
        &["announcements", "publish"],
        &[("POST", "/api/v1/status/announcements")],
        "Publish an announcement",
        "Published announcement {/id}.",
    )
    .with(&[
        TITLE,
        TEXT,
        ApiArgument::body(
            "pages",
            List("SLUG,…"),
            "Only on these pages; on all by default",
        ),
        ApiArgument::body("until", Time, "Until when it is shown"),
    ]),
    ApiCommand::change(
        &["announcements", "withdraw"],
        &[("POST", "/api/v1/status/announcements/{id}/withdraw")],
        "Withdraw an announcement",
        "Withdrew announcement {/id}.",
    )
    .with(&[ID]),
];
