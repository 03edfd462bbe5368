//! The execution API against a SQLite store: claims, leases, XComs, logs, refusals.

mod common;

use axum::http::StatusCode;
use common::{TOKEN, World, call, claim_request, task};
use serde_json::{Value, json};
use tradewind_proto::clock::Clock as _;
use tradewind_proto::execution::{
    ClaimReply, ClaimVerdict, HeartbeatReply, HeartbeatRequest, LeaseItem, LeaseVerdict,
};
use tradewind_proto::state::TaskState;
use tradewind_store::model::Dispatch;
use tradewind_store::{AdminStore as _, DataStore as _};
use uuid::Uuid;

async fn world() -> World {
    let world = World::new().await;
    let mut load = task("load", &["extract"]);
    load["params"] = json!({"level": "task", "kept": "task"});
    let dag = json!({"dag_id": "etl", "timezone": "Europe/Berlin",
        "params": {"level": "dag", "conf": "dag", "day": 1},
        "tasks": [task("extract", &[]), load]});
    world.sync("etl.py", &[dag]).await;
    world
}

fn value<T: serde::Serialize>(of: &T) -> Value {
    serde_json::to_value(of).expect("serializes")
}

async fn claim_over_http(world: &World, dispatch: &Dispatch) -> ClaimVerdict {
    let (status, body) =
        call(&world.router(), "claim", TOKEN, &value(&claim_request(dispatch))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let reply: ClaimReply = serde_json::from_value(body).expect("a claim reply");
    reply.verdicts.into_iter().next().expect("one verdict")
}

#[tokio::test]
async fn a_grant_says_everything_that_a_worker_needs() {
    let world = world().await;
    let run = world.start("etl", "r1", json!({"conf": "conf", "extra": true})).await;
    let first = world.queue(run, "extract").await;
    world.claim(&first).await;
    world.clock.advance(100);
    world.finish(&first, TaskState::Success, "").await;
    world.clock.advance(3);
    let second = world.queue(run, "load").await;
    world.clock.advance(4);

    let ClaimVerdict::Granted(grant) = claim_over_http(&world, &second).await else {
        panic!("not granted")
    };
    assert_eq!(grant.lease_ms, 10_000);
    assert_eq!((grant.fileloc.as_str(), grant.source_hash.as_str()), ("etl.py", "ab12"));
    assert_eq!(grant.task.task_id, "load");
    let context = &grant.context;
    assert_eq!((context.dag_id.as_str(), context.run_id.as_str()), ("etl", "r1"));
    assert_eq!((context.try_number, context.max_tries, context.map_index), (1, 1, -1));
    assert_eq!(context.timezone, "Europe/Berlin");
    assert_eq!(context.upstream, ["extract"]);
    assert_eq!(
        Value::Object(context.params.clone()),
        json!({"level": "task", "conf": "conf", "day": 1, "kept": "task", "extra": true})
    );

    let metrics = prometheus::TextEncoder::new();
    let text = metrics.encode_to_string(&world.registry.gather()).expect("encodes");
    assert!(text.contains("tradewind_hop_seconds_count 1"), "{text}");
    assert!(text.contains("tradewind_hop_seconds_sum 0.007"), "7 ms since the upstream: {text}");
    assert!(text.contains(r#"tradewind_queue_wait_seconds_count{queue="default"} 2"#), "{text}");
}

#[tokio::test]
async fn a_repeated_claim_is_granted_again_and_a_duplicate_or_old_one_is_not() {
    let world = world().await;
    let run = world.start("etl", "r1", json!({})).await;
    let mut dispatch = world.queue(run, "extract").await;
    let again = claim_request(&dispatch);
    for _ in 0..2 {
        let reply = world.execution.claim(&again).await.expect("answers");
        assert!(matches!(reply.verdicts[..], [ClaimVerdict::Granted(_)]), "same nonce");
    }
    let mut other = claim_request(&dispatch);
    other.items[0].nonce = Uuid::from_u128(99);
    let reply = world.execution.claim(&other).await.expect("answers");
    assert!(matches!(reply.verdicts[..], [ClaimVerdict::Duplicate]), "another delivery");

    dispatch.token -= 1;
    assert!(matches!(claim_over_http(&world, &dispatch).await, ClaimVerdict::Stale));
    let text = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather());
    let text = text.expect("encodes");
    assert!(
        text.contains(r#"tradewind_stale_writes_refused_total{write="claim"} 1"#),
        "counted: {text}"
    );
}

#[tokio::test]
async fn heartbeats_renew_leases_until_they_are_stale() {
    let world = world().await;
    let run = world.start("etl", "r1", json!({})).await;
    let dispatch = world.queue(run, "extract").await;
    world.claim(&dispatch).await;
    let mut beat = HeartbeatRequest {
        worker: "celery@box".to_owned(),
        instance: Uuid::from_u128(7),
        hostname: "box".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 4,
        attempts: vec![LeaseItem { attempt_id: dispatch.attempt_id, token: dispatch.token }],
    };
    let router = world.router();
    let (status, body) = call(&router, "heartbeat", TOKEN, &value(&beat)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let reply: HeartbeatReply = serde_json::from_value(body).expect("a reply");
    assert_eq!((reply.verdicts, reply.lease_ms), (vec![LeaseVerdict::Continue], 10_000));

    beat.attempts[0].token -= 1;
    let reply = world.execution.heartbeat(&beat).await.expect("answers");
    assert_eq!(reply.verdicts, [LeaseVerdict::Stale]);
    let text = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather());
    assert!(
        text.expect("encodes")
            .contains(r#"tradewind_stale_writes_refused_total{write="heartbeat"} 1"#)
    );
}

#[tokio::test]
async fn xcoms_variables_logs_and_keys_go_through() {
    let world = world().await;
    let run = world.start("etl", "r1", json!({})).await;
    let dispatch = world.queue(run, "extract").await;
    world.claim(&dispatch).await;
    let router = world.router();

    let chunk = json!({"attempt_id": dispatch.attempt_id, "token": dispatch.token, "seq": 0,
        "text": "2026-11-20T08:00:00.000Z stdout hello\n"});
    let mut old = chunk.clone();
    old["token"] = json!(dispatch.token - 1);
    old["seq"] = json!(1);
    let (status, _) = call(&router, "logs", TOKEN, &json!({"chunks": [chunk, old]})).await;
    assert_eq!(status, StatusCode::OK);
    let log = world.store.read_log(dispatch.attempt_id, 0).await.expect("reads");
    assert_eq!(log.text, "2026-11-20T08:00:00.000Z stdout hello\n", "the old token's is refused");

    world.finish(&dispatch, TaskState::Success, "").await;
    let query = json!({"dag_id": "etl", "run_id": "r1", "task_ids": ["extract"],
        "key": "return_value"});
    let (_, body) = call(&router, "xcom", TOKEN, &query).await;
    assert_eq!(body, json!({"values": [["extract", -1, {"rows": 3}]]}));

    world.store.set_variable("home", "/data").await.expect("sets");
    let (_, body) = call(&router, "variable", TOKEN, &json!({"key": "home"})).await;
    assert_eq!(body, json!({"value": "/data"}));
    let (_, body) = call(&router, "variable", TOKEN, &json!({"key": "none"})).await;
    assert_eq!(body, json!({"value": null}));

    let key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
    world.store.add_key(key, world.clock.now()).await.expect("adds");
    let (_, body) = call(&router, "keys", TOKEN, &json!({})).await;
    assert_eq!(body, json!({"keys": [key]}));
}

#[tokio::test]
async fn without_the_right_token_nothing_is_answered() {
    let world = world().await;
    let router = world.router();
    for route in ["claim", "heartbeat", "xcom", "variable", "logs", "keys"] {
        for token in ["", "wrong", &format!("{TOKEN}x")] {
            let (status, body) = call(&router, route, token, &json!({})).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{route} {token:?}");
            assert!(body["error"].as_str().is_some_and(|text| text.contains("token")), "{body}");
        }
    }
    let (status, _) = call(&router, "keys", TOKEN, &json!({})).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn bad_and_oversized_requests_are_refused() {
    let router = world().await.router();
    let (status, body) = call(&router, "claim", TOKEN, &json!({"items": 3})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().is_some_and(|t| t.contains("not what was expected")), "{body}");

    let huge = json!({"key": "x".repeat(3 << 20)});
    let (status, _) = call(&router, "variable", TOKEN, &huge).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    let item = json!({"attempt_id": Uuid::nil(), "token": 1, "nonce": Uuid::nil()});
    let many = json!({"worker": "w", "instance": Uuid::nil(), "hostname": "h",
        "items": vec![item; 10_001]});
    let (status, body) = call(&router, "claim", TOKEN, &many).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(body["error"].as_str().is_some_and(|t| t.contains("at most 10000")), "{body}");
}
