//! What workers say about themselves when they are asked, kept until they are asked again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tradewind_broker::{ControlBus, Error, Reply};
use tradewind_proto::celery::ControlRequest;

/// Asked of all workers at once.
const FLEET: &[&str] = &["stats", "active_queues", "registered", "conf"];
/// Asked of one worker only: its lists may be long.
const ONE: &[&str] = &["scheduled", "active", "reserved", "revoked"];

/// Queues remembered and looked at.
pub(crate) const QUEUES_MAX: usize = 200;

/// The last answers, by worker and command.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    workers: BTreeMap<String, Map<String, Value>>,
    /// Queues that some worker has consumed: they are of interest when the last one is gone.
    seen: BTreeSet<String>,
}

/// A command for some workers, or all.
pub(crate) fn request(method: &str, arguments: Value, worker: Option<&str>) -> ControlRequest {
    let arguments = match arguments {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    ControlRequest {
        method: method.to_owned(),
        arguments,
        destination: worker.map(|worker| vec![worker.to_owned()]),
        ..ControlRequest::default()
    }
}

/// Asks one worker everything, or all workers what is short. `expected` ends the wait early.
///
/// # Errors
/// The last error of the bus when no command got through.
pub(crate) async fn ask(
    bus: &Arc<dyn ControlBus>,
    worker: Option<&str>,
    wait: Duration,
    expected: Option<usize>,
) -> Result<Vec<(&'static str, Vec<Reply>)>, Error> {
    let methods =
        FLEET.iter().chain(ONE).take(if worker.is_some() { usize::MAX } else { FLEET.len() });
    let asked = methods.map(|method| async move {
        let arguments = if *method == "active" { json!({"safe": true}) } else { json!({}) };
        (*method, bus.ask(request(method, arguments, worker), wait, expected).await)
    });
    let mut answers = Vec::new();
    let mut failed = None;
    for (method, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(replies) => answers.push((method, replies)),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if answers.is_empty() => Err(error),
        _ => Ok(answers),
    }
}

impl Answers {
    /// Takes in answers that came at `now` (seconds since 1970); at most `max` workers are kept.
    pub(crate) fn take(&mut self, answers: Vec<(&'static str, Vec<Reply>)>, now: f64, max: usize) {
        for (method, replies) in answers {
            for reply in replies {
                let refused = reply.value.is_null() || reply.value.get("error").is_some();
                let known = self.workers.contains_key(&reply.node);
                if refused || (!known && self.workers.len() >= max) {
                    continue;
                }
                let info = self.workers.entry(reply.node).or_default();
                info.insert(method.to_owned(), without_secrets(method, reply.value));
                info.insert("timestamp".to_owned(), json!(now));
                let room = QUEUES_MAX.saturating_sub(self.seen.len());
                let queues = Self::queues_of(info).into_iter();
                let new: Vec<String> =
                    queues.filter(|q| !self.seen.contains(q)).take(room).collect();
                self.seen.extend(new);
            }
        }
    }

    /// Forgets workers.
    pub(crate) fn forget(&mut self, gone: &[String]) {
        for name in gone {
            self.workers.remove(name);
        }
    }

    /// All answers.
    pub(crate) fn all(&self) -> &BTreeMap<String, Map<String, Value>> {
        &self.workers
    }

    /// Those of a worker.
    pub(crate) fn worker(&self, name: &str) -> Option<&Map<String, Value>> {
        self.workers.get(name)
    }

    /// Whether some worker can run a task of this name.
    pub(crate) fn is_registered(&self, task: &str) -> bool {
        self.workers.values().any(|info| {
            let names = info.get("registered").and_then(Value::as_array).into_iter().flatten();
            // With `taskinfoitems` a name is followed by ` [rate_limit=…]`.
            let names = names.filter_map(Value::as_str).filter_map(|n| n.split(" [").next());
            names.into_iter().any(|name| name == task)
        })
    }

    /// The queues that a worker consumes.
    pub(crate) fn queues_of(info: &Map<String, Value>) -> BTreeSet<String> {
        let queues = info.get("active_queues").and_then(Value::as_array).into_iter().flatten();
        queues.filter_map(|queue| queue.get("name")?.as_str()).map(str::to_owned).collect()
    }

    /// All queues that are consumed.
    pub(crate) fn queues(&self) -> BTreeSet<String> {
        self.workers.values().flat_map(Self::queues_of).collect()
    }

    /// All queues that were ever consumed, within bounds.
    pub(crate) fn seen_queues(&self) -> &BTreeSet<String> {
        &self.seen
    }

    /// Slots of a worker's pool.
    pub(crate) fn slots_of(info: &Map<String, Value>) -> f64 {
        let pool = info.get("stats").and_then(|stats| stats.get("pool"));
        let number = |name: &str| pool.and_then(|pool| pool.get(name)).and_then(Value::as_f64);
        number("max-concurrency").unwrap_or(0.0)
    }

    /// Workers that consume one queue only, with that queue.
    pub(crate) fn single_queues(&self) -> HashMap<String, String> {
        let mut found = HashMap::new();
        for (worker, info) in &self.workers {
            let mut queues = Self::queues_of(info).into_iter();
            if let (Some(queue), None) = (queues.next(), queues.next()) {
                found.insert(worker.clone(), queue);
            }
        }
        found
    }
}

/// Flower drops the alternates of the broker's address: they may hold a password.
fn without_secrets(method: &str, mut value: Value) -> Value {
    if method == "stats" {
        for part in ["/broker", "/consumer/broker"] {
            if let Some(Value::Object(broker)) = value.pointer_mut(part) {
                broker.remove("alternates");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_broker::Reply;

    use super::Answers;

    #[test]
    fn answers_are_kept_by_worker() {
        let reply = |value| vec![Reply { node: "celery@a".to_owned(), value }];
        let mut answers = Answers::default();
        answers.take(
            vec![
                (
                    "stats",
                    reply(json!({"pool": {"max-concurrency": 4}, "broker": {"alternates": ["x"]}})),
                ),
                ("active_queues", reply(json!([{"name": "mail"}]))),
                ("registered", reply(json!(["add", "mail.send [rate_limit=10/m]"]))),
                ("conf", reply(json!({"error": "no"}))),
            ],
            7.0,
            10,
        );
        let info = answers.worker("celery@a").expect("kept");
        assert_eq!(info["stats"]["broker"], json!({}));
        assert_eq!(info["timestamp"], 7.0);
        assert!(!info.contains_key("conf"));
        assert!((Answers::slots_of(info) - 4.0).abs() < 1e-9);
        assert!(answers.is_registered("add") && answers.is_registered("mail.send"));
        assert!(!answers.is_registered("mail"));
        assert_eq!(answers.single_queues()["celery@a"], "mail");
    }
}
