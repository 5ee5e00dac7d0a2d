//! `ctl` on the real router, over TCP.

use std::io::{Read, Write};
use std::time::Duration;

use accounts::UserName;
use console_client::command::{ApiCommand, ArgumentKind, ArgumentPlace, CommandRun, commands};
use console_client::{ClientError, GivenArguments};
use console_core::clock::now;
use galera::access::{ClusterScope, Role, RoleAssignment};
use galera_console::config::LimitsConfig;
use serde_json::{Value, json};

use crate::action_fixture::ActionFixture;
use crate::api_tokens::{issue, new_token};
use crate::ctl_fixture::{ProgramClient, ProgramRun, run, serve};
use crate::etcd::TestEtcd;
use crate::fake_cluster::FakeCluster;
use crate::test_console::{ConsoleOptions, TestConsole};

const DAY: Duration = Duration::from_secs(86_400);
/// A token that no console has made, with a right checksum or not.
const WRONG: &str =
    "gct_0123456789abcdef_000000000000000000000000000000000000000000000000000000000000000000000000";

/// A console with the service account `ci`, which has `roles`, and a token of it.
async fn console_with_token(options: ConsoleOptions, roles: &[Role]) -> (TestConsole, String) {
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    let token = service_token(&console, "ci", roles).await;
    (console, token)
}

pub(crate) async fn service_token(console: &TestConsole, name: &str, roles: &[Role]) -> String {
    let account: UserName = name.parse().unwrap();
    let assignment = RoleAssignment::everywhere(roles.to_vec());
    let added = console.store.add_service(&account, &assignment, now());
    added.await.unwrap();
    let token = new_token("deploy", roles, now().plus(DAY));
    issue(console, name, token, now()).await
}

fn assert_ended(run: &ProgramRun, code: i32, parts: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    for part in parts {
        assert!(run.stderr.contains(part), "{part}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_are_read_as_table_and_as_json() {
    let (console, token) = console_with_token(ConsoleOptions::default(), &[Role::Viewer]).await;
    let program = ProgramClient::new(serve(&console).await, &token);
    let who = program.ctl(&["whoami"]).await.json();
    assert_eq!(who["username"], "ci");
    let list = program.ctl(&["clusters", "list"]).await.json();
    assert_eq!(list["clusters"][0]["name"], "lab");
    let table = program
        .ctl(&["clusters", "list", "--output", "table"])
        .await;
    assert_eq!(table.code, 0, "{table:?}");
    let mut lines = table.stdout.lines();
    let title = lines.next().unwrap();
    assert!(title.starts_with("CLUSTER  VERDICT"), "{table:?}");
    assert!(lines.next().unwrap().starts_with("lab "), "{table:?}");
    assert!(!table.stdout.contains('\u{1b}'), "{table:?}");
    // Nothing is known of the only member, which refuses connections.
    let nodes = program
        .ctl(&["nodes", "list", "lab", "--output", "table"])
        .await;
    assert!(nodes.stdout.contains("unknown"), "{nodes:?}");
    let node = program
        .ctl(&["nodes", "show", "lab", "127.0.0.1:1"])
        .await
        .json();
    assert_eq!(node["id"], "127.0.0.1:1");
    let missing = program.ctl(&["nodes", "show", "lab", "n9"]).await;
    assert_ended(&missing, 1, &["unknown_node", "there are 127.0.0.1:1"]);
    let watched = program.ctl(&["clusters", "watch", "--count", "2"]).await;
    assert_eq!(watched.code, 0, "{watched:?}");
    let first: Value = serde_json::from_str(watched.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first["cluster"], "lab");
    let unknown = program
        .ctl(&["clusters", "watch", "--cluster", "nope"])
        .await;
    assert_ended(&unknown, 64, &["no cluster nope"]);
}

/// A value that an argument may have.
fn sample(argument: &console_client::command::ApiArgument) -> Option<String> {
    Some(match argument.kind {
        ArgumentKind::Text("SLUG") => "team".to_owned(),
        ArgumentKind::Text("DIGEST") => format!("sha256:{}", "0".repeat(64)),
        ArgumentKind::Text("STATE") if argument.help.contains("node state") => "synced".to_owned(),
        ArgumentKind::Text("STATE") if argument.place == ArgumentPlace::Query => "open".to_owned(),
        ArgumentKind::Text("VERDICT") => "down".to_owned(),
        ArgumentKind::Text(_) => "x1".to_owned(),
        ArgumentKind::Cluster | ArgumentKind::Clusters => "lab".to_owned(),
        ArgumentKind::Node => "127.0.0.1:1".to_owned(),
        ArgumentKind::List("VERDICT,…") => "down,unknown".to_owned(),
        ArgumentKind::List("STATE,…") => "open".to_owned(),
        ArgumentKind::List("NAME,…") => "commit_rate".to_owned(),
        ArgumentKind::List("SLUG,…") => "team".to_owned(),
        ArgumentKind::List("KEY=VALUE,…") => "env=production".to_owned(),
        ArgumentKind::List(_) => "127.0.0.1:1".to_owned(),
        ArgumentKind::Number => "1".to_owned(),
        ArgumentKind::Time => now().to_string(),
        ArgumentKind::Choice(_, words) => words.first()?.to_string(),
        ArgumentKind::Switch => "on".to_owned(),
        ArgumentKind::Attestations => "127.0.0.1:1=stopped".to_owned(),
        ArgumentKind::File => return None,
    })
}

/// A command with every argument, or with those that it needs.
fn sample_arguments(command: &ApiCommand, all: bool, document: &str) -> GivenArguments {
    let wanted = command
        .arguments
        .iter()
        .filter(|argument| all || argument.required);
    wanted
        .map(|argument| {
            let value = sample(argument).unwrap_or_else(|| document.to_owned());
            (argument.flag, vec![value])
        })
        .collect()
}

/// Documents of every kind that can be shown, edited and sent back: the words of the commands that create, show and change
/// one, where its name is, and the document.
fn documents() -> Vec<([&'static str; 3], &'static str, Value)> {
    let target = |channel: Value| {
        let mut document = json!({"name": "pager", "kinds": ["verdict"], "clusters": ["lab"]});
        let members = document.as_object_mut().unwrap();
        members.extend(channel.as_object().unwrap().clone());
        (
            ["targets add", "targets show", "targets change"],
            "id",
            document,
        )
    };
    vec![
        target(
            json!({"type": "webhook", "url": "https://hooks.example.org/a", "secret": "0123456789abcdef"}),
        ),
        target(json!({"type": "slack", "url": "https://hooks.slack.com/services/T000/B000/xxxx"})),
        target(json!({"type": "alertmanager", "url": "https://alerts.example.org/"})),
        target(json!({"type": "email", "to": ["dba@example.org"], "people": true})),
        (
            [
                "status-pages create",
                "status-pages show",
                "status-pages replace",
            ],
            "slug",
            json!({
                "slug": "team", "title": "Team", "clusters": [{"cluster": "lab", "name": "Orders"}],
                "labels": ["env=test"], "visibility": "link", "show": {"hosts": true},
                "embed": ["https://intranet.example.org"], "automatic": null,
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_can_be_edited_and_sent_back() {
    let changing = commands().filter(|command| {
        let places = command.arguments.iter().map(|argument| argument.place);
        let of_one = command
            .arguments
            .iter()
            .any(|argument| argument.place == ArgumentPlace::Path);
        of_one
            && places
                .into_iter()
                .any(|place| matches!(place, ArgumentPlace::Document(_)))
    });
    for command in changing {
        let tested = documents()
            .iter()
            .any(|(names, ..)| names[2] == command.name());
        assert!(tested, "add a document of `ctl {}`", command.name());
    }
    let (console, token) = console_with_token(ConsoleOptions::default(), &[Role::Admin]).await;
    let program = ProgramClient::new(serve(&console).await, &token);
    let run = async |words: &str, more: &[&str]| {
        let words: Vec<&str> = words.split(' ').chain(more.iter().copied()).collect();
        program.ctl(&words).await
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for ([create, show, change], name, document) in documents() {
        std::fs::write(file.path(), document.to_string()).unwrap();
        let created = run(create, &["--file", path]).await.json();
        let name = created[name].as_str().unwrap().to_owned();
        if create == "status-pages create" {
            let link = run("status-pages add-link", &[&name, "--label", "Partner"]).await;
            assert_eq!(link.code, 0, "{link:?}");
        }
        let shown = run(show, &[&name]).await;
        std::fs::write(file.path(), &shown.stdout).unwrap();
        let changed = run(change, &[&name, "--file", path]).await;
        assert_eq!(changed.code, 0, "{document}: {changed:?}");
        let (before, mut after) = (shown.json(), run(show, &[&name]).await.json());
        for member in ["revision", "changed_at"] {
            assert!(!before[member].is_null(), "{before}");
            after[member] = before[member].clone();
        }
        assert_eq!(before, after);
        // The file is of an earlier revision now.
        let stale = run(change, &[&name, "--file", path]).await;
        assert_ended(&stale, 1, &["409"]);
        let mut typo = before;
        typo["clustres"] = json!([]);
        std::fs::write(file.path(), typo.to_string()).unwrap();
        let refused = run(change, &[&name, "--file", path]).await;
        assert_ended(&refused, 1, &["clustres"]);
    }
}

/// Codes that say that the request itself is not what the API expects.
const MALFORMED: &[&str] = &[
    "ambiguous_header",
    "bad_request",
    "body_too_large",
    "invalid_json",
    "invalid_query",
    "method_not_allowed",
    "no_operation",
    "unknown_path",
    "unsupported_media_type",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_makes_a_request_that_the_api_understands() {
    let every_role = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];
    let (console, token) = console_with_token(ConsoleOptions::default(), &every_role).await;
    let client = ProgramClient::new(serve(&console).await, &token).api();
    let document = tempfile::NamedTempFile::new().unwrap();
    let path = document.path().to_str().unwrap();
    let mut answered = 0;
    for command in commands().filter(|command| command.run == CommandRun::Request) {
        let content = match command.words[0] {
            "targets" => {
                json!({"name": "t", "type": "webhook", "url": "http://127.0.0.1:1/", "kinds": ["verdict"]})
            }
            _ => {
                json!({"title": "Team", "slug": "team", "clusters": [{"cluster": "lab"}], "visibility": "public"})
            }
        };
        std::fs::write(document.path(), content.to_string()).unwrap();
        for all in [false, true] {
            let given = sample_arguments(command, all, path);
            match console_client::ctl::request(&client, command, &given).await {
                Ok(_) => answered += 1,
                // One of two optional arguments is needed, which the answer names.
                Err(ClientError::Refused(refusal))
                    if !all && command.words == ["clusters", "stop-check"] =>
                {
                    assert!(refusal.detail.contains("nodes"), "{refusal}");
                }
                Err(ClientError::Refused(refusal)) => {
                    let name = command.name();
                    assert!(
                        !MALFORMED.contains(&&*refusal.code),
                        "{name} {given:?}: {refusal}"
                    );
                    assert!(
                        refusal.status < 500 && refusal.status != 401,
                        "{name}: {refusal}"
                    );
                    assert_ne!(refusal.code, "session_required", "{name}: {refusal}");
                }
                Err(error) => panic!("{} {given:?}: {error}", command.name()),
            }
        }
    }
    assert!(answered > 40, "only {answered} commands succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_requests_and_waits_and_another_approves() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.service_approval = true;
    })
    .await;
    let console = &fixture.console;
    let address = serve(console).await;
    let requester = service_token(console, "ci", &[Role::Operator]).await;
    let requester = ProgramClient::new(address, &requester);
    let approver = service_token(console, "bot", &[Role::Approver]).await;
    let approver = ProgramClient::new(address, &approver);
    let attested = ["--attest", "n2=stopped,n3=stopped"];
    let plan = requester
        .ctl(&[&["plan", "bootstrap", "lab"][..], &attested].concat())
        .await;
    let digest = plan.json()["digest"].as_str().unwrap().to_owned();
    let request = |confirm: &'static str| {
        let head = [
            "actions",
            "request",
            "bootstrap",
            "lab",
            "--digest",
            &digest,
        ];
        let tail = ["--confirm", confirm, "--reason", "two hosts lost power"];
        [&head[..], &tail, &attested]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let arguments = request("Lab");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let unconfirmed = requester.ctl(&arguments).await;
    assert_eq!(unconfirmed.code, 1, "{unconfirmed:?}");
    let arguments = request("lab");
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--output", "table"]);
    let requested = requester.ctl(&arguments).await;
    assert_eq!(requested.code, 0, "{requested:?}");
    let id = requested.stdout.strip_prefix("Requested action ").unwrap();
    let id = id.split(':').next().unwrap();
    let waited = requester.ctl(&["actions", "wait", id, "--for", "1"]).await;
    assert_ended(&waited, 75, &[id, "pending", "It continues"]);
    let own = requester.ctl(&["actions", "approve", id]).await;
    assert_ended(&own, 1, &["403"]);
    let approved = approver
        .ctl(&["actions", "approve", id, "--digest", &digest])
        .await;
    assert_eq!(approved.code, 0, "{approved:?}");
    let ended = requester.ctl(&["actions", "wait", id]).await.json();
    assert_eq!(ended["state"], "succeeded");
    assert_eq!(ended["requested_by"], "ci");
    let again = approver.ctl(&["actions", "reject", id]).await;
    assert_eq!(again.code, 1, "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_did_not_succeed_is_a_failure_and_people_approve() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let action = fixture.request(&fixture.operator).await.action;
    let id = action.id.to_string();
    let both = [Role::Operator, Role::Approver];
    let token = service_token(&fixture.console, "ci", &both).await;
    let program = ProgramClient::new(serve(&fixture.console).await, &token);
    let refused = program.ctl(&["actions", "approve", &id]).await;
    let page = format!("{}/actions/{id}", program.url);
    assert_ended(&refused, 1, &["service_approval_refused", &page]);
    let rejected = program
        .ctl(&["actions", "reject", &id, "--comment", "no"])
        .await;
    assert_eq!(rejected.json()["state"], "rejected");
    let waited = program.ctl(&["actions", "wait", &id]).await;
    assert_ended(&waited, 1, &["ended as rejected", "ctl actions show"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_the_reason_and_the_remedy() {
    let options = ConsoleOptions {
        more_clusters: vec!["prod"],
        ..ConsoleOptions::default()
    };
    let (console, token) = console_with_token(options, &[Role::Viewer]).await;
    let address = serve(&console).await;
    let end = now().plus(DAY);
    let limited = accounts::NewToken {
        clusters: ClusterScope::new(vec!["lab".parse().unwrap()]),
        ..new_token("limited", &[Role::Viewer], end)
    };
    let limited = issue(&console, "ci", limited, now()).await;
    let week_ago = now().minus(7 * DAY);
    let expired = new_token("old", &[Role::Viewer], week_ago.plus(DAY));
    let expired = issue(&console, "ci", expired, week_ago).await;
    for (token, arguments, code, parts) in [
        (
            &token,
            &["clusters", "show", "nope"][..],
            1,
            &["404", "unknown_cluster"][..],
        ),
        (
            &limited,
            &["clusters", "show", "prod"],
            1,
            &["404", "unknown_cluster"],
        ),
        (
            &limited,
            &["recovery", "switch", "off"],
            1,
            &["403", "code "],
        ),
        (
            &token,
            &["nodes", "admit", "lab", "n1"],
            1,
            &["403", "missing_role", "operator"],
        ),
        (
            &expired,
            &["clusters", "list"],
            1,
            &["401", "token_expired", "galera-console token add"],
        ),
        (
            &WRONG.to_owned(),
            &["clusters", "list"],
            1,
            &["401", "token_", "galera-console token add"],
        ),
        (
            &"hunter2".to_owned(),
            &["clusters", "list"],
            64,
            &["has no API token", "gct_"],
        ),
        (
            &token,
            &["clusters", "show", "lab", "--at", "yesterday"],
            1,
            &["400"],
        ),
        (&token, &["clusters"], 64, &["Usage"]),
        (
            &token,
            &["actions", "show", ".."],
            64,
            &["not a valid name"],
        ),
        (&token, &["plan", "reboot", "lab"], 64, &["possible values"]),
        (
            &token,
            &["plan", "bootstrap", "lab", "--attest", "n1"],
            64,
            &["NODE=STATEMENT"],
        ),
        (
            &token,
            &["targets", "add", "--file", "/nonexistent"],
            64,
            &["/nonexistent"],
        ),
        (
            &token,
            &["clusters", "list", "--url", "http://192.0.2.1"],
            64,
            &["--allow-plain-http"],
        ),
        (
            &token,
            &["clusters", "list", "--url", "ftp://x"],
            64,
            &["--url", "https://"],
        ),
        (
            &token,
            &["clusters", "list", "--timeout", "0"],
            64,
            &["--timeout"],
        ),
    ] {
        let run = ProgramClient::new(address, token).ctl(arguments).await;
        assert_ended(&run, code, parts);
        assert!(run.stdout.is_empty(), "{run:?}");
        let all = format!("{run:?}");
        assert!(
            !all.contains("hunter2") && !all.contains(&token[4..]),
            "{arguments:?}: {all}"
        );
    }
    let program = ProgramClient::new(address, &token);
    let mut without = program.command(&["ctl", "clusters", "list"]);
    without.env_remove("GALERA_CONSOLE_TOKEN_FILE");
    assert_ended(&run(without).await, 64, &["--token-file"]);
    let mut twice = program.command(&["ctl", "clusters", "list"]);
    twice.env("GALERA_CONSOLE_TOKEN", &token);
    assert_ended(
        &run(twice).await,
        64,
        &["both GALERA_CONSOLE_TOKEN_FILE and"],
    );
    // One environment may have the variables of a client and of a console.
    let both =
        run(program.command(&["check-config", "--etcd-endpoints", "http://127.0.0.1:1"])).await;
    assert_eq!(both.code, 0, "{both:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_token_names_when_to_try_again() {
    let options = ConsoleOptions {
        limits_of_clients: LimitsConfig {
            token_requests: 1,
            ..LimitsConfig::default()
        },
        ..ConsoleOptions::default()
    };
    let (console, token) = console_with_token(options, &[Role::Viewer]).await;
    let program = ProgramClient::new(serve(&console).await, &token);
    let client = program.api();
    let request = console_client::connection::ApiRequest::get("/api/v1/session".to_owned());
    while client.send(&request).await.is_ok() {}
    let refused = program.ctl(&["whoami"]).await;
    assert_ended(&refused, 1, &["429", "token_throttled", "try again in"]);
}

/// A server that answers its first connection with `overview`, and closes later ones.
pub(crate) fn server_that_goes(overview: &'static str) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let length = overview.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        let _ = stream.write_all(format!("{head}{overview}").as_bytes());
        drop(stream);
        for stream in listener.incoming() {
            drop(stream);
        }
    });
    address
}

#[tokio::test]
async fn a_watch_names_what_is_stale_and_prints_nothing_dangerous() {
    const OVERVIEW: &str = r#"{"clusters":[{"name":"a\u001b[2J\u202eb","verdict":{"state":"<b>\nforged"},"nodes":[]}]}"#;
    let program = ProgramClient::new(server_that_goes(OVERVIEW), WRONG);
    let watched = program
        .ctl(&[
            "clusters",
            "watch",
            "--interval",
            "1",
            "--count",
            "2",
            "--output",
            "table",
        ])
        .await;
    assert_eq!(watched.code, 0, "{watched:?}");
    let lines: Vec<&str> = watched.stdout.lines().collect();
    assert_eq!(lines[0], "a\\u{1b}[2J\\u{202e}b: <b>\\nforged");
    assert!(lines[1].starts_with("stale from here: "), "{watched:?}");
    let list = ProgramClient::new(server_that_goes(OVERVIEW), WRONG);
    let list = list.ctl(&["clusters", "list"]).await;
    assert!(list.stdout.contains("a\\u001b[2J\\u202eb"), "{list:?}");
    assert_eq!(list.json()["clusters"][0]["name"], "a\u{1b}[2J\u{202e}b");
}
