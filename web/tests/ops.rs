//! Health, readiness and metrics.

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};

use axum::http::StatusCode;
use common::{World, get, task};
use prometheus::{IntGauge, Registry};
use serde_json::{Value, json};
use tradewind_proto::dag::ImportError;
use tradewind_web::ops_router;

async fn health(world: &World, path: &str) -> Value {
    let (status, text) = get(&world.router(), path).await;
    assert_eq!(status, StatusCode::OK, "always 200");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn health_has_airflows_shape() {
    let world = World::new().await;
    let never = json!({
        "metadatabase": {"status": "healthy"},
        "scheduler": {"status": "unhealthy", "latest_scheduler_heartbeat": null},
        "triggerer": {"status": null, "latest_triggerer_heartbeat": null},
        "dag_processor": {"status": null, "latest_dag_processor_heartbeat": null},
    });
    assert_eq!(health(&world, "/health").await, never);

    world.scheduler().await;
    for path in ["/health", "/api/v2/monitor/health"] {
        let scheduler = &health(&world, path).await["scheduler"];
        assert_eq!(scheduler["status"], "healthy");
        assert_eq!(scheduler["latest_scheduler_heartbeat"], "2026-11-20T08:00:00.000000+00:00");
    }
    world.clock.advance(31_000);
    assert_eq!(health(&world, "/health").await["scheduler"]["status"], "unhealthy");
}

#[tokio::test]
async fn liveness_and_readiness() {
    let world = World::new().await;
    assert_eq!(get(&world.router(), "/health/live").await.0, StatusCode::OK);
    assert_eq!(get(&world.router(), "/health/ready").await.0, StatusCode::OK);

    let reason = "waits for the broker";
    let router = ops_router(
        Registry::new(),
        std::sync::Arc::new(move || Box::pin(async move { Err(reason.to_owned()) })),
    );
    assert_eq!(get(&router, "/health/live").await.0, StatusCode::OK);
    let (status, text) = get(&router, "/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains(reason), "{text}");
}

async fn busy() -> World {
    let world = World::new().await;
    world
        .sync("a.py", &[json!({"dag_id": "a", "tasks": [task("t", &[]), task("u", &["t"])]})])
        .await;
    let error = ImportError { message: "E".to_owned(), line: None, detail: String::new() };
    world.broken("b.py", error).await;
    world.scheduler().await;
    let run = world.start("a", "r1", json!({})).await;
    world.queue(run, "t").await;
    world.clock.advance(2_500);
    world
}

#[tokio::test]
async fn metrics_tell_the_state_of_the_deployment() {
    let world = busy().await;
    let (status, text) = get(&world.router(), "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "tradewind_store_up 1",
        "tradewind_task_instances{state=\"queued\"} 1",
        "tradewind_dag_runs{state=\"running\"} 1",
        "tradewind_outbox_rows 1",
        "tradewind_outbox_age_seconds 2.5",
        "tradewind_dag_import_errors 1",
        "tradewind_workers_online 0",
        "tradewind_scheduler_heartbeat_age_seconds 2.5",
        "tradewind_stale_writes_refused_total{write=\"claim\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
    }
}

#[tokio::test]
async fn a_gauge_of_the_process_itself_appears_once() {
    let world = busy().await;
    let own = IntGauge::new("tradewind_dag_import_errors", "own").expect("valid");
    own.set(7);
    world.registry.register(Box::new(own)).expect("registers");
    let (_, text) = get(&world.router(), "/metrics").await;
    let lines: Vec<&str> =
        text.lines().filter(|line| line.starts_with("tradewind_dag_import_errors")).collect();
    assert_eq!(lines, ["tradewind_dag_import_errors 7"]);
}

/// The linter that Prometheus ships, where it is installed.
#[tokio::test]
async fn metrics_are_clean_to_promtool() {
    let (_, text) = get(&busy().await.router(), "/metrics").await;
    assert!(text.contains("# TYPE"), "{text}");
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return eprintln!("promtool is not installed ({error}): not linted"),
    };
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("writes");
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{text}");
}
