use super::{StatusPageFixture, post};

#[tokio::test]
async fn invalid_pages_are_refused_with_the_violated_rule() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let long = "x".repeat(200);
    let page = |slug: &str, title: &str, rest: &str| {
        format!(r#"{{"slug":"{slug}","title":"{title}","clusters":[{{"cluster":"lab"}}]{rest}}}"#)
    };
    let many: Vec<String> = (0..200)
        .map(|n| format!(r#"{{"cluster":"lab{n}"}}"#))
        .collect();
    let pages = [
        (page("Shop!", "t", ""), 422, "invalid_slug"),
        (page("", "t", ""), 422, "invalid_slug"),
        (page("-a", "t", ""), 422, "invalid_slug"),
        (page(&"a".repeat(64), "t", ""), 422, "invalid_slug"),
        (page("shop", "t", ""), 409, "page_exists"),
        (page("new", " ", ""), 422, "invalid_text"),
        (page("new", &long, ""), 422, "invalid_text"),
        (page("new", "a\\u0007b", ""), 422, "invalid_text"),
        (page("new", "t", r#","embed":["javascript:alert(1)"]"#), 422, "invalid_origin"),
        (page("new", "t", r#","embed":["https://a; script-src *"]"#), 422, "invalid_origin"),
        (page("new", "t", r#","automatic":{"after_secs":100000}"#), 422, "invalid_time"),
        (page("new", "t", r#","visibility":"secret""#), 400, "invalid_body"),
        (page("new", "t", r#","show":{"passwords":true}"#), 400, "invalid_body"),
        (r#"{"slug":"new","title":"t","clusters":[]}"#.to_owned(), 422, "invalid_clusters"),
        (
            r#"{"slug":"new","title":"t","clusters":[{"cluster":"nowhere"}]}"#.to_owned(),
            422,
            "unknown_cluster",
        ),
        (
            r#"{"slug":"new","title":"t","clusters":[{"cluster":"lab"},{"cluster":"lab","name":"b"}]}"#.to_owned(),
            422,
            "invalid_clusters",
        ),
        (
            format!(r#"{{"slug":"new","title":"t","clusters":[{}]}}"#, many.join(",")),
            422,
            "unknown_cluster",
        ),
        ("[".to_owned(), 400, "malformed_json"),
        (format!(r#"{{"slug":"new","title":"{}"}}"#, "x".repeat(70_000)), 413, "body_too_large"),
    ];
    for (body, status, code) in pages {
        let answer = post(&fixture.admin, "/api/v1/status/pages", &body).await;
        let shown: String = body.chars().take(100).collect();
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", answer.text());
        assert_eq!(answer.problem().code, code, "{shown}");
    }
}

#[tokio::test]
async fn invalid_incidents_maintenance_and_announcements_are_refused() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let text = "x".repeat(5_000);
    for (path, body, code) in [
        ("incidents", r#"{"clusters":["nowhere"],"title":"t","text":"t"}"#.to_owned(), "unknown_cluster"),
        ("incidents", r#"{"clusters":["lab","lab"],"title":"t","text":"t"}"#.to_owned(), "invalid_clusters"),
        ("incidents", format!(r#"{{"clusters":["lab"],"title":"t","text":"{text}"}}"#), "invalid_text"),
        (
            "maintenance",
            r#"{"clusters":["lab"],"title":"t","text":"t","from":"2126-01-02T00:00:00Z","until":"2126-01-01T00:00:00Z"}"#.to_owned(),
            "invalid_time",
        ),
        (
            "maintenance",
            r#"{"clusters":["lab"],"title":"t","text":"t","until":"2020-01-01T00:00:00Z"}"#.to_owned(),
            "invalid_time",
        ),
        ("announcements", r#"{"title":"t","text":"t","pages":["never"]}"#.to_owned(), "unknown_page"),
        ("announcements", r#"{"title":"t","text":"t","until":"2020-01-01T00:00:00Z"}"#.to_owned(), "invalid_time"),
    ] {
        let answer = post(&fixture.operator, &format!("/api/v1/status/{path}"), &body).await;
        assert_eq!(answer.status, 422, "{path} {code}: {}", answer.text());
        assert_eq!(answer.problem().code, code, "{path}");
    }
    let update = "/api/v1/status/incidents/..%2Fpages%2Fshop/updates";
    let answer = post(
        &fixture.operator,
        update,
        r#"{"state":"resolved","text":"t"}"#,
    )
    .await;
    assert_eq!(answer.problem().code, "unknown_item");
    for path in [
        "/status/shop",
        "https://evil.example/",
        "/clusters/lab",
        "/s/a\"b",
        "/status/<x>",
    ] {
        let escaped: String = path.bytes().map(|b| format!("%{b:02X}")).collect();
        let answer = fixture
            .operator
            .get(&format!("/api/v1/status/qr.svg?path={escaped}"))
            .await;
        let expected = if path == "/status/shop" { 200 } else { 400 };
        assert_eq!(answer.status, expected, "{path}");
    }
}
