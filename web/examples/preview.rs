//! Serves the pages with made-up data, to look at them while working on them:
//! `cargo run -p tradewind-web --example preview [port]`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use common::{HandClock, World};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tradewind_proto::Timestamp;
use tradewind_proto::clock::Clock as _;
use tradewind_proto::dag::ImportError;
use tradewind_proto::execution::{HeartbeatRequest, LogChunk};
use tradewind_proto::state::{RunState, TaskState};
use tradewind_store::model::Dispatch;
use tradewind_store::{DagStore as _, DataStore as _};
use tradewind_web::WebOptions;
use uuid::Uuid;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8080);
    let world = World::new().await;
    let began = Timestamp::now() - jiff::SignedDuration::from_hours(26);
    world.clock.set(began);
    dags(&world).await;
    for day in 0..24_i64 {
        etl_run(&world, day).await;
        report_run(&world, day).await;
    }
    world.clock.set(Timestamp::now() - jiff::SignedDuration::from_secs(74));
    live_run(&world).await;
    world.trigger("ml_training", "manual__first", json!({"model": "small"})).await;
    world.store.set_paused("ml_training", true).await.expect("pauses");
    let clock = Arc::clone(&world.clock);
    let options = WebOptions { port, ..WebOptions::default() };
    let server = world.server(options, None).bind().await.expect("the port is free");
    println!("http://{}/", server.local_addr());
    tokio::join!(keep_alive(&world, &clock), async {
        server.run(CancellationToken::new()).await.expect("serves");
    });
}

/// The clock follows the host's, the scheduler and a worker stay alive.
async fn keep_alive(world: &World, clock: &HandClock) {
    loop {
        clock.set(Timestamp::now());
        world.scheduler().await;
        for (worker, queues, slots) in
            [("celery@etl-1", vec!["default", "etl"], 8), ("celery@gpu-1", vec!["gpu"], 2)]
        {
            let beat = HeartbeatRequest {
                worker: worker.to_owned(),
                instance: Uuid::from_u128(slots),
                hostname: worker.replace("celery@", ""),
                queues: queues.into_iter().map(str::to_owned).collect(),
                slots: u32::try_from(slots).unwrap_or(1),
                attempts: Vec::new(),
            };
            world.execution.heartbeat(&beat).await.expect("beats");
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

fn step(task_id: &str, operator: &str, upstream: &[&str], queue: &str) -> Value {
    let mut task = common::task(task_id, upstream);
    task["operator"] = json!(operator);
    task["queue"] = json!(queue);
    task["retries"] = json!(2);
    task
}

async fn dags(world: &World) {
    let etl = json!({"dag_id": "sales_etl", "schedule_text": "@hourly", "tags": ["sales", "hourly"],
    "schedule": {"kind": "cron", "expr": "0 * * * *", "timezone": "UTC", "interval": true},
    "description": "Loads the day's orders into the warehouse", "owners": ["ana", "data-platform"],
    "params": {"full_refresh": false, "region": "eu"},
    "doc_md": "Loads **orders**, joins them with customers and publishes.",
    "tasks": [
        step("extract_orders", "PythonOperator", &[], "default"),
        step("extract_customers", "PythonOperator", &[], "default"),
        step("extract_currency_rates", "HttpOperator", &[], "default"),
        step("clean_orders", "PythonOperator", &["extract_orders"], "default"),
        step("clean_customers", "PythonOperator", &["extract_customers"], "default"),
        step("join", "BashOperator", &["clean_customers", "clean_orders", "extract_currency_rates"], "etl"),
        step("quality_check", "ShortCircuitOperator", &["join"], "etl"),
        step("load_warehouse", "BashOperator", &["quality_check"], "etl"),
        step("publish_dashboard", "PythonOperator", &["load_warehouse"], "default"),
        step("notify_team_about_the_new_numbers", "EmailOperator", &["extract_orders", "load_warehouse"], "default"),
    ]});
    world.sync("sales/etl.py", &[etl]).await;
    let report = json!({"dag_id": "weekly_report", "schedule_text": "0 6 * * 1", "tags": ["finance"],
        "tasks": [step("query", "BashOperator", &[], "default"), step("render", "PythonOperator", &["query"], "default"),
                  step("send", "EmailOperator", &["render"], "default")]});
    world.sync("reports/weekly.py", &[report]).await;
    let ml = json!({"dag_id": "ml_training", "description": "Nightly training on the GPU machines",
        "generation": "3", "tasks": [step("prepare", "PythonOperator", &[], "default"),
        step("train", "PythonOperator", &["prepare"], "gpu"), step("evaluate", "PythonOperator", &["train"], "gpu")]});
    world.sync("ml/training.py", &[ml]).await;
    world
        .sync(
            "misc/cleanup.py",
            &[json!({"dag_id": "cleanup_temp_tables", "schedule_text": "@daily",
        "tags": ["ops"], "tasks": [step("drop", "BashOperator", &[], "default")]})],
        )
        .await;
    let detail = "Traceback (most recent call last):\n  File \"ml/scoring.py\", line 14, in <module>\n    from features import build\nModuleNotFoundError: No module named 'features'";
    world
        .broken(
            "ml/scoring.py",
            ImportError {
                message: "ModuleNotFoundError: No module named 'features'".to_owned(),
                line: Some(14),
                detail: detail.to_owned(),
            },
        )
        .await;
}

async fn run_task(
    world: &World,
    run: Uuid,
    task: &str,
    wait: i64,
    work: i64,
    end: TaskState,
    text: &str,
) {
    let dispatch = world.queue(run, task).await;
    world.clock.advance(wait);
    world.claim(&dispatch).await;
    write_log(world, &dispatch, 12, end == TaskState::Failed || end == TaskState::UpForRetry).await;
    world.clock.advance(work);
    world.finish(&dispatch, end, text).await;
}

async fn write_log(world: &World, dispatch: &Dispatch, lines: usize, broken: bool) {
    let mut text = String::new();
    for n in 0..lines {
        let at = world.clock.now()
            + jiff::SignedDuration::from_millis(37 * i64::try_from(n).unwrap_or(0));
        let at = at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        let words = [
            "connecting to warehouse",
            "read 18,204 rows from orders",
            "partition 2026-11 is complete",
        ];
        text.push_str(&format!("{at} stdout {} ({n})\n", words[n % words.len()]));
    }
    if broken {
        let at = world.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        for line in [
            "Traceback (most recent call last):",
            "  File \"/dags/sales/etl.py\", line 88, in load",
            "    raise ValueError(f\"{missing} rows are missing in partition {day}\")",
            "ValueError: 312 rows are missing in partition 2026-11-20",
        ] {
            text.push_str(&format!("{at} stderr {line}\n"));
        }
    }
    let chunk = LogChunk { attempt_id: dispatch.attempt_id, token: dispatch.token, seq: 0, text };
    world.store.append_logs(&[chunk]).await.expect("appends");
}

const ERROR: &str = "Traceback (most recent call last):\n  File \"/dags/sales/etl.py\", line 88, in load\nValueError: 312 rows are missing in partition 2026-11-20";

async fn etl_run(world: &World, day: i64) {
    let date = world.clock.now();
    let run = world
        .start(
            "sales_etl",
            &format!("scheduled__{}", date.strftime("%Y-%m-%dT%H:00:00+00:00")),
            json!({}),
        )
        .await;
    let vary = (day * 7919) % 13;
    for task in [
        "extract_orders",
        "extract_customers",
        "extract_currency_rates",
        "clean_orders",
        "clean_customers",
    ] {
        run_task(world, run, task, 3, 900 + vary * 240, TaskState::Success, "").await;
    }
    run_task(world, run, "join", 12, 4_000 + vary * 900, TaskState::Success, "").await;
    let fails = day % 9 == 5 || day == 23;
    run_task(world, run, "quality_check", 4, 300, TaskState::Success, "").await;
    if fails {
        run_task(world, run, "load_warehouse", 6, 2_000, TaskState::UpForRetry, ERROR).await;
        world.clock.advance(4_000);
        run_task(world, run, "load_warehouse", 6, 2_300, TaskState::Failed, ERROR).await;
        world.mark(run, "publish_dashboard", TaskState::UpstreamFailed).await;
        world.mark(run, "notify_team_about_the_new_numbers", TaskState::UpstreamFailed).await;
        world.end_run(run, RunState::Failed).await;
    } else {
        run_task(world, run, "load_warehouse", 6, 3_100 + vary * 120, TaskState::Success, "").await;
        run_task(world, run, "publish_dashboard", 2, 700, TaskState::Success, "").await;
        let end = if day % 4 == 0 { TaskState::Skipped } else { TaskState::Success };
        run_task(world, run, "notify_team_about_the_new_numbers", 2, 250, end, "").await;
        world.end_run(run, RunState::Success).await;
    }
    world.clock.advance(3_540_000);
}

async fn report_run(world: &World, day: i64) {
    if day % 6 != 0 {
        return;
    }
    let run = world.start("weekly_report", &format!("manual__{day}"), json!({})).await;
    for task in ["query", "render", "send"] {
        run_task(world, run, task, 3, 1_200, TaskState::Success, "").await;
    }
    world.end_run(run, RunState::Success).await;
}

/// A run with something in every state that one can wait in.
async fn live_run(world: &World) {
    let run = world
        .start(
            "sales_etl",
            "manual__2026-11-21_backfill_for_finance",
            json!({"region": "us", "full_refresh": true}),
        )
        .await;
    for task in ["extract_orders", "extract_customers"] {
        run_task(world, run, task, 3, 2_400, TaskState::Success, "").await;
    }
    run_task(world, run, "extract_currency_rates", 3, 3_000, TaskState::UpForRetry, "requests.exceptions.ConnectTimeout: HTTPSConnectionPool(host='rates.example', port=443): Max retries exceeded").await;
    run_task(world, run, "clean_orders", 3, 5_200, TaskState::Success, "").await;
    let dispatch = world.queue(run, "clean_customers").await;
    world.clock.advance(5);
    world.claim(&dispatch).await;
    write_log(world, &dispatch, 30, false).await;
    let waiting = world.start("ml_training", "manual__second", json!({})).await;
    run_task(world, waiting, "prepare", 4, 800, TaskState::Success, "").await;
    world.queue(waiting, "train").await;
}
