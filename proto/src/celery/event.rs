//! Events of workers and tasks (`celeryev`).

use serde_json::{Map, Value, json};

/// One event as it travels: `type`, `hostname`, `utcoffset`, `pid`, `clock`, `timestamp` and the type's own members.
#[derive(Debug, Clone, PartialEq)]
pub struct Event(pub Map<String, Value>);

impl Event {
    /// An event with its type; the sender's common members are added by whoever publishes it.
    pub fn new(kind: &str, fields: Value) -> Self {
        let mut map = Map::new();
        map.insert("type".to_owned(), json!(kind));
        if let Value::Object(fields) = fields {
            map.extend(fields);
        }
        Self(map)
    }

    /// `task-received`, `worker-heartbeat`, ….
    pub fn kind(&self) -> &str {
        self.0.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// A text member.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Routing key on the `celeryev` exchange: the type with dots.
    pub fn routing_key(&self) -> String {
        self.kind().replace('-', ".")
    }
}
