//! Pages about people, programs and receivers that use a console.

use crate::block_table::TextReplacement::{HoursFromNow, Text};
use crate::block_table::{PageEntry, StartingPoint, TextReplacement, executed};

/// In JSON of the documents.
const PASSWORD: (&str, TextReplacement) = (
    "\"password\":\"…\"",
    Text("\"password\":\"wren-lantern-gravel-harbour\""),
);
const ADA: &str = "account ada admin,operator";
const DAY: i64 = 24;

pub(super) const ACCESS: PageEntry = PageEntry {
    page: "docs/access.md",
    starting_point: StartingPoint::Loopback,
    before: ADA,
    blocks: &[
        executed("galera-console user add olga"),
        executed("curl -b jar -X PATCH")
            .after("sign_in http://127.0.0.1:3000 jar")
            .printing(&["\"prod-*\""]),
        executed("galera-console serve --cluster-label"),
        executed("galera-console user group anna").after("account anna approver"),
    ],
};

pub(super) const HTTP_API: PageEntry = PageEntry {
    page: "docs/http-api.md",
    starting_point: StartingPoint::Loopback,
    before: ADA,
    blocks: &[
        executed("curl -c jar")
            .with(&[PASSWORD])
            .printing(&["\"ada\"", "\"name\":\"lab\""]),
        executed("curl -H \"Authorization: Bearer $(cat token)\"")
            .after(
                "galera-console user add ci --service --role viewer\n\
                 galera-console token add ci deploy --role viewer --days 1 >token",
            )
            .printing(&["\"name\":\"lab\""]),
        executed("curl -b jar 'http://127.0.0.1:3000/api/v1/clusters/lab?at=")
            .after(
                "recorded() { curl -b jar \"http://127.0.0.1:3000/api/v1/clusters/lab?at=$(date -u +%FT%TZ)\"; }\n\
                 wait_until recorded",
            )
            .with(&[("2026-11-28T03:12:04Z", Text("'\"$(date -u +%FT%TZ)\"'"))])
            .printing(&["\"recorded_at\""]),
        executed("curl -b jar 'http://127.0.0.1:3000/api/v1/clusters/lab/series?")
            .with(&[
                ("2026-11-28T03:00:00Z", HoursFromNow(-1)),
                ("2026-11-28T04:00:00Z", HoursFromNow(0)),
            ])
            .printing(&["\"commit_rate\""]),
        executed("curl -b jar 'http://127.0.0.1:3000/api/v1/clusters/lab/events?kind=verdict"),
    ],
};

pub(super) const MCP: PageEntry = PageEntry {
    page: "docs/mcp.md",
    starting_point: StartingPoint::Settings,
    before: "",
    blocks: &[executed("galera-console user add model")],
};

pub(super) const NOTIFICATIONS: PageEntry = PageEntry {
    page: "docs/notifications.md",
    starting_point: StartingPoint::Https("console.example.org"),
    before: ADA,
    blocks: &[
        executed("console=https://console.example.org")
            .with(&[PASSWORD])
            .printing(&["\"pager\""]),
        executed("# The body in the file body")
            .after(
                "printf '{}' >body; secret=0123456789abcdef\n\
                 signature=t=1795420800,v1=$(printf '1795420800.{}' | openssl dgst -sha256 -hmac \"$secret\" | sed 's/.*= //')",
            )
            .printing(&["genuine"]),
        executed("curl -sS -b jar").printing(&["\"dba channel\""]),
        executed("galera-console serve … --smtp-host")
            .after("account olga viewer")
            .with(&[("serve … ", Text("serve "))]),
        executed("galera-console serve … --notify-allow").with(&[("serve … ", Text("serve "))]),
    ],
};

pub(super) const SIGN_ON: PageEntry = PageEntry {
    page: "docs/sign-on.md",
    starting_point: StartingPoint::Settings,
    before: "",
    blocks: &[executed("galera-console user add rescue").with(&[(" …", Text(""))])],
};

pub(super) const STATUS_PAGES: PageEntry = PageEntry {
    page: "docs/status-pages.md",
    starting_point: StartingPoint::Https("galera.example.org"),
    before: ADA,
    blocks: &[
        executed("console=https://galera.example.org"),
        executed("curl -sS -c cookies").with(&[PASSWORD]),
        executed("api -X POST \"$console/api/v1/status/pages\"").printing(&["\"shop\""]),
        executed("api -X POST \"$console/api/v1/status/pages/shop/links\"")
            .after(
                "api \"$console/api/v1/status/pages/shop\" | jq '{title, clusters, visibility: \"link\"}' |\n\
                 api -X PUT \"$console/api/v1/status/pages/shop\" -d @-",
            )
            .with(&[("2027-01-31T00:00:00Z", HoursFromNow(30 * DAY))])
            .printing(&["https://galera.example.org/s/"]),
        executed("api -X POST \"$console/api/v1/status/incidents\"").with(&[(
            "incidents/ID/updates",
            Text("incidents/$(api \"$console/api/v1/status/incidents\" | jq -r '.incidents[0].id')/updates"),
        )]),
        executed("galera-console incident list").with(&[(
            "export ID",
            Text("export \"$(api \"$console/api/v1/status/incidents\" | jq -r '.incidents[0].id')\""),
        )]),
        executed("api -X POST \"$console/api/v1/status/maintenance\"").with(&[
            ("2026-12-01T22:00:00Z", HoursFromNow(DAY)),
            ("2026-12-01T23:00:00Z", HoursFromNow(DAY + 1)),
            (
                "maintenance/ID/end",
                Text("maintenance/$(api \"$console/api/v1/status/maintenance\" | jq -r '.maintenance[0].id')/end"),
            ),
        ]),
        executed("api -X POST \"$console/api/v1/status/announcements\"")
            .with(&[("2026-12-07T00:00:00Z", HoursFromNow(7 * DAY))]),
    ],
};
