//! Figures from before the console's own records, from a scripted metrics server and from a real Prometheus.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use console_core::clock::now;
use galera::Timestamp;
use galera::access::Role;
use galera_console::metrics_server::{MetricsServerConfig, QueryCredentials};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use notify::OutboundUrl;
use registry::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::DropGuard;

use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::http_server::serve_until_dropped;
use crate::probing::{VARIABLES, as_str_rows, primary_status};
use crate::recording_fixture::HISTORY;
use crate::test_console::{ConsoleOptions, TestConsole};

const NODE: &str = "127.0.0.1:1";
/// Five minutes of a time at which no console ran.
const RANGE: &str = "from=2026-03-01T10:00:00Z&to=2026-03-01T10:05:00Z&step=60";
const RANGE_START: i64 = 1_772_359_200;

/// How the server answers.
#[derive(Clone)]
enum Answer {
    Status(u16, String),
    Redirect(String),
    Hang,
    /// A body of this many bytes.
    Long(usize),
}

fn success(result: &Value) -> Answer {
    let data = json!({"resultType": "matrix", "result": result});
    Answer::Status(200, json!({"status": "success", "data": data}).to_string())
}

/// Minimum, mean and maximum of the node, of equal values.
fn matrix(values: &Value) -> Value {
    let series = ["min", "mean", "max"].map(|aggregate| {
        json!({"metric": {"cluster": "lab", "node": NODE, "aggregate": aggregate}, "values": values})
    });
    json!(series)
}

#[derive(Clone)]
struct Received {
    headers: HeaderMap,
    form: String,
}

struct ServerState {
    answer: Answer,
    received: Vec<Received>,
}

/// A scripted Prometheus; it stops when this is dropped.
struct MetricsFixture {
    address: SocketAddr,
    state: Arc<Mutex<ServerState>>,
    _stop: DropGuard,
}

impl MetricsFixture {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Vec::new();
        let state = Arc::new(Mutex::new(ServerState { answer, received }));
        let shared = Arc::clone(&state);
        let handler = move |request: Request| respond(Arc::clone(&shared), request);
        let router = axum::Router::new().fallback(handler);
        Self {
            address,
            state,
            _stop: serve_until_dropped(listener, router),
        }
    }

    fn answer(&self, answer: Answer) {
        self.state.lock().unwrap().answer = answer;
    }

    fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    fn config(&self, credentials: QueryCredentials) -> MetricsServerConfig {
        config(&format!("http://{}/prometheus/", self.address), credentials)
    }
}

fn config(url: &str, credentials: QueryCredentials) -> MetricsServerConfig {
    MetricsServerConfig {
        url: OutboundUrl::on_trusted_network(url).unwrap(),
        credentials,
        ca: None,
    }
}

async fn respond(state: Arc<Mutex<ServerState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = body.collect().await.unwrap().to_bytes();
    assert_eq!(
        (parts.method.as_str(), parts.uri.path()),
        ("POST", "/prometheus/api/v1/query_range")
    );
    let answer = {
        let mut state = state.lock().unwrap();
        state.received.push(Received {
            headers: parts.headers,
            form: String::from_utf8(body.to_vec()).unwrap(),
        });
        state.answer.clone()
    };
    let response = Response::builder();
    match answer {
        Answer::Status(status, body) => response.status(status).body(body.into()).unwrap(),
        Answer::Redirect(to) => response
            .status(302)
            .header("location", to)
            .body(Body::empty())
            .unwrap(),
        Answer::Hang => std::future::pending().await,
        Answer::Long(bytes) => response.body(Body::from(vec![b' '; bytes])).unwrap(),
    }
}

/// A console without records of its own, and a viewer of it.
async fn console(server: MetricsServerConfig) -> (TestConsole, TestClient, TestEtcd) {
    let options = ConsoleOptions {
        metrics_server: Some(server),
        ..ConsoleOptions::default()
    };
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    (console, viewer, etcd)
}

async fn series(viewer: &TestClient, query: &str) -> Value {
    let path = format!("/api/v1/clusters/lab/series?{query}");
    let answer = viewer.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn problem(view: &Value) -> String {
    view["sources"][0]["problem"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_has_is_shown_with_its_gaps_and_its_age() {
    let times = |offset: i64| RANGE_START + offset;
    let values = json!([[times(60), "7"], [times(120), "NaN"], [times(240), "0"]]);
    let server = MetricsFixture::start(success(&matrix(&values))).await;
    let token = QueryCredentials::Token(Secret::new("s3cret"));
    let (_console, viewer, _etcd) = console(server.config(token)).await;
    let view = series(&viewer, &format!("{RANGE}&name=recv_queue,connections")).await;
    let expected = json!([7.0, null, null, 0.0, null]);
    for (series, part) in [(0, "min"), (0, "mean"), (0, "max"), (1, "mean")] {
        assert_eq!(view["series"][series][part], expected, "{part}");
    }
    let origin = format!("http://{}", server.address);
    assert_eq!(view["metrics_server"], origin.as_str());
    let sources = view["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 1);
    let source = &sources[0];
    assert_eq!(source["source"], "metrics_server");
    assert_eq!(source["newest"], "2026-03-01T10:04:00Z");
    assert!(source["without"].is_null(), "it has every figure");
    assert!(source["read_at"].is_string() && source["problem"].is_null());
    assert_eq!(view["state"]["recording"], false);

    let received = server.received();
    assert_eq!(received.len(), 2, "one query for each figure");
    let is_first = |form: &&String| form.contains("node_recv_queue");
    let forms: Vec<&String> = received.iter().map(|request| &request.form).collect();
    let form = *forms.iter().find(|form| is_first(form)).unwrap();
    assert!(
        forms
            .iter()
            .any(|form| form.contains("galera_console_node_connections"))
    );
    assert_eq!(received[0].headers["authorization"], "Bearer s3cret");
    for part in [
        "galera_console_node_recv_queue%7Bcluster%3D%22lab%22",
        "&start=1772359260&end=1772359500&step=60&timeout=8s",
    ] {
        assert!(form.contains(part), "{part}: {form}");
    }
    let page = viewer.get("/clusters/lab/series?range=365d").await;
    let page = page.text();
    assert!(
        page.contains(&format!("from the metrics server {origin}")),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_continues_the_trace_of_the_request() {
    let server = MetricsFixture::start(success(&json!([]))).await;
    let (_console, viewer, _etcd) = console(server.config(QueryCredentials::None)).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for path in [
        format!("/api/v1/clusters/lab/series?{RANGE}&name=recv_queue"),
        "/clusters/lab/series".to_owned(),
    ] {
        let before = server.received().len();
        let request = viewer.request(Method::GET, &path);
        let request = request.header("traceparent", trace).body(Body::empty());
        assert_eq!(viewer.send(request.unwrap()).await.status, 200);
        let received = server.received();
        assert!(received.len() > before);
        for query in &received[before..] {
            let parent = query.headers["traceparent"].to_str().unwrap();
            assert_eq!((&parent[..36], &parent[52..]), (&trace[..36], &trace[52..]));
            assert_ne!(parent, trace);
        }
    }
    series(&viewer, RANGE).await;
    let last = server.received().pop().unwrap();
    assert!(!last.headers.contains_key("traceparent"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_answer_is_a_gap_and_a_sentence() {
    let server = MetricsFixture::start(Answer::Hang).await;
    let (_console, viewer, _etcd) = console(server.config(QueryCredentials::None)).await;
    let row = |aggregate: &str, values: Value| json!({"metric": {"cluster": "lab", "node": NODE, "aggregate": aggregate}, "values": values});
    let time = RANGE_START + 60;
    let error = json!({"status": "error", "errorType": "execution", "error": "too many samples"});
    let vector = json!({"status": "success", "data": {"resultType": "vector", "result": []}});
    let foreign = json!([{"metric": {"__name__": "up"}, "values": [[time, "1"]]}]);
    let many = json!(vec![row("min", json!([])); 10_000]);
    for (answer, expected) in [
        (
            Answer::Status(401, String::new()),
            "set --metrics-query-user",
        ),
        (
            Answer::Status(404, String::new()),
            "set --metrics-query-url",
        ),
        (Answer::Status(422, error.to_string()), "too many samples"),
        (Answer::Status(500, "<html>".to_owned()), "status 500"),
        (
            Answer::Redirect("http://127.0.0.1:1/elsewhere".to_owned()),
            "is not followed",
        ),
        (Answer::Long(9 << 20), "longer than 8192 KiB"),
        (Answer::Status(200, "<html>".to_owned()), "not the JSON"),
        (
            Answer::Status(200, vector.to_string()),
            "instead of a matrix",
        ),
        (success(&foreign), "was not requested"),
        (success(&many), "10000 series"),
        (
            success(&matrix(&json!([[time + 3_600, "1"]]))),
            "has the time",
        ),
        (
            success(&matrix(&json!([[time + 60, "1"], [time, "1"]]))),
            "out of order",
        ),
        (
            success(&matrix(&json!([[time, "1"], [time, "1"]]))),
            "out of order",
        ),
        (success(&matrix(&json!([[time, "-4"]]))), "not a value"),
        (success(&matrix(&json!([[time, 4]]))), "not the JSON"),
        (
            success(&json!([row("mean", json!([[time, "1"]]))])),
            "incomplete",
        ),
    ] {
        server.answer(answer);
        let view = series(&viewer, &format!("{RANGE}&name=recv_queue")).await;
        assert!(problem(&view).contains(expected), "{expected}: {view}");
        assert_eq!(
            view["series"][0]["mean"],
            json!([null, null, null, null, null])
        );
        assert_eq!(view["sources"][0]["newest"], Value::Null);
    }
    server.answer(success(&matrix(&json!([[time, "1"]]))));
    let view = series(&viewer, &format!("{RANGE}&name=recv_queue")).await;
    assert_eq!(
        (problem(&view).as_str(), &view["series"][0]["mean"][0]),
        ("", &json!(1.0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_named_and_not_asked_by_every_request() {
    let server = MetricsFixture::start(Answer::Hang).await;
    let (console, viewer, _etcd) = console(server.config(QueryCredentials::None)).await;
    let path = format!("{RANGE}&name=recv_queue,send_queue");
    let view = series(&viewer, &path).await;
    assert!(problem(&view).contains("no answer within 8 s"), "{view}");
    let asked = server.received().len();
    let view = series(&viewer, &path).await;
    assert!(
        problem(&view).contains("it is queried again after"),
        "{view}"
    );
    assert_eq!(server.received().len(), asked);
    let ready = console.anonymous().get("/readyz").await;
    assert_eq!(ready.status, 200, "readiness does not depend on it");
    server.answer(success(&matrix(&json!([[RANGE_START + 60, "1"]]))));
    eventually("the server to be queried again", async || {
        problem(&series(&viewer, &path).await).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_own_records_are_read_where_they_exist() {
    let answer = success(&json!([]));
    let server = MetricsFixture::start(answer).await;
    let directory = tempfile::tempdir().unwrap();
    let database = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    database.set_status(&as_str_rows(&primary_status(HISTORY, &database.id())));
    let password = QueryCredentials::Password("console".to_owned(), Secret::new("pass"));
    let options = ConsoleOptions {
        members: vec![database.id()],
        data_directory: Some(directory.path().to_owned()),
        metrics_server: Some(server.config(password)),
        ..ConsoleOptions::default()
    };
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    let query = "name=recv_queue&step=1";
    eventually("figures to be recorded", async || {
        let view = series(&viewer, query).await;
        let mean = view["series"][0]["mean"].as_array().unwrap();
        mean.iter().any(Value::is_number)
    })
    .await;
    let view = series(&viewer, query).await;
    let sources = view["sources"].as_array().unwrap();
    let kinds: Vec<&Value> = sources.iter().map(|part| &part["source"]).collect();
    assert_eq!(kinds, ["metrics_server", "recorded"]);
    assert_eq!(sources[0]["to"], sources[1]["from"], "{view}");
    let since = view["recorded_since"].as_str().and_then(Timestamp::parse);
    let begin = sources[1]["from"].as_str().and_then(Timestamp::parse);
    let (since, begin) = (since.unwrap().unix_millis(), begin.unwrap().unix_millis());
    assert!((0..1_000).contains(&(since - begin)), "{view}");
    assert_eq!(
        server.received()[0].headers["authorization"],
        "Basic Y29uc29sZTpwYXNz"
    );

    let asked = server.received().len();
    let later = Timestamp::from_unix_millis(since);
    let view = series(&viewer, &format!("{query}&from={later}")).await;
    assert_eq!(view["sources"][0]["source"], "recorded");
    assert_eq!(server.received().len(), asked, "its own records suffice");

    let path = format!("/api/v1/clusters/lab/series?{RANGE}&node=10.9.9.9");
    let gone = viewer.get(&path).await;
    assert_eq!(gone.json::<Value>()["code"], "unknown_node");
}

/// Ends the process when it is dropped.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Samples of two replicas, one of which ends with a stale marker, as a block of Prometheus's database.
fn write_history(directory: &Path, from: i64) {
    let mut text = String::from("# TYPE galera_console_node_recv_queue gauge\n");
    for (replica, value) in [("a", 2), ("b", 4)] {
        for second in (0..300)
            .step_by(15)
            .filter(|second| !(60..180).contains(second))
        {
            let labels = format!("cluster=\"lab\",node=\"{NODE}\",instance=\"{replica}\"");
            let time = from + second;
            text.push_str(&format!(
                "galera_console_node_recv_queue{{{labels}}} {value} {time}\n"
            ));
        }
    }
    for (cluster, node) in [("other", NODE), ("lab", "127a0b0c1:1")] {
        let labels = format!("cluster=\"{cluster}\",node=\"{node}\"");
        text.push_str(&format!(
            "galera_console_node_recv_queue{{{labels}}} 900 {}\n",
            from + 5
        ));
    }
    text.push_str("# EOF\n");
    let file = directory.join("history.txt");
    std::fs::File::create(&file)
        .and_then(|mut created| created.write_all(text.as_bytes()))
        .unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .arg(&file)
        .arg(directory.join("data"))
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_serves_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    // Within the retention of Prometheus's database, and on whole minutes.
    let from = (now().unix_millis() / 1_000 - 7 * 86_400).div_euclid(3_600) * 3_600;
    write_history(directory.path(), from);
    let settings = directory.path().join("prometheus.yml");
    std::fs::write(&settings, "global: {}\n").unwrap();
    let address = testing::etcd::loopback_address();
    let port = testing::etcd::free_port(address);
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", settings.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={address}:{port}"))
        .arg("--storage.tsdb.retention.time=10y")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Prometheus(started.unwrap());
    let server = config(&format!("http://{address}:{port}"), QueryCredentials::None);
    let (_console, viewer, _etcd) = console(server).await;
    let [start, end] = [from, from + 300].map(|time| Timestamp::from_unix_millis(time * 1_000));
    let query = format!("from={start}&to={end}&step=60&name=recv_queue,commit_rate");
    eventually("Prometheus to answer", async || {
        problem(&series(&viewer, &query).await).is_empty()
    })
    .await;
    let view = series(&viewer, &query).await;
    let queue = &view["series"][0];
    assert_eq!(queue["min"], json!([2.0, null, null, 2.0, 2.0]), "{view}");
    assert_eq!(queue["mean"], json!([3.0, null, null, 3.0, 3.0]));
    assert_eq!(queue["max"], json!([4.0, null, null, 4.0, 4.0]));
    let rate = &view["series"][1];
    assert_eq!(rate["mean"], json!([null, null, null, null, null]));
}
