//! Component options from the configuration.

use std::path::PathBuf;

use serde_json::Value;
use tradewind_scheduler::{Route, SchedulerOptions};
use tradewind_web::{ExecutionOptions, Token, WebOptions};
use tradewind_worker::WorkerOptions;
use tradewind_worker::remote::{Range, RemoteOptions, broker_info};

use crate::config::{Config, KEYS, RouteEntry, redact};
use crate::context::Context;
use crate::failure::Failure;

fn number<T: TryFrom<i64>>(context: &Context, section: &str, name: &str) -> Result<T, Failure> {
    let value = context.config.int(section, name);
    T::try_from(value)
        .map_err(|_| Failure::usage(format!("[{section}] {name} = {value} is out of range")))
}

pub(crate) fn scheduler(context: &Context) -> Result<SchedulerOptions, Failure> {
    let config = &context.config;
    Ok(SchedulerOptions {
        dags_folder: config.path("core", "dags_folder"),
        python: PathBuf::from(config.text("core", "python")),
        python_path: context.python_path()?,
        parse_timeout: config.seconds("scheduler", "parse_timeout"),
        parse_processes: number(context, "scheduler", "parsing_processes")?,
        dags_are_paused_at_creation: config.bool("core", "dags_are_paused_at_creation"),
        lease: config.seconds("execution", "lease"),
        lost_max: number(context, "scheduler", "lost_max")?,
        parallelism: number(context, "core", "parallelism")?,
        default_pool_slots: config.int("core", "default_pool_slots"),
        routes: config.routes.iter().filter_map(route).collect(),
        hostname: config.hostname(),
        ..SchedulerOptions::default()
    })
}

/// A pattern with a dot, or `*`, is one over `dag_id.task_id`; any other names operators. Routes to
/// exchanges and regular expressions are for fleet tasks only.
fn route(entry: &RouteEntry) -> Option<Route> {
    let (pattern, queue) = (entry.pattern.as_str(), entry.queue()?);
    if pattern.starts_with("re:") {
        return None;
    }
    let over_tasks = pattern.contains('.') || pattern == "*";
    let (task, operator) = if over_tasks {
        (Some(pattern.to_owned()), None)
    } else {
        (None, Some(pattern.to_owned()))
    };
    Some(Route { task, operator, queue: queue.to_owned() })
}

pub(crate) fn worker(context: &Context) -> Result<WorkerOptions, Failure> {
    let config = &context.config;
    // Three renewals per lease: one lost call must not cost it.
    let heartbeat = (config.seconds("execution", "lease") / 4).as_millis().clamp(250, 2000);
    let defaults = WorkerOptions::default();
    Ok(WorkerOptions {
        name: config.optional("worker", "name").map_or(defaults.name.clone(), str::to_owned),
        queues: config.worker_queues(),
        concurrency: number(context, "worker", "concurrency")?,
        dags_folder: config.path("core", "dags_folder"),
        python: PathBuf::from(config.text("core", "python")),
        python_path: Some(context.python_path()?),
        grace_seconds: config.seconds("worker", "grace").as_secs(),
        canary_seconds: number(context, "worker", "canary")?,
        quarantine_after: number(context, "worker", "quarantine_after")?,
        result_ttl_seconds: config.seconds("results", "ttl").as_secs().max(1),
        heartbeat_interval_ms: u64::try_from(heartbeat).unwrap_or(2000),
        ..defaults
    })
}

/// Events, remote control and scaling of a worker.
pub(crate) fn remote(context: &Context) -> RemoteOptions {
    let config = &context.config;
    RemoteOptions {
        events: config.bool("worker", "send_events"),
        control: config.bool("worker", "remote_control"),
        autoscale: config.range("worker", "autoscale").map(|(max, min)| Range { max, min }),
        autoscale_keepalive_seconds: config.seconds("worker", "autoscale_keepalive").as_secs(),
        ..RemoteOptions::default()
    }
}

/// The configuration for `inspect conf`: every value but secrets, named as in Celery (`broker_url`).
pub(crate) fn shown(config: &Config) -> Value {
    let shown = KEYS.iter().map(|key| {
        let text = redact(key.kind, config.text(key.section, key.name));
        (format!("{}_{}", key.section, key.name), Value::String(text))
    });
    Value::Object(shown.collect())
}

/// The broker for `inspect stats`, in Celery's members; no password.
pub(crate) fn broker_shown(config: &Config) -> Value {
    let heartbeat = u64::try_from(config.int("broker", "heartbeat")).unwrap_or(0);
    let connect = config.seconds("broker", "connect_timeout").as_secs_f64();
    broker_info(config.text("broker", "url"), connect, heartbeat)
}

pub(crate) fn execution(context: &Context) -> Result<ExecutionOptions, Failure> {
    let lease = context.config.seconds("execution", "lease").as_millis();
    Ok(ExecutionOptions {
        lease_ms: u64::try_from(lease).unwrap_or(u64::MAX),
        token: Token::new(context.execution_token()?),
    })
}

pub(crate) fn web(context: &Context) -> Result<WebOptions, Failure> {
    let config = &context.config;
    Ok(WebOptions {
        host: config.text("web", "host").to_owned(),
        port: number(context, "web", "port")?,
        base_url: config.optional("web", "base_url").map(str::to_owned),
        ..WebOptions::default()
    })
}
