//! What of the API has no command, and why. Tests compare both lists with `docs/openapi.json`.

/// Operations that accept an API token and have no command, with the reason.
pub const NOT_COMMANDS: &[(&str, &str, &str)] = &[
    (
        "POST",
        "/api/v1/session",
        "signing in: a program has a token",
    ),
    (
        "GET",
        "/api/v1/live",
        "the WebSocket; `clusters watch` requests the overview instead",
    ),
    (
        "GET",
        "/api/v1/status/qr.svg",
        "an image for the page of a secret link",
    ),
    (
        "GET",
        "/api/v1/status/incidents/{id}/report",
        "a page to keep: `galera-console incident export`, or curl with the token",
    ),
    (
        "POST",
        "/oidc/back-channel-logout",
        "for the identity provider",
    ),
    (
        "GET",
        "/oidc/callback",
        "for browsers, from the identity provider",
    ),
    ("GET", "/oidc/sign-in", "signing in: a program has a token"),
    ("POST", "/oidc/sign-in", "signing in: a program has a token"),
    ("GET", "/healthz", "for orchestrators, without a token"),
    ("GET", "/readyz", "for orchestrators, without a token"),
    (
        "GET",
        "/metrics",
        "for Prometheus, with the token of --metrics-token-file",
    ),
];

/// Begins of paths whose operations need a session, and where a person does the same.
pub const SESSION_ONLY: &[(&str, &str)] = &[
    (
        "/api/v1/accounts",
        "`galera-console user` on the console's host",
    ),
    (
        "/api/v1/alarms/acknowledge",
        "the page Audit, or `galera-console state accept` on the console's host",
    ),
    ("/api/v1/me", "the page of the own account"),
    ("/api/v1/session", "signing in and out"),
    (
        "/api/v1/tokens",
        "the page of the own account, or `galera-console token` on the console's host",
    ),
];
