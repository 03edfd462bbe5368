//! One worker as the monitor sees it: alive while its heartbeats come.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tradewind_proto::celery::Event;

use super::task::number;

/// Seconds between heartbeats of a worker that did not say how many.
const FREQ_DEFAULT: f64 = 60.0;
/// A worker is gone after so many missing heartbeats (Celery's `HEARTBEAT_EXPIRE_WINDOW`, 200 %).
const EXPIRE_WINDOW: f64 = 2.0;

/// A worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Node name.
    pub hostname: String,
    /// Process id.
    pub pid: Option<i64>,
    /// Seconds between heartbeats.
    pub freq: Option<f64>,
    /// When it was heard last, seconds since 1970, by our clock.
    pub seen: f64,
    /// Whether it said goodbye.
    pub left: bool,
    /// Tasks that it runs.
    pub active: Option<i64>,
    /// Tasks that it has run.
    pub processed: Option<i64>,
    /// Load of its machine.
    pub loadavg: Option<Vec<f64>>,
    /// Software.
    pub sw_ident: Option<String>,
    /// Version of it.
    pub sw_ver: Option<String>,
    /// Operating system.
    pub sw_sys: Option<String>,
}

impl Worker {
    /// A worker of which only the name is known.
    pub(crate) fn new(hostname: &str) -> Self {
        Self { hostname: hostname.to_owned(), ..Self::default() }
    }

    /// Takes in `online`, `heartbeat` or `offline`, heard at `now`. False for other types.
    pub(crate) fn apply(&mut self, subject: &str, event: &Event, now: f64) -> bool {
        match subject {
            "online" | "heartbeat" => {
                self.seen = self.seen.max(now);
                self.left = false;
            }
            "offline" => self.left = true,
            _ => return false,
        }
        let whole = |name: &str| event.0.get(name).and_then(Value::as_i64);
        let text = |name: &str| event.text(name).map(str::to_owned);
        self.pid = whole("pid").or(self.pid);
        self.freq = number(event, "freq").or(self.freq);
        self.active = whole("active").or(self.active);
        self.processed = whole("processed").or(self.processed);
        self.sw_ident = text("sw_ident").or_else(|| self.sw_ident.take());
        self.sw_ver = text("sw_ver").or_else(|| self.sw_ver.take());
        self.sw_sys = text("sw_sys").or_else(|| self.sw_sys.take());
        if let Some(load) = event.0.get("loadavg").and_then(Value::as_array) {
            self.loadavg = Some(load.iter().take(3).filter_map(Value::as_f64).collect());
        }
        true
    }

    /// It sent an event about a task: a sign of life.
    pub(crate) fn heard(&mut self, now: f64) {
        if !self.left {
            self.seen = self.seen.max(now);
        }
    }

    /// Whether it is online.
    pub fn alive(&self, now: f64) -> bool {
        let freq = self.freq.filter(|freq| *freq > 0.0).unwrap_or(FREQ_DEFAULT);
        !self.left && self.seen > 0.0 && now < self.seen + freq * EXPIRE_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_proto::celery::Event;

    use super::Worker;

    #[test]
    fn two_missing_heartbeats_are_the_end() {
        let mut worker = Worker::new("celery@a");
        assert!(!worker.alive(0.0));
        let beat = Event::new("worker-heartbeat", json!({"freq": 2.0, "active": 1}));
        assert!(worker.apply("heartbeat", &beat, 100.0));
        assert!(worker.alive(103.9) && !worker.alive(104.0));
        assert!(worker.apply("offline", &Event::new("worker-offline", json!({})), 101.0));
        assert!(!worker.alive(101.0));
        worker.heard(102.0);
        assert!(!worker.alive(102.0), "its last task events may come after its goodbye");
        assert!(worker.apply("online", &Event::new("worker-online", json!({})), 103.0));
        assert!(worker.alive(103.0));
        assert!(!worker.apply("elect", &beat, 104.0));
    }
}
