//! Workers and queues, read.

use axum::extract::State;
use serde_json::{Map, Value, json};

use super::params::Params;
use super::{Answer, Refusal, Shown};
use crate::flower::FlowerHandle;
use crate::flower::inspect;
use crate::flower::service::Shared;

/// `GET /api/workers`
pub(super) async fn list(State(flower): State<FlowerHandle>, params: Params) -> Answer {
    let shared = &flower.shared;
    let name = params.text("workername");
    if params.switch("refresh")? {
        refresh(shared, name).await?;
    }
    if params.switch("status")? {
        let now = shared.now();
        let inner = shared.lock();
        let alive = inner.monitor.workers().map(|w| (w.hostname.clone(), json!(w.alive(now))));
        return Ok(Shown(Value::Object(alive.collect())));
    }
    let inner = shared.lock();
    let answers = match name {
        None => inner.answers.all().iter().map(entry).collect(),
        Some(name) => {
            let info =
                inner.answers.worker(name).ok_or_else(|| Refusal::unknown("worker", name))?;
            Map::from_iter([(name.to_owned(), Value::Object(info.clone()))])
        }
    };
    Ok(Shown(Value::Object(answers)))
}

fn entry((name, info): (&String, &Map<String, Value>)) -> (String, Value) {
    (name.clone(), Value::Object(info.clone()))
}

/// Asks one worker, or all.
async fn refresh(shared: &Shared, name: Option<&str>) -> Result<(), Refusal> {
    let expected = if name.is_some() { Some(1) } else { alive(shared) };
    let wait = shared.options.inspect_timeout();
    let answers = inspect::ask(&shared.deps.bus, name, wait, expected).await;
    let answers = answers.map_err(|error| Refusal::unavailable("refresh", &error))?;
    shared.lock().answers.take(answers, shared.now(), shared.options.max_workers);
    Ok(())
}

/// How many answers are to come; none: the whole time is waited for those that nobody knows.
fn alive(shared: &Shared) -> Option<usize> {
    let now = shared.now();
    let count = shared.lock().monitor.workers().filter(|worker| worker.alive(now)).count();
    (count > 0).then_some(count)
}

/// Whether a task name is registered; asks the workers when nobody said so yet.
pub(super) async fn require_registered(shared: &Shared, task: &str) -> Result<(), Refusal> {
    if !shared.lock().answers.is_registered(task) {
        refresh(shared, None).await?;
    }
    if shared.lock().answers.is_registered(task) {
        Ok(())
    } else {
        Err(Refusal::unknown("task", task))
    }
}

/// `GET /api/queues/length`
pub(super) async fn queue_lengths(State(flower): State<FlowerHandle>) -> Answer {
    let shared = &flower.shared;
    let mut names = shared.lock().answers.queues();
    names.extend(shared.options.queues.iter().cloned());
    if names.is_empty() {
        names.insert(shared.deps.client.routes().default_queue().to_owned());
    }
    let Some(stats) = crate::ops::queue_stats(&shared.deps.broker, names).await else {
        return Err(Refusal::unavailable("queue lengths", &"the broker does not answer"));
    };
    let queues: Vec<Value> = stats
        .into_iter()
        .map(|(name, stats)| json!({"name": name, "messages": stats.ready}))
        .collect();
    Ok(Shown(json!({"active_queues": queues})))
}
