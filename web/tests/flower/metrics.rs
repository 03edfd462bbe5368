//! The metrics page, by names and labels.

use std::sync::Arc;

use serde_json::json;
use tradewind_broker::Broker as _;
use tradewind_proto::clock::{Ids as _, SystemIds};
use tradewind_proto::message::TaskMessage;
use tradewind_web::FlowerOptions;

use crate::fleet::{Fleet, WORKER, open};

async fn publish(fleet: &Fleet, queue: &str) {
    let message = TaskMessage::json("add", SystemIds.next(), &json!([]), &json!({}));
    fleet.broker.publish(queue, message).await.expect("publishes");
}

#[tokio::test]
async fn three_sets_of_names() {
    let fleet = Fleet::new(open()).await;
    fleet.online().await;
    let good = ("task-succeeded", json!({"result": "3", "runtime": 0.5}));
    fleet.task("t1", "add", "mail", good).await;
    fleet
        .task("t2", "add", "mail", ("task-failed", json!({"exception": "ValueError('no')"})))
        .await;
    fleet.task("t3", "add", "mail", ("task-retried", json!({"exception": "OSError('x')"}))).await;
    fleet.event("task-received", WORKER, json!({"uuid": "t4", "name": "add"})).await;
    publish(&fleet, "mail").await;
    publish(&fleet, "mail.dlq").await;
    fleet.clock.advance(1);
    fleet.heartbeat(3).await;
    fleet
        .metrics_with(&[
            // Flower's.
            "# TYPE flower_events_total counter",
            "# TYPE flower_task_runtime_seconds histogram",
            "# TYPE flower_task_prefetch_time_seconds gauge",
            "# TYPE flower_worker_prefetched_tasks gauge",
            "# TYPE flower_worker_online gauge",
            "# TYPE flower_worker_number_of_currently_executing_tasks gauge",
            "flower_events_total{task=\"add\",type=\"task-sent\",worker=\"gen1@client\"} 3",
            "flower_events_total{task=\"add\",type=\"task-received\",worker=\"celery@one\"} 4",
            "flower_events_total{task=\"add\",type=\"task-failed\",worker=\"celery@one\"} 1",
            "flower_task_runtime_seconds_count{task=\"add\",worker=\"celery@one\"} 1",
            "flower_task_runtime_seconds_sum{task=\"add\",worker=\"celery@one\"} 0.5",
            "flower_task_runtime_seconds_bucket{task=\"add\",worker=\"celery@one\",le=\"0.5\"} 1",
            "flower_worker_prefetched_tasks{task=\"add\",worker=\"celery@one\"} 1",
            "flower_worker_online{worker=\"celery@one\"} 1",
            "flower_worker_number_of_currently_executing_tasks{worker=\"celery@one\"} 3",
            // celery-exporter's.
            "celery_task_sent_total{hostname=\"client\",name=\"add\",queue_name=\"mail\"} 3",
            "celery_task_succeeded_total{hostname=\"one\",name=\"add\",queue_name=\"mail\"} 1",
            "celery_task_failed_total{exception=\"ValueError\",hostname=\"one\",name=\"add\",queue_name=\"mail\"} 1",
            "celery_task_retried_total{hostname=\"one\",name=\"add\",queue_name=\"mail\"} 1",
            "celery_task_runtime_count{hostname=\"one\",name=\"add\",queue_name=\"mail\"} 1",
            "celery_task_queue_wait_time_sum{hostname=\"one\",name=\"add\",queue_name=\"mail\"} 6",
            "celery_worker_up{hostname=\"one\"} 1",
            "celery_worker_tasks_active{hostname=\"one\"} 3",
            "celery_queue_length{queue_name=\"mail\"} 1",
            "celery_active_consumer_count{queue_name=\"mail\"} 1",
            "celery_active_worker_count{queue_name=\"mail\"} 1",
            "celery_active_process_count{queue_name=\"mail\"} 4",
            // Ours.
            "tradewind_queue_depth{queue=\"mail\"} 1",
            "tradewind_queue_consumers{queue=\"mail\"} 1",
            "tradewind_queue_oldest_seconds{queue=\"mail\"} 1",
            "tradewind_dead_letter_depth{queue=\"mail\"} 1",
            "tradewind_fleet_tasks_total{queue=\"mail\",state=\"SUCCESS\",task=\"add\"} 1",
            "tradewind_fleet_task_failures_total{error=\"ValueError\",queue=\"mail\",task=\"add\"} 1",
            "tradewind_fleet_task_retries_total{error=\"OSError\",queue=\"mail\",task=\"add\"} 1",
            "tradewind_fleet_task_run_seconds_count{queue=\"mail\",task=\"add\"} 3",
            "tradewind_fleet_task_run_seconds_sum{queue=\"mail\",task=\"add\"} 2.5",
            "tradewind_fleet_task_queue_wait_seconds_sum{queue=\"mail\",task=\"add\"} 6",
            "tradewind_fleet_workers_online 1",
            "tradewind_fleet_pool_slots{worker=\"celery@one\"} 4",
            "tradewind_fleet_pool_saturation{worker=\"celery@one\"} 0.75",
            "tradewind_broker_up 1",
            "tradewind_monitor_tasks 4",
        ])
        .await;
    fleet.stop().await;
}

#[tokio::test]
async fn the_series_of_a_worker_end_some_time_after_it() {
    let fleet = Fleet::new(FlowerOptions { purge_offline_workers: 600, ..open() }).await;
    fleet.online().await;
    let good = ("task-succeeded", json!({"result": "3", "runtime": 0.5}));
    fleet.task("t1", "add", "mail", good).await;
    fleet.clock.advance(10);
    let gone =
        ["flower_worker_online{worker=\"celery@one\"} 0", "celery_worker_up{hostname=\"one\"} 0"];
    fleet.metrics_with(&gone).await;
    fleet.clock.advance(600);
    let text = fleet.metrics_with(&["tradewind_fleet_workers_offline 0"]).await;
    assert!(!text.contains("celery@one") && !text.contains("hostname=\"one\""), "{text}");
    assert!(!text.contains("gen1@client"), "clients end as well:\n{text}");
    fleet.stop().await;
}

#[tokio::test]
async fn label_sets_are_bounded() {
    let fleet = Fleet::new(FlowerOptions { max_series: 20, ..open() }).await;
    let events: Vec<_> = (0..200)
        .map(|n| {
            tradewind_proto::celery::Event::new(
                "task-received",
                json!({"uuid": format!("t{n}"), "name": format!("task{n}"), "hostname": WORKER,
                       "timestamp": fleet.clock.seconds(), "clock": n + 1}),
            )
        })
        .collect();
    let bus: Arc<dyn tradewind_broker::ControlBus> = Arc::new(fleet.bus.clone());
    bus.publish_events(&events).await.expect("publishes");
    let folded = "tradewind_monitor_labels_folded_total{metric=\"flower_events_total\"} 180";
    let other = "flower_events_total{task=\"other\",type=\"other\",worker=\"other\"} 180";
    let text = fleet.metrics_with(&[folded, other]).await;
    let series = text.lines().filter(|line| line.starts_with("flower_events_total")).count();
    assert_eq!(series, 21);
    fleet.stop().await;
}
