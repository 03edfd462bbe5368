//! Key and channel names: kombu's layout, and ours beside it under `tradewind:`.

/// Between queue name and priority step, as kombu writes it.
pub(super) const STEP_SEPARATOR: &str = "\u{6}\u{16}";

#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    db: i64,
    steps: Vec<u8>,
}

impl Keys {
    pub(super) fn new(prefix: &str, db: i64, steps: &[u8]) -> Self {
        Self { prefix: prefix.to_owned(), db, steps: steps.to_vec() }
    }

    pub(super) fn steps(&self) -> &[u8] {
        &self.steps
    }

    /// The largest step that is not over the priority.
    fn step_of(&self, priority: u8) -> u8 {
        self.steps.iter().copied().filter(|step| *step <= priority).max().unwrap_or(0)
    }

    /// The list of a queue at a step.
    pub(super) fn list(&self, queue: &str, step: u8) -> String {
        if step == 0 {
            format!("{}{queue}", self.prefix)
        } else {
            format!("{}{queue}{STEP_SEPARATOR}{step}", self.prefix)
        }
    }

    /// The list that a message of this priority belongs to.
    pub(super) fn list_for(&self, queue: &str, priority: u8) -> String {
        self.list(queue, self.step_of(priority))
    }

    /// All lists of a queue, the one served first in front.
    pub(super) fn lists(&self, queue: &str) -> Vec<String> {
        self.steps.iter().map(|step| self.list(queue, *step)).collect()
    }

    /// Keys that every settling script takes first: `unacked`, `unacked_index` (kombu's), then our
    /// leases (score = expiry in milliseconds) and the raw bytes of what is no envelope (kept out of `unacked`,
    /// where Python would trip over them). All name a message by the call that took it and a number: one
    /// name per reservation, where kombu has the delivery tag of the message.
    pub(super) fn reserved(&self) -> [String; 4] {
        ["unacked", "unacked_index", "tradewind:leases", "tradewind:unreadable"]
            .map(|name| format!("{}{name}", self.prefix))
    }

    /// Messages that are not due: member = envelope, score = due time in seconds. Ours.
    pub(super) fn delayed(&self, queue: &str) -> String {
        format!("{}tradewind:delayed:{queue}", self.prefix)
    }

    /// The canary of one worker. Ours, and gone after a minute.
    pub(super) fn canary(&self, id: &str) -> String {
        format!("{}tradewind:canary:{id}", self.prefix)
    }

    /// Channel that tells idle consumers of a queue to look. Channels have no database of their own.
    pub(super) fn wake(&self, queue: &str) -> String {
        format!("{}tradewind:wake:{}:{queue}", self.prefix, self.db)
    }

    /// Set with the bindings of the exchange named like the queue, as a Celery worker writes it.
    pub(super) fn binding(&self, queue: &str) -> (String, String) {
        let member = format!("{queue}{STEP_SEPARATOR}{STEP_SEPARATOR}{queue}");
        (self.bindings(queue), member)
    }

    /// Set with the bindings of an exchange: members are routing key, pattern and queue.
    pub(super) fn bindings(&self, exchange: &str) -> String {
        format!("{}_kombu.binding.{exchange}", self.prefix)
    }
}
