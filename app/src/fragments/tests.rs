//! Which calls of one page are concurrent.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::fixtures;

/// How often a call is polled until it is answered.
const POLLS: usize = 8;

/// An API that answers late, and counts the calls that wait at the same time.
#[derive(Default)]
struct SlowApi {
    waiting: AtomicUsize,
    most_waiting: AtomicUsize,
    calls: Mutex<Vec<String>>,
}

impl SlowApi {
    fn in_process(self: &Arc<Self>, unknown_cluster: bool) -> InProcessApi {
        let api = Arc::clone(self);
        InProcessApi(Arc::new(move |request| {
            let path = request.uri().to_string();
            let known = !(unknown_cluster && path.starts_with("/api/v1/clusters/"));
            let (status, body) = match answer_to(&path).filter(|_| known) {
                Some(body) => (StatusCode::OK, body),
                None => (StatusCode::NOT_FOUND, json!({ "path": path })),
            };
            let answer = http::Response::builder()
                .status(status)
                .body(Body::from(body.to_string()))
                .unwrap();
            let api = Arc::clone(&api);
            api.calls.lock().unwrap().push(path);
            Box::pin(async move {
                let now = api.waiting.fetch_add(1, Ordering::Relaxed) + 1;
                api.most_waiting.fetch_max(now, Ordering::Relaxed);
                let mut polls = 0;
                poll_fn(|_| {
                    polls += 1;
                    if polls < POLLS {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                })
                .await;
                api.waiting.fetch_sub(1, Ordering::Relaxed);
                answer
            })
        }))
    }
}

fn answer_to(path: &str) -> Option<Value> {
    let now = fixtures::fixed_now().to_string();
    Some(match path.split('?').next()? {
        "/api/v1/session" => json!({"username": "dora", "roles": ["viewer"], "expires_at": now}),
        "/api/v1/clusters/lab" => serde_json::to_value(fixtures::healthy("lab", 2_881)).unwrap(),
        "/api/v1/clusters/lab/events" => json!({"events": [], "next_before": null}),
        "/api/v1/clusters/lab/recovery" => {
            json!({"cluster": "lab", "enabled": true, "off": null, "scope": null})
        }
        "/api/v1/actions" => json!({"actions": [], "next_before": null}),
        "/api/v1/recovery" => {
            json!({"enabled": true, "off": null, "clusters": {}, "approvals": {"bootstrap": 1}, "sql_account": true})
        }
        _ => return None,
    })
}

fn render(
    api: &Arc<SlowApi>,
    unknown_cluster: bool,
    page: &str,
) -> Result<Fragment, ProblemDetails> {
    let in_process = api.in_process(unknown_cluster);
    let (headers, uri) = (HeaderMap::new(), page.parse().unwrap());
    let mut rendering = pin!(render_fragment(
        &in_process,
        &headers,
        &uri,
        fixtures::fixed_now()
    ));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100 * POLLS {
        if let Poll::Ready(rendered) = rendering.as_mut().poll(&mut context) {
            return rendered;
        }
    }
    panic!("{page} is not rendered: {:?}", api.calls.lock().unwrap());
}

#[test]
fn calls_that_do_not_depend_on_each_other_are_concurrent() {
    // The four of the recovery page itself, and a plan of each kind.
    let recovery = 4 + ActionKind::ALL.into_iter().count();
    for (page, concurrent) in [
        ("/clusters/lab/recovery", recovery),
        ("/clusters/lab/events", 2),
    ] {
        let api = Arc::new(SlowApi::default());
        render(&api, false, page).unwrap();
        let most = api.most_waiting.load(Ordering::Relaxed);
        assert_eq!(most, concurrent, "{page}: {:?}", api.calls.lock().unwrap());
    }
}

#[test]
fn an_unknown_cluster_is_reported_as_such() {
    for page in ["/clusters/lab/recovery", "/clusters/lab/events"] {
        let api = Arc::new(SlowApi::default());
        let problem = render(&api, true, page).unwrap_err();
        assert_eq!(problem.status, 404, "{page}: {problem:?}");
    }
}
