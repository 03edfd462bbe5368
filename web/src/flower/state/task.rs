//! One task as the monitor sees it: what its events said, merged in the order in which things happened.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tradewind_proto::celery::Event;
use tradewind_proto::celery::state as names;

/// Longest text of a member, in bytes; the rest is cut off.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 10;
/// Children remembered per task.
const CHILDREN_MAX: usize = 1_000;
/// What a task takes without its texts, in bytes, about.
const FIXED_BYTES: usize = 640;

/// State of a message that a worker refused; never stored as a result.
pub(crate) const REJECTED: &str = "REJECTED";

/// A task. Members are those of Celery's event state; times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Task id.
    pub uuid: String,
    /// Task name.
    pub name: Option<Arc<str>>,
    /// Celery's state name.
    pub state: Arc<str>,
    /// When the client sent it.
    pub sent: Option<f64>,
    /// When a worker took it.
    pub received: Option<f64>,
    /// When it started.
    pub started: Option<f64>,
    /// When it ended well.
    pub succeeded: Option<f64>,
    /// When it failed.
    pub failed: Option<f64>,
    /// When it was put off for another try.
    pub retried: Option<f64>,
    /// When it was revoked.
    pub revoked: Option<f64>,
    /// When a worker refused it.
    pub rejected: Option<f64>,
    /// `repr` of the arguments.
    pub args: Option<String>,
    /// `repr` of the keyword arguments.
    pub kwargs: Option<String>,
    /// Not before.
    pub eta: Option<String>,
    /// Not after.
    pub expires: Option<String>,
    /// How often it was retried before.
    pub retries: Option<u64>,
    /// Node name of the worker that has it.
    pub worker: Option<Arc<str>>,
    /// Node name of the client that sent it.
    pub client: Option<Arc<str>>,
    /// `repr` of the result.
    pub result: Option<String>,
    /// `repr` of the exception.
    pub exception: Option<String>,
    /// When the event came about that gave it its state.
    pub timestamp: Option<f64>,
    /// Seconds that the successful run took.
    pub runtime: Option<f64>,
    /// Traceback of the exception.
    pub traceback: Option<String>,
    /// Queue, if an event named it.
    pub queue: Option<Arc<str>>,
    /// Exchange that it was sent to.
    pub exchange: Option<String>,
    /// Routing key that it was sent with.
    pub routing_key: Option<String>,
    /// Logical clock of the event that gave it its state.
    pub clock: u64,
    /// First task of the tree.
    pub root_id: Option<String>,
    /// Task that sent this one.
    pub parent_id: Option<String>,
    /// Tasks that it sent.
    pub children: BTreeSet<String>,
}

/// What an event does to a task's state.
fn state_of(subject: &str) -> Option<&'static str> {
    Some(match subject {
        "sent" => names::PENDING,
        "received" => names::RECEIVED,
        "started" => names::STARTED,
        "succeeded" => names::SUCCESS,
        "failed" => names::FAILURE,
        "retried" => names::RETRY,
        "revoked" => names::REVOKED,
        "rejected" => REJECTED,
        _ => return None,
    })
}

/// Rank of a state: a lower one wins over a higher one (Celery's `states.precedence`).
fn rank(state: &str) -> u8 {
    match state {
        names::SUCCESS => 0,
        names::FAILURE => 1,
        names::REVOKED => 3,
        names::STARTED => 4,
        names::RECEIVED => 5,
        REJECTED => 6,
        names::RETRY => 7,
        names::PENDING => 8,
        _ => 2,
    }
}

impl Task {
    /// A task of which nothing is known.
    pub fn new(uuid: &str) -> Self {
        Self { uuid: uuid.to_owned(), state: Arc::from(names::PENDING), ..Self::default() }
    }

    /// Whether it has ended.
    pub fn is_ready(&self) -> bool {
        names::is_terminal(&self.state)
    }

    /// Takes in one of its events. False when the event's type is not known: nothing is changed then.
    pub fn apply(&mut self, subject: &str, event: &Event) -> bool {
        let Some(state) = state_of(subject) else {
            return false;
        };
        let timestamp = number(event, "timestamp");
        let clock = event.0.get("clock").and_then(Value::as_u64).unwrap_or(0);
        *self.moment(subject) = timestamp;
        let late = self.is_late(state, event.text("hostname"), clock, timestamp);
        if subject == "sent" {
            self.client = shared(event, "hostname");
        } else if !late || self.worker.is_none() {
            self.worker = shared(event, "hostname");
        }
        if !late {
            self.state = Arc::from(state);
            self.timestamp = timestamp;
            self.clock = clock;
        }
        self.merge(event, late);
        true
    }

    /// Whether something that happened after this event is known already.
    fn is_late(&self, state: &str, host: Option<&str>, clock: u64, at: Option<f64>) -> bool {
        let retry = state == names::RETRY || &*self.state == names::RETRY;
        if !retry {
            return rank(state) > rank(&self.state);
        }
        if &*self.state == names::PENDING {
            return false;
        }
        // A retry starts all over, so that ranks say nothing: the clocks decide. The logical one is
        // only comparable where the same process counted it up.
        if self.worker.is_some() && self.worker.as_deref() == host && clock > 0 && self.clock > 0 {
            return clock < self.clock;
        }
        matches!((at, self.timestamp), (Some(at), Some(known)) if at < known)
    }

    fn moment(&mut self, subject: &str) -> &mut Option<f64> {
        match subject {
            "sent" => &mut self.sent,
            "received" => &mut self.received,
            "started" => &mut self.started,
            "succeeded" => &mut self.succeeded,
            "failed" => &mut self.failed,
            "retried" => &mut self.retried,
            "revoked" => &mut self.revoked,
            _ => &mut self.rejected,
        }
    }

    /// Members that the event has; a late one only fills what is unknown.
    fn merge(&mut self, event: &Event, late: bool) {
        let text = |slot: &mut Option<String>, name: &str| {
            if (!late || slot.is_none())
                && let Some(found) = event.0.get(name)
            {
                *slot = as_text(found);
            }
        };
        text(&mut self.args, "args");
        text(&mut self.kwargs, "kwargs");
        text(&mut self.eta, "eta");
        text(&mut self.expires, "expires");
        text(&mut self.result, "result");
        text(&mut self.exception, "exception");
        text(&mut self.traceback, "traceback");
        text(&mut self.exchange, "exchange");
        text(&mut self.routing_key, "routing_key");
        text(&mut self.root_id, "root_id");
        text(&mut self.parent_id, "parent_id");
        let fill = |slot: &mut Option<Arc<str>>, name: &str| {
            if (!late || slot.is_none())
                && let Some(found) = shared(event, name)
            {
                *slot = Some(found);
            }
        };
        fill(&mut self.name, "name");
        fill(&mut self.queue, "queue");
        if (!late || self.retries.is_none())
            && let Some(retries) = event.0.get("retries").and_then(Value::as_u64)
        {
            self.retries = Some(retries);
        }
        if let Some(runtime) = number(event, "runtime") {
            self.runtime = Some(runtime);
        }
    }

    /// Remembers a task that this one sent.
    pub(crate) fn add_child(&mut self, uuid: &str) {
        if self.children.len() < CHILDREN_MAX {
            self.children.insert(uuid.to_owned());
        }
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [
            &self.args,
            &self.kwargs,
            &self.eta,
            &self.expires,
            &self.result,
            &self.exception,
            &self.traceback,
            &self.exchange,
            &self.routing_key,
            &self.root_id,
            &self.parent_id,
        ];
        let texts: usize = texts.iter().filter_map(|text| text.as_ref()).map(String::len).sum();
        let children: usize = self.children.iter().map(|child| child.len() + 48).sum();
        let name = self.name.as_ref().map_or(0, |name| name.len());
        FIXED_BYTES + texts + children + name + 3 * self.uuid.len()
    }

    /// All members under the names and in the order of Flower's API.
    pub fn to_object(&self) -> Map<String, Value> {
        let object = json!({
            "uuid": self.uuid, "name": self.name, "state": self.state,
            "received": self.received, "sent": self.sent, "started": self.started,
            "rejected": self.rejected, "succeeded": self.succeeded, "failed": self.failed,
            "retried": self.retried, "revoked": self.revoked, "args": self.args,
            "kwargs": self.kwargs, "eta": self.eta, "expires": self.expires,
            "retries": self.retries, "worker": self.worker, "result": self.result,
            "exception": self.exception, "timestamp": self.timestamp, "runtime": self.runtime,
            "traceback": self.traceback, "exchange": self.exchange,
            "routing_key": self.routing_key, "clock": self.clock, "client": self.client,
            "root": self.root_id, "root_id": self.root_id, "parent": self.parent_id,
            "parent_id": self.parent_id, "children": self.children,
        });
        match object {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

pub(super) fn number(event: &Event, name: &str) -> Option<f64> {
    event.0.get(name).and_then(Value::as_f64).filter(|number| number.is_finite())
}

pub(super) fn shared(event: &Event, name: &str) -> Option<Arc<str>> {
    event.text(name).map(|text| Arc::from(cut(text)))
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(cut(text).to_owned()),
        other => Some(cut(&other.to_string()).to_owned()),
    }
}

/// The text, at most [`TEXT_BYTES_MAX`] of it.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_proto::celery::Event;

    use super::{TEXT_BYTES_MAX, Task};

    fn apply(task: &mut Task, subject: &str, clock: u64, fields: serde_json::Value) {
        let mut event = Event::new(&format!("task-{subject}"), fields);
        event.0.insert("hostname".to_owned(), json!("celery@a"));
        event.0.insert("clock".to_owned(), json!(clock));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        event.0.insert("timestamp".to_owned(), json!(clock as f64 / 10.0));
        assert!(task.apply(subject, &event), "{subject}");
    }

    #[test]
    fn events_out_of_order_give_the_same_task() {
        let ordered = [
            ("received", json!({"name": "add", "args": "(1,)", "retries": 0})),
            ("started", json!({})),
            ("succeeded", json!({"result": "2", "runtime": 0.5})),
        ];
        let mut forwards = Task::new("a");
        for (at, (subject, fields)) in (1u64..).zip(ordered.iter()) {
            apply(&mut forwards, subject, at, fields.clone());
        }
        let mut backwards = Task::new("a");
        for (at, (subject, fields)) in (1u64..=3).rev().zip(ordered.iter().rev()) {
            apply(&mut backwards, subject, at, fields.clone());
        }
        assert_eq!(forwards, backwards);
        assert_eq!(
            (&*forwards.state, forwards.timestamp, forwards.clock),
            ("SUCCESS", Some(0.3), 3)
        );
    }

    #[test]
    fn a_retry_starts_over_and_an_old_one_does_not() {
        let mut task = Task::new("a");
        apply(&mut task, "started", 1, json!({}));
        apply(&mut task, "retried", 2, json!({"exception": "E()"}));
        assert_eq!(&*task.state, "RETRY");
        apply(&mut task, "received", 3, json!({"retries": 1}));
        apply(&mut task, "started", 4, json!({}));
        assert_eq!((&*task.state, task.retries), ("STARTED", Some(1)));
        apply(&mut task, "succeeded", 6, json!({"result": "1"}));
        apply(&mut task, "retried", 5, json!({}));
        assert_eq!((&*task.state, task.retried), ("SUCCESS", Some(0.5)));
    }

    #[test]
    fn texts_are_cut_and_unknown_types_change_nothing() {
        let mut task = Task::new("a");
        apply(&mut task, "received", 1, json!({"args": "ü".repeat(TEXT_BYTES_MAX)}));
        assert!(task.args.as_ref().is_some_and(|args| args.len() <= TEXT_BYTES_MAX));
        let before = task.clone();
        assert!(!task.apply("teleported", &Event::new("task-teleported", json!({"name": "x"}))));
        assert_eq!(task, before);
    }
}
