//! The HTTP API as Flower's clients use it.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tradewind_broker::{Broker as _, Coordinator as _, ResultBackend as _, StoredResult};
use tradewind_proto::celery::{ExceptionInfo, Meta, Request, state};
use tradewind_proto::clock::Clock as _;
use tradewind_web::{Credentials, FlowerOptions};

use crate::fleet::{Fleet, WORKER, open};

const OK: StatusCode = StatusCode::OK;

#[tokio::test]
async fn the_api_is_shut_unless_somebody_may_use_it() {
    let shut = Fleet::new(FlowerOptions::default()).await;
    for path in ["/api/workers", "/api/tasks", "/api/task/result/x", "/api/queues/length"] {
        assert_eq!(shut.get(path).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let revoked = shut.post("/api/task/revoke/x", Body::empty()).await;
    assert_eq!(revoked.0, StatusCode::UNAUTHORIZED);
    assert!(!shut.saw("revoke"));
    assert_eq!(shut.get("/metrics").await.0, OK);
    assert_eq!(shut.get("/healthcheck").await, (OK, json!("OK")));
    shut.stop().await;

    let users = FlowerOptions {
        basic_auth: Credentials::new(vec!["ann:one".to_owned()]),
        ..FlowerOptions::default()
    };
    let guarded = Fleet::new(users).await;
    let right = [("authorization", "Basic YW5uOm9uZQ==")];
    let wrong = [("authorization", "Basic YW5uOnR3bw==")];
    let with = |headers| guarded.text("GET", "/api/workers", headers, Body::empty());
    assert_eq!(with(&right).await.0, OK);
    assert_eq!(with(&wrong).await.0, StatusCode::UNAUTHORIZED);
    let foreign = [right[0], ("origin", "https://evil.example"), ("host", "flower.example")];
    let foreign = guarded.text("POST", "/api/task/revoke/x", &foreign, Body::empty()).await;
    assert_eq!(foreign.0, StatusCode::FORBIDDEN);
    assert!(!guarded.saw("revoke"));
    guarded.stop().await;
}

#[tokio::test]
async fn read_only_refuses_every_change() {
    let fleet = Fleet::new(FlowerOptions { read_only: true, ..open() }).await;
    fleet.online().await;
    for path in [
        "/api/worker/shutdown/celery@one",
        "/api/worker/pool/restart/celery@one",
        "/api/worker/pool/grow/celery@one",
        "/api/worker/pool/shrink/celery@one",
        "/api/worker/pool/autoscale/celery@one",
        "/api/worker/queue/add-consumer/celery@one",
        "/api/worker/queue/cancel-consumer/celery@one",
        "/api/task/apply/add",
        "/api/task/async-apply/add",
        "/api/task/send-task/add",
        "/api/task/abort/x",
        "/api/task/timeout/add",
        "/api/task/rate-limit/add",
        "/api/task/revoke/x",
    ] {
        let answer = fleet.post(path, Body::empty()).await;
        assert_eq!(answer, (StatusCode::FORBIDDEN, json!("Read only mode is enabled")), "{path}");
    }
    assert_eq!(fleet.get("/api/workers").await.0, OK);
    fleet.stop().await;
}

#[tokio::test]
async fn workers_are_shown() {
    let fleet = Fleet::new(open()).await;
    let unknown = fleet.post("/api/worker/shutdown/nobody", Body::empty()).await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, json!("Unknown worker 'nobody'")));
    fleet.online().await;
    let (_, workers) = fleet.get("/api/workers").await;
    let info = &workers[WORKER];
    assert_eq!(info["stats"]["pool"]["max-concurrency"], 4);
    assert_eq!(info["active_queues"][0]["name"], "mail");
    assert!(info["timestamp"].is_number() && info.get("active").is_none());
    assert!(!workers.to_string().contains("secret"));
    assert_eq!(fleet.get("/api/workers?status=1").await.1, json!({WORKER: true}));
    let one = fleet.get(&format!("/api/workers?refresh=true&workername={WORKER}")).await.1;
    assert_eq!(one[WORKER]["active"], json!([]));
    assert_eq!(fleet.get("/api/workers?workername=no").await.0, StatusCode::NOT_FOUND);
    assert_eq!(fleet.get("/api/workers?refresh=maybe").await.0, StatusCode::BAD_REQUEST);
    fleet.stop().await;
}

#[tokio::test]
async fn workers_are_steered() {
    let fleet = Fleet::new(open()).await;
    fleet.online().await;
    let said = |text: &str| json!({"message": text});
    let (bad, no) = (StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN);
    for (path, body, status, answer) in [
        ("pool/grow", "n=3", OK, said("Growing 'celery@one' worker's pool by 3")),
        ("pool/shrink", "", OK, said("Shrinking 'celery@one' worker's pool by 1")),
        ("pool/grow", "n=many", bad, json!("Invalid argument 'many' of type 'int'")),
        ("queue/add-consumer", "queue=q2", OK, said("add consumer q2")),
        ("queue/cancel-consumer", "queue=q2", OK, said("no longer consuming from q2")),
        ("queue/add-consumer", "", bad, json!("Missing argument queue")),
        (
            "pool/autoscale",
            "min=1&max=3",
            no,
            json!("Failed to autoscale 'celery@one' worker: Autoscale not enabled"),
        ),
        ("pool/restart", "", no, json!("Failed to restart the 'celery@one' pool: Unknown reason")),
        ("shutdown", "", OK, said("Shutting down!")),
    ] {
        let path = format!("/api/worker/{path}/{WORKER}");
        assert_eq!(fleet.post(&path, body).await, (status, answer), "{path} {body}");
    }
    let grown = fleet.command("pool_grow").map(|request| Value::Object(request.arguments));
    assert_eq!(grown, Some(json!({"n": 3})));
    fleet.until("the shutdown", |fleet| fleet.saw("shutdown")).await;
    let destination = fleet.command("shutdown").and_then(|request| request.destination);
    assert_eq!(destination, Some(vec![WORKER.to_owned()]));
    fleet.stop().await;
}

#[tokio::test]
async fn task_types_are_steered() {
    let fleet = Fleet::new(open()).await;
    fleet.online().await;
    let said = |text: &str| json!({"message": text});
    for (path, body, status, answer) in [
        (
            "rate-limit/mail.send",
            "workername=celery%40one&ratelimit=5/s",
            OK,
            said("new rate limit set successfully"),
        ),
        (
            "timeout/add",
            "workername=celery%40one&soft=3&hard=5.5",
            OK,
            said("time limits set successfully"),
        ),
        (
            "timeout/nothing",
            "workername=celery%40one",
            StatusCode::NOT_FOUND,
            json!("Unknown task 'nothing'"),
        ),
        ("revoke/t1?terminate=true&signal=SIGKILL", "", OK, said("Revoked 't1'")),
    ] {
        let path = format!("/api/task/{path}");
        assert_eq!(fleet.post(&path, body).await, (status, answer), "{path} {body}");
    }
    fleet.until("the revocation", |fleet| fleet.saw("revoke")).await;
    // For workers that come later.
    let known = fleet.coordinator.are_revoked(&["t1".to_owned()]).await.expect("answers");
    assert_eq!(known, [true]);
    for (method, arguments) in [
        ("rate_limit", json!({"task_name": "mail.send", "rate_limit": "5/s"})),
        ("time_limit", json!({"task_name": "add", "hard": 5.5, "soft": 3.0})),
        ("revoke", json!({"task_id": "t1", "terminate": true, "signal": "SIGKILL"})),
    ] {
        let sent = fleet.command(method).map(|request| Value::Object(request.arguments));
        assert_eq!(sent, Some(arguments), "{method}");
    }
    fleet.stop().await;
}

#[tokio::test]
async fn tasks_are_listed_as_flower_lists_them() {
    let fleet = Fleet::new(open()).await;
    let good = ("task-succeeded", json!({"result": "3", "runtime": 0.5}));
    fleet.task("t1", "add", "mail", good).await;
    fleet.clock.advance(10);
    let bad = ("task-failed", json!({"exception": "ValueError('no')", "traceback": "Traceback"}));
    fleet.task("t2", "mail.send", "mail", bad).await;
    fleet.event("task-sent", "gen1@client", json!({"uuid": "t3", "name": "add"})).await;

    let at = fleet.clock.seconds() - 10.0;
    let expected = json!({
        "uuid": "t1", "name": "add", "state": "SUCCESS", "received": at + 1.0, "sent": at,
        "started": at + 2.0, "rejected": null, "succeeded": at + 3.0, "failed": null,
        "retried": null, "revoked": null, "args": "(1, 2)", "kwargs": "{}", "eta": null,
        "expires": null, "retries": 0, "worker": WORKER, "result": "3", "exception": null,
        "timestamp": at + 3.0, "runtime": 0.5, "traceback": null, "exchange": "",
        "routing_key": "mail", "client": "gen1@client", "root": "t1",
        "root_id": "t1", "parent": null, "parent_id": null, "children": [],
    });
    let (status, mut info) = fleet.get("/api/task/info/t1").await;
    let clock = info.as_object_mut().and_then(|info| info.shift_remove("clock"));
    assert!(clock.is_some_and(|clock| clock.as_u64() > Some(0)));
    assert_eq!((status, info), (OK, expected));
    let unknown = fleet.get("/api/task/info/zzz").await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, json!("Unknown task 'zzz'")));

    let day = "2026-11-20%2000:00";
    for (query, ids) in [
        ("", vec!["t2", "t3", "t1"]),
        ("limit=1&offset=1", vec!["t3"]),
        ("state=FAILURE", vec!["t2"]),
        ("taskname=add&state=All", vec!["t3", "t1"]),
        ("workername=celery@one&sort_by=received", vec!["t1", "t2"]),
        ("sort_by=-name&workername=celery@one", vec!["t2", "t1"]),
        ("search=mail.send", vec!["t2"]),
        ("search=state:success%20OR%20state:pending&sort_by=state", vec!["t3", "t1"]),
        (&format!("received_start=2099-01-01%2000:00&received_end={day}"), vec!["t3"]),
    ] {
        let (status, tasks) = fleet.get(&format!("/api/tasks?{query}")).await;
        let found: Vec<&String> = tasks.as_object().expect("a map").keys().collect();
        assert_eq!(
            (status, found),
            (OK, ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>().iter().collect()),
            "{query}"
        );
    }
    let (_, tasks) = fleet.get("/api/tasks").await;
    assert!(tasks["t3"].get("worker").is_none(), "no worker has it");
    for bad in ["sort_by=size", "limit=x", "received_start=today"] {
        let (status, _) = fleet.get(&format!("/api/tasks?{bad}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let (status, error) = fleet.get("/api/tasks?search=ab").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error["error"].as_str().is_some_and(|text| text.contains("at least 3 characters")));
    let types = fleet.get("/api/task/types").await.1;
    assert_eq!(types, json!({"task-types": ["add", "mail.send"]}));
    fleet.stop().await;
}

fn stored(id: &str, meta: &Meta) -> StoredResult {
    StoredResult {
        task_id: id.to_owned(),
        token: 1,
        state: meta.status.clone(),
        meta: meta.to_bytes(),
        reply_to: None,
    }
}

#[tokio::test]
async fn tasks_are_sent_and_their_results_read() {
    let fleet = Fleet::new(open()).await;
    fleet.online().await;
    let body = r#"{"args": [1, 2], "kwargs": {"x": "y"}, "queue": "mail", "countdown": 60}"#;
    let (status, sent) = fleet.post("/api/task/send-task/any.name", body).await;
    assert_eq!((status, &sent["state"]), (OK, &json!("PENDING")));
    let refused = fleet.post("/api/task/async-apply/any.name", body).await;
    assert_eq!(refused, (StatusCode::NOT_FOUND, json!("Unknown task 'any.name'")));
    let (status, _) = fleet.post("/api/task/async-apply/add", r#"{"queue": "mail"}"#).await;
    assert_eq!(status, OK);
    let messages = fleet.broker.peek("mail", 10).await.expect("peeks");
    let request = Request::decode(&messages[0]).expect("decodes");
    assert_eq!(request.id, sent["task-id"].as_str().expect("an id"));
    assert_eq!((request.task.as_str(), request.args), ("any.name", vec![json!(1), json!(2)]));
    assert_eq!(request.kwargs["x"], "y");
    assert_eq!(request.eta, Some(fleet.clock.now() + jiff::SignedDuration::from_secs(60)));
    assert_eq!((messages.len(), messages[0].header_str("argsrepr")), (2, Some("(1, 2)")));
    // What says no queue goes where the fleet's routes say.
    let (status, _) = fleet.post("/api/task/send-task/routed.one", "{}").await;
    assert_eq!(status, OK);
    let routed = fleet.broker.peek("mail", 10).await.expect("peeks");
    // First of all: it has the priority of its route.
    let routed = Request::decode(&routed[0]).expect("decodes");
    assert_eq!((routed.task.as_str(), routed.priority), ("routed.one", 3));
    let lengths = fleet.get("/api/queues/length").await.1;
    assert_eq!(lengths, json!({"active_queues": [{"name": "mail", "messages": 3}]}));

    let now = fleet.clock.now();
    let day = Duration::from_secs(86_400);
    let good = Meta::success("good", json!({"n": 5}), now);
    let error = ExceptionInfo::new("builtins", "ValueError", "no");
    let bad = Meta::failure("bad", &error, Some("Traceback".to_owned()), now);
    fleet.results.put(stored("good", &good), day).await.expect("stored");
    fleet.results.put(stored("bad", &bad), day).await.expect("stored");
    for (path, expected) in [
        ("good", json!({"task-id": "good", "state": "SUCCESS", "result": {"n": 5}})),
        (
            "bad?timeout=2",
            json!({"task-id": "bad", "state": "FAILURE", "result": "ValueError('no')",
                   "traceback": "Traceback"}),
        ),
        ("none", json!({"task-id": "none", "state": "PENDING"})),
        ("none?timeout=0.05", json!({"task-id": "none", "state": "PENDING"})),
    ] {
        assert_eq!(fleet.get(&format!("/api/task/result/{path}")).await, (OK, expected), "{path}");
    }
    let aborted = fleet.post("/api/task/abort/run", Body::empty()).await;
    assert_eq!(aborted, (OK, json!({"message": "Aborted 'run'"})));
    assert_eq!(fleet.get("/api/task/result/run").await.1["state"], "ABORTED");

    let body = r#"{"args": [1], "task_id": "waited", "queue": "mail"}"#;
    let done = Meta::success("waited", json!(7), now);
    let (applied, put) = tokio::join!(fleet.post("/api/task/apply/add", body), async {
        // Stored once the message is there: a worker's part.
        fleet.until("the call", |_| true).await;
        fleet.results.put(stored("waited", &done), day).await
    });
    put.expect("stored");
    let expected = json!({"task-id": "waited", "result": 7, "state": state::SUCCESS});
    assert_eq!(applied, (OK, expected));
    let body = r#"{"timeout": 0.05, "queue": "mail", "task_id": "slow"}"#;
    let late = fleet.post("/api/task/apply/add", body).await;
    assert_eq!(late, (OK, json!({"task-id": "slow", "state": "PENDING"})));
    for bad in ["{", "[]", r#"{"args": 1}"#, r#"{"timeout": "x"}"#] {
        let (status, _) = fleet.post("/api/task/apply/add", bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    fleet.stop().await;
}
