//! One call of the pop script, and what it has reserved.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Inner;
use super::delivery::RedisSettle;
use crate::slots::Slots;
use crate::{Delivery, Error};

/// Whose turn it is within one call.
#[derive(Debug)]
pub(super) enum Turns {
    /// Messages of high priority first, whatever their queue; queues by turns.
    Priorities,
    /// Each queue until it is empty.
    Strict,
    /// Queues in this order, over and over.
    These(Vec<usize>),
}

impl Turns {
    /// As the script reads it; it counts queues from 1.
    fn text(&self) -> String {
        match self {
            Self::Priorities => String::new(),
            Self::Strict => "strict".to_owned(),
            Self::These(turns) => {
                let turns: Vec<String> = turns.iter().map(|turn| (turn + 1).to_string()).collect();
                turns.join(",")
            }
        }
    }
}

/// One call of the pop script.
#[derive(Debug)]
pub(super) struct Pop {
    pub(super) inner: Arc<Inner>,
    pub(super) slots: Arc<Slots>,
    pub(super) queues: Vec<String>,
    pub(super) turns: Turns,
    /// Unlike that of any other call.
    pub(super) name: String,
    pub(super) max: usize,
}

/// Messages from one list: number of its queue, the list, and by turns lease member and text.
type Run = (usize, String, Vec<Vec<u8>>);

impl Pop {
    pub(super) async fn run(self) -> Result<Popped, Error> {
        let keys = &self.inner.keys;
        let mut script = self.inner.scripts.pop.prepare_invoke();
        script.key(&keys.reserved()[..]);
        for queue in &self.queues {
            script.key(keys.delayed(queue));
        }
        for step in keys.steps() {
            for queue in &self.queues {
                script.key(keys.list(queue, *step));
            }
        }
        let steps: Vec<String> = keys.steps().iter().map(u8::to_string).collect();
        script.arg(self.max).arg(self.inner.lease.as_secs_f64()).arg(&self.name);
        script.arg(self.queues.len()).arg(steps.join(",")).arg(self.turns.text());
        for queue in &self.queues {
            script.arg(serde_json::Value::from(queue.as_str()).to_string());
        }
        let runs: Vec<Run> = self.inner.link.run("taking messages", &script).await?;
        let count = runs.iter().map(|(_, _, taken)| taken.len() / 2).sum();
        self.slots.take(count);
        Ok(Popped { pop: self, runs, count })
    }

    fn delivery(
        &self,
        queue: &Arc<str>,
        key: &Arc<str>,
        member: Vec<u8>,
        raw: Vec<u8>,
    ) -> Delivery {
        // A name of ours and a number.
        let member = String::from_utf8(member).unwrap_or_default();
        self.inner.held.add(&member);
        let settle = RedisSettle {
            inner: Arc::clone(&self.inner),
            slots: Arc::clone(&self.slots),
            queue: Arc::clone(queue),
            member,
            key: Arc::clone(key),
            raw,
            ended: AtomicBool::new(false),
        };
        Delivery::new(Arc::clone(queue), Box::new(settle))
    }
}

/// Reserved messages that nobody has read yet. Dropped, they go back.
#[derive(Debug)]
pub(super) struct Popped {
    pop: Pop,
    runs: Vec<Run>,
    count: usize,
}

impl Popped {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether there were as many as were asked for.
    pub(super) fn is_full(&self) -> bool {
        self.count == self.pop.max
    }

    /// Reads them.
    pub(super) fn deliveries(mut self) -> Vec<Delivery> {
        self.read()
    }

    fn read(&mut self) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(self.count);
        for (queue, key, taken) in self.runs.drain(..) {
            let queue = self.pop.queues.get(queue.wrapping_sub(1));
            let queue: Arc<str> = queue.map_or("", String::as_str).into();
            let key: Arc<str> = key.into();
            let mut taken = taken.into_iter();
            while let (Some(member), Some(raw)) = (taken.next(), taken.next()) {
                deliveries.push(self.pop.delivery(&queue, &key, member, raw));
            }
        }
        deliveries
    }
}

impl Drop for Popped {
    fn drop(&mut self) {
        // Dropped deliveries go back by themselves; backwards, to keep their order.
        let mut deliveries = self.read();
        while deliveries.pop().is_some() {}
    }
}
