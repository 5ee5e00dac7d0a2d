//! The audit trail, the console's alarms, accounts, and the own session.

use galera::access::RoleGrant;
use serde_json::Value;

use super::api_command::ArgumentKind::{Cluster, Number, Text};
use super::api_command::{AnswerView, ApiArgument, ApiCommand, LIMIT, TableColumn};

const NAME: ApiArgument = ApiArgument::path("name", Text("NAME"), "The account");

pub(super) static COMMANDS: &[ApiCommand] = &[
    ApiCommand::get(
        &["audit", "list"],
        &[("GET", "/api/v1/audit")],
        "List entries of the audit trail, newest first",
    )
    .with(&[
        ApiArgument::query("cluster", Cluster, "Only entries about this cluster"),
        ApiArgument::query("actor", Text("NAME"), "Only entries of this account"),
        ApiArgument::query("before", Number, "Only entries before this number"),
        LIMIT,
    ])
    .shown(AnswerView::Table {
        rows: "/entries",
        columns: &[
            TableColumn::Fact("NUMBER", "/sequence"),
            TableColumn::Fact("AT", "/at"),
            TableColumn::Fact("ACTOR", "/actor"),
            TableColumn::Fact("EVENT", "/event"),
            TableColumn::Optional("CLUSTER", "/cluster"),
            TableColumn::Optional("SUBJECT", "/subject"),
        ],
        notes: &[
            ("begins at entry", "/begins_at"),
            ("more with --before", "/next_before"),
        ],
    }),
    ApiCommand::get(
        &["audit", "alarms"],
        &[("GET", "/api/v1/alarms")],
        "List what was changed outside the console",
    )
    .shown(AnswerView::Table {
        rows: "/alarms",
        columns: &[
            TableColumn::Fact("AT", "/at"),
            TableColumn::Fact("KIND", "/kind"),
            TableColumn::Fact("TEXT", "/text"),
        ],
        notes: &[],
    }),
    ApiCommand::get(
        &["accounts", "list"],
        &[("GET", "/api/v1/accounts")],
        "List accounts",
    )
    .shown(AnswerView::Table {
        rows: "/accounts",
        columns: &[
            TableColumn::Fact("NAME", "/name"),
            TableColumn::Optional("KIND", "/kind"),
            TableColumn::Made("ROLES", account_roles, &["/roles", "/grants"]),
            TableColumn::Fact("DISABLED", "/disabled"),
            TableColumn::Fact("SECOND FACTOR", "/second_factor"),
            TableColumn::Optional("E-MAIL", "/email"),
        ],
        notes: &[("damaged", "/damaged")],
    }),
    ApiCommand::get(
        &["accounts", "show"],
        &[("GET", "/api/v1/accounts/{name}")],
        "Show an account",
    )
    .with(&[NAME]),
    ApiCommand::get(
        &["settings"],
        &[("GET", "/api/v1/settings")],
        "List the settings that the console runs with, and where each comes from",
    )
    .shown(AnswerView::Table {
        rows: "/settings",
        columns: &[
            TableColumn::Fact("SETTING", "/flag"),
            TableColumn::Optional("VALUE", "/value"),
            TableColumn::Fact("SOURCE", "/source"),
            TableColumn::Optional("AFTER RESTART", "/after_restart"),
        ],
        notes: &[],
    }),
    ApiCommand::get(
        &["whoami"],
        &[("GET", "/api/v1/session")],
        "Show the account and the roles of the token",
    ),
    ApiCommand::get(
        &["openapi"],
        &[("GET", "/api/v1/openapi.json")],
        "Print the description of the API",
    ),
];

/// The roles of an account, with where they count.
fn account_roles(row: &Value) -> String {
    let grants: Option<Vec<RoleGrant>> = row
        .get("grants")
        .and_then(|grants| serde_json::from_value(grants.clone()).ok());
    if let Some(grants) = grants {
        let grants: Vec<String> = grants.iter().map(RoleGrant::to_string).collect();
        return grants.join("; ");
    }
    let roles = row.get("roles").and_then(Value::as_array);
    let roles: Vec<&str> = roles
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    roles.join(", ")
}
