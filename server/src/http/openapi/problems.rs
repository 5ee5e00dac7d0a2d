//! The problem codes of the API: which occur together, and what each means. Lists hold texts "STATUS CODE".

use serde_json::json;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{ObjectBuilder, RefOr, schema::Type};
use utoipa::{PartialSchema, ToSchema};

/// Of any request.
pub(super) const ANY: &[&str] = &[
    "400 ambiguous_header",
    "400 tls_required",
    "421 host_not_allowed",
    "500 internal",
    "503 too_many_connections",
];
/// Of requests to the API.
pub(super) const API: &[&str] = &[
    "429 too_many_requests",
    "503 registry_unavailable",
    "503 state_secret_outdated",
];
/// Of paths with parameters.
pub(super) const PATH: &[&str] = &["400 bad_request"];
/// Of paths that name a cluster.
pub(super) const CLUSTER: &[&str] = &["404 unknown_cluster"];
/// Of methods other than GET.
pub(super) const CHANGE: &[&str] = &[
    "400 unreadable_body",
    "403 cross_origin",
    "403 origin_required",
    "408 body_timeout",
    "413 body_too_large",
];
/// Of requests with a JSON body.
pub(super) const BODY: &[&str] = &[
    "400 invalid_body",
    "400 malformed_json",
    "415 unsupported_media_type",
];
/// Of requests with parameters in the query.
pub(super) const QUERY: &[&str] = &["400 invalid_query"];
/// Of requests that need a session.
pub(super) const SESSION: &[&str] = &[
    "401 not_signed_in",
    "401 session_ended",
    "401 session_expired",
    "401 session_invalid",
];
/// Of requests that may have an API token.
pub(super) const TOKEN: &[&str] = &[
    "400 two_credentials",
    "401 token_checksum",
    "401 token_ended",
    "401 token_expired",
    "401 token_invalid",
    "401 token_malformed",
    "401 token_revoked",
    "401 unsupported_authorization",
    "429 throttled",
    "429 token_throttled",
];
/// Of requests that need a session, with an API token.
pub(super) const NO_TOKEN: &[&str] = &["403 session_required"];
/// Of requests about the whole console, with an API token for some clusters.
pub(super) const CONSOLE: &[&str] = &["403 token_limited_to_clusters"];
/// Of requests about the whole console, with roles on some clusters.
pub(super) const LIMITED: &[&str] = &["403 limited_to_clusters"];
/// Of requests that need a role.
pub(super) const PERMISSION: &[&str] =
    &["403 missing_role", "403 second_factor_enrolment_required"];
/// Of what etcd decides.
pub(in crate::http) const ETCD: &[&str] = &[
    "503 etcd_corrupt",
    "503 etcd_no_space",
    "503 registry_unavailable",
];
/// Of what reads or writes sealed records and the audit trail.
pub(in crate::http) const AUDITED: &[&str] = &[
    "409 contended",
    "409 record_damaged",
    "409 record_tampered",
    "503 etcd_corrupt",
    "503 etcd_no_space",
    "503 registry_unavailable",
];
/// Of what needs a reason.
pub(in crate::http) const REASON: &[&str] = &["422 no_reason", "422 too_long"];
/// Of a code of a second factor.
pub(in crate::http) const CODE: &[&str] = &["403 second_factor_invalid", "403 second_factor_used"];
/// Of a sign-in.
pub(in crate::http) const SIGN_IN: &[&str] = &[
    "401 invalid_credentials",
    "401 second_factor_invalid",
    "401 second_factor_required",
    "401 second_factor_used",
    "403 account_disabled",
    "403 local_accounts_off",
    "403 second_factor_unusable",
    "429 throttled",
    "503 etcd_corrupt",
    "503 etcd_no_space",
    "503 registry_unavailable",
    "503 sign_in_busy",
];
/// Of operations on the own account.
pub(in crate::http) const OWNER: &[&str] = &[
    "403 external_account",
    "403 second_factor_unusable",
    "409 contended",
    "429 throttled",
    "503 etcd_corrupt",
    "503 etcd_no_space",
    "503 registry_unavailable",
    "503 sign_in_busy",
];
/// Of operations on accounts.
pub(in crate::http) const ACCOUNTS: &[&str] = &[
    "409 account_damaged",
    "409 contended",
    "409 record_damaged",
    "409 record_tampered",
    "503 etcd_corrupt",
    "503 etcd_no_space",
    "503 registry_unavailable",
];
/// Of requests for an action.
pub(in crate::http) const REQUEST: &[&str] = &[
    "409 action_open",
    "409 busy",
    "409 no_approver_in_group",
    "409 not_watched_enough",
    "409 other_settings",
    "409 plan_changed",
    "409 recovery_off",
    "422 no_reason",
    "422 not_confirmed",
    "422 not_overridable",
    "422 nothing_to_override",
    "422 overrides_differ",
    "422 plan_not_executable",
    "422 too_long",
    "429 throttled",
];
/// Of decisions on an action.
pub(in crate::http) const DECISION: &[&str] = &[
    "403 not_yours",
    "403 own_request",
    "404 unknown_action",
    "404 unknown_cluster",
    "404 unknown_path",
    "409 action_expired",
    "409 action_final",
    "409 action_open",
    "409 already_approved",
    "409 busy",
    "409 not_undoable",
    "409 not_watched_enough",
    "409 other_settings",
    "409 plan_changed",
    "409 recovery_off",
    "409 too_many_comments",
    "409 wrong_state",
    "422 no_reason",
    "422 plan_not_executable",
    "422 too_long",
    "429 throttled",
];

/// Every code of the API with its meaning.
const MEANINGS: &[(&str, &str)] = &[
    (
        "account_damaged",
        "The record of the account cannot be decoded.",
    ),
    ("account_disabled", "The account is disabled."),
    ("account_exists", "Another account has this name."),
    (
        "action_expired",
        "The action was not approved, or not started, in time.",
    ),
    ("action_final", "The action has ended."),
    ("action_open", "The cluster has an open action."),
    (
        "already_approved",
        "The account has approved the action already.",
    ),
    (
        "announcement_withdrawn",
        "The announcement was withdrawn already.",
    ),
    ("bad_request", "The request is malformed."),
    (
        "before_first_record",
        "The whole range lies before the first record that is kept.",
    ),
    ("body_timeout", "The body did not arrive in time."),
    ("body_too_large", "The body is larger than 64 KiB."),
    ("busy", "Another action holds the lock of the cluster."),
    (
        "changed",
        "The record was changed since the revision of the request.",
    ),
    (
        "chronicle_unread",
        "The event history has not been loaded yet.",
    ),
    (
        "clusters_not_stated",
        "The roles of the account count on different clusters, and the request does not say on which the new ones do.",
    ),
    ("contended", "The record is being changed concurrently."),
    ("cross_origin", "The request comes from another site."),
    ("etcd_corrupt", "etcd has a CORRUPT alarm."),
    ("etcd_no_space", "etcd has no space left."),
    (
        "from_in_the_future",
        "`from` is later than the console's clock.",
    ),
    (
        "host_not_allowed",
        "The console is not served under the host of the request.",
    ),
    ("incident_resolved", "The incident is resolved."),
    (
        "internal",
        "An error of the console; its log has the request ID.",
    ),
    (
        "invalid_account_name",
        "The text cannot be the name of an account.",
    ),
    (
        "invalid_body",
        "The body does not have the expected members.",
    ),
    ("invalid_clusters", "No cluster is named, or one twice."),
    ("invalid_credentials", "The user name or password is wrong."),
    ("invalid_email", "The text is not an e-mail address."),
    (
        "invalid_group",
        "The text is not a name of a group, or there are too many groups.",
    ),
    (
        "invalid_end",
        "Neither or both of `until` and `days`, a time that has passed, or more than a year ahead.",
    ),
    (
        "invalid_label",
        "The text is not a label of clusters, as `key=value`.",
    ),
    ("invalid_origin", "The text is not the origin of a site."),
    ("invalid_query", "A query parameter has an invalid value."),
    (
        "invalid_slug",
        "The text cannot be the slug of a page, or differs from that in the path.",
    ),
    (
        "invalid_step",
        "Not a whole number of seconds from 1 to 86,400.",
    ),
    (
        "invalid_target",
        "A member of the target is invalid; the detail names it.",
    ),
    (
        "invalid_text",
        "A text is empty, too long, or has control characters.",
    ),
    (
        "invalid_time",
        "Two times are in the wrong order, or a delay is too long.",
    ),
    ("last_admin", "No enabled administrator would remain."),
    ("link_revoked", "The link was revoked already."),
    ("maintenance_over", "The maintenance has ended."),
    ("malformed_json", "The body is not JSON."),
    ("method_not_allowed", "The path does not accept the method."),
    (
        "metrics_token_required",
        "The token of `--metrics-token-file` is missing or wrong.",
    ),
    (
        "missing_role",
        "The account lacks a role; the detail names it.",
    ),
    ("needs_no_link", "The visibility of the page is not `link`."),
    ("no_open_alarm", "No alarm is open."),
    ("no_proof", "Neither `password` nor `code` was sent."),
    (
        "no_approver_in_group",
        "The approval policy names a group in which no account can approve on the cluster.",
    ),
    ("no_reason", "The reason is missing."),
    ("no_role", "An account needs a role."),
    ("no_second_factor", "The account has no second factor."),
    (
        "no_such_finding",
        "The cluster has no such finding, or not on all of these nodes.",
    ),
    ("node_confirmed", "The node is a member already."),
    ("not_acknowledged", "The finding is not acknowledged."),
    (
        "not_confirmed",
        "`confirm` is not the name that it must repeat.",
    ),
    ("not_enrolling", "No enrolment waits for a code."),
    ("not_overridable", "A failed check cannot be overridden."),
    (
        "not_ready",
        "Accounts, clusters or the history have not been loaded.",
    ),
    ("not_signed_in", "The request has no session."),
    ("not_undoable", "The action cannot be undone."),
    (
        "not_watched_enough",
        "The replica has not observed the cluster for long enough.",
    ),
    ("not_yours", "Only the requester may cancel the action."),
    ("nothing_to_override", "No check fails."),
    (
        "origin_required",
        "The request has neither `Origin` nor `Sec-Fetch-Site`.",
    ),
    (
        "other_settings",
        "The settings of this replica lack what the plan needs.",
    ),
    (
        "overrides_differ",
        "The overridden checks are not exactly those that fail.",
    ),
    (
        "own_request",
        "The requester cannot approve or reject the action.",
    ),
    ("page_exists", "Another page has this slug."),
    (
        "plan_changed",
        "The plan is another one than the digest names.",
    ),
    ("plan_not_executable", "A check does not pass."),
    (
        "record_damaged",
        "A record of the console cannot be decoded.",
    ),
    (
        "record_tampered",
        "A record of the console was changed outside it.",
    ),
    ("recovery_off", "Recovery is paused."),
    ("registry_unavailable", "etcd cannot be reached."),
    ("reversed_range", "`from` is not before `to`."),
    (
        "second_factor_enrolment_required",
        "A role of the account requires a second factor.",
    ),
    ("second_factor_invalid", "The code is wrong."),
    (
        "second_factor_needed",
        "A role of the account requires the factor that would be removed.",
    ),
    (
        "second_factor_required",
        "The password is right, and a code is missing.",
    ),
    (
        "second_factor_unusable",
        "The record of the second factor was changed outside the console.",
    ),
    ("second_factor_used", "The code was used before."),
    (
        "series_not_recorded",
        "The console runs without `--data-dir` and without `--metrics-query-url`.",
    ),
    (
        "series_unreadable",
        "The file of the figures cannot be read.",
    ),
    ("session_ended", "The session has ended."),
    ("session_expired", "The session has expired."),
    (
        "session_invalid",
        "The session was not issued by this console.",
    ),
    ("sign_in_busy", "Too many sign-ins are being checked."),
    ("split_brain", "Two components are Primary."),
    (
        "state_secret_outdated",
        "The state secret file of this replica is older than the one in use.",
    ),
    (
        "step_too_fine",
        "A step below 60 s for a time of which only minutes are kept.",
    ),
    (
        "step_up_required",
        "The last proof to be the account's owner is too old.",
    ),
    ("throttled", "Too many attempts or changes."),
    ("tls_required", "The address accepts TLS only."),
    ("too_long", "A reason or comment is too long."),
    ("too_many", "There are too many records of this kind."),
    ("too_many_comments", "The action has too many comments."),
    ("too_many_connections", "Too many connections are open."),
    (
        "too_many_requests",
        "The account has too many requests in progress.",
    ),
    (
        "too_many_targets",
        "There are too many notification targets.",
    ),
    (
        "too_many_values",
        "More intervals, values, nodes or names than a response may have.",
    ),
    ("unknown_account", "There is no such account."),
    ("unknown_action", "There is no such action."),
    ("unknown_cluster", "There is no such cluster."),
    ("unknown_delivery", "There is no such delivery."),
    (
        "unknown_item",
        "There is no such page, link, incident, maintenance or announcement.",
    ),
    (
        "unknown_metric",
        "There is no figure of this name; the detail lists the names.",
    ),
    ("unknown_node", "There is no such node."),
    ("unknown_page", "There is no such status page."),
    ("unknown_path", "There is no such resource."),
    ("unknown_plan", "There is no such kind of plan."),
    ("unknown_session", "The account has no such session."),
    ("unknown_target", "There is no such notification target."),
    ("unreadable_body", "The body could not be read completely."),
    (
        "unsupported_media_type",
        "The body is not of the expected media type.",
    ),
    (
        "upgrade_required",
        "The request is not a WebSocket handshake.",
    ),
    (
        "weak_password",
        "The password is too short or easily guessed; the detail has the reason.",
    ),
    (
        "wrong_password",
        "The password of the own account is wrong.",
    ),
    (
        "wrong_state",
        "The action is in a state that does not permit this.",
    ),
    (
        "ambiguous_header",
        "`Host` is missing or malformed, or a header that decides about trust occurs twice.",
    ),
    (
        "at_in_the_future",
        "The time is later than the console's clock.",
    ),
    (
        "forged_delivery",
        "The record of the delivery was not written by a console.",
    ),
    (
        "invalid_expiry",
        "The end of the token is in the past, or later than permitted.",
    ),
    (
        "invalid_token_name",
        "The name of the token is empty, too long, or has other characters than permitted.",
    ),
    ("no_expiry", "Neither or both of `expires_at` and `days`."),
    (
        "not_a_service_account",
        "Only its owner creates tokens for the account of a person.",
    ),
    ("not_recorded_then", "No view was recorded at that time."),
    (
        "role_not_owned",
        "The account does not have a role of the token.",
    ),
    (
        "service_approval_refused",
        "Service accounts may not approve.",
    ),
    ("session_required", "An API token does not permit this."),
    ("token_checksum", "The checksum of the API token is wrong."),
    (
        "token_ended",
        "The API token has ended with the credential of its account.",
    ),
    (
        "token_exists",
        "Another token of the account has this name.",
    ),
    ("token_expired", "The API token has expired."),
    ("token_invalid", "There is no such API token."),
    (
        "token_limited_to_clusters",
        "The API token is limited to clusters, and this concerns the whole console.",
    ),
    ("token_malformed", "The text is not an API token."),
    ("token_revoked", "The API token was revoked."),
    (
        "token_throttled",
        "The API token has sent too many requests.",
    ),
    (
        "too_many_clusters",
        "The token or the account names too many clusters.",
    ),
    ("too_many_tokens", "The account has too many tokens."),
    (
        "two_credentials",
        "The request has a session and an API token.",
    ),
    ("unknown_token", "There is no such API token."),
    (
        "unsupported_authorization",
        "The Authorization header has another scheme than Bearer.",
    ),
    ("views_not_recorded", "The console does not record views."),
    ("views_unreadable", "The recorded views cannot be read."),
    ("no_password", "The account of a person needs a password."),
    (
        "external_account",
        "The account is one of the identity provider, which has its password and decides about its roles.",
    ),
    (
        "identity_unusable",
        "The record that names the account of the person cannot be used.",
    ),
    (
        "limited_to_clusters",
        "The roles of the account are limited to clusters, and this concerns the whole console.",
    ),
    (
        "local_accounts_off",
        "Accounts with a password are switched off.",
    ),
    (
        "no_external_role",
        "The identity provider names no group of the person that has a role.",
    ),
    (
        "provider_unavailable",
        "The identity provider does not answer, or not as expected.",
    ),
    ("sign_on_expired", "The sign-in took too long."),
    (
        "sign_on_not_begun",
        "The sign-in was not begun in this browser, or is complete already.",
    ),
    ("sign_on_off", "No identity provider is configured."),
    (
        "sign_on_refused",
        "The identity provider refused the sign-in, or returned an incomplete response.",
    ),
    (
        "sign_on_untrusted",
        "The identity provider's response failed verification.",
    ),
    (
        "service_account",
        "A service account has neither a password nor an e-mail address.",
    ),
];

/// The schema of `code` in a problem document.
pub(super) struct ProblemCode;

impl ToSchema for ProblemCode {}

impl PartialSchema for ProblemCode {
    fn schema() -> RefOr<Schema> {
        let lines = MEANINGS
            .iter()
            .map(|(code, meaning)| format!("- `{code}`: {meaning}"));
        let lines: Vec<String> = lines.collect();
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(format!(
                "A stable code; codes may be added.\n\n{}",
                lines.join("\n")
            )))
            .enum_values(Some(MEANINGS.iter().map(|(code, _)| json!(code))))
            .into()
    }
}
