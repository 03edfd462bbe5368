//! Start, stop and start again.

use serde_json::json;
use tradewind_web::FlowerOptions;

use crate::fleet::{Fleet, WORKER, open};

#[tokio::test]
async fn a_restart_keeps_the_tasks() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = FlowerOptions {
        history: Some(folder.path().join("flower")),
        history_interval_ms: 10,
        ..open()
    };
    let first = Fleet::new(options.clone()).await;
    first.online().await;
    let good = ("task-succeeded", json!({"result": "3", "runtime": 0.5}));
    first.task("t1", "add", "mail", good).await;
    let (_, before) = first.get("/api/tasks").await;
    first.stop().await;

    let second = Fleet::new(options).await;
    assert_eq!(second.get("/api/tasks").await.1, before);
    assert_eq!(second.get("/api/workers?status=1").await.1, json!({WORKER: true}));
    assert_eq!(second.get("/api/task/types").await.1, json!({"task-types": ["add"]}));
    second.event("task-sent", "gen1@client", json!({"uuid": "t2", "name": "add"})).await;
    assert_eq!(second.flower.read(tradewind_web::flower::state::Monitor::len), 2);
    second.stop().await;
}

#[tokio::test]
async fn events_are_asked_for_unless_that_is_switched_off() {
    let asking = Fleet::new(open()).await;
    asking.until("the request", |fleet| fleet.saw("enable_events")).await;
    asking.stop().await;

    let quiet = Fleet::new(FlowerOptions { enable_events: false, ..open() }).await;
    quiet.online().await;
    assert!(!quiet.saw("enable_events"));
    quiet.stop().await;
}

#[tokio::test]
async fn it_listens_on_its_own_port_below_a_prefix() {
    let options = FlowerOptions { port: 0, url_prefix: "/flower".to_owned(), ..open() };
    let fleet = Fleet::new(options).await;
    let server = fleet.flower.bind().await.expect("listens");
    assert_ne!(server.local_addr().port(), 0);
    fleet.stop().await;
}
