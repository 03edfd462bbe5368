//! The queues themselves: plain data, no waiting.

use std::collections::{BTreeMap, BTreeSet};

use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;

use crate::limits::dead_letter_queue;
use crate::routing::{ExchangeType, matches};
use crate::{DeadLetter, QueueBinding, QueueStats, Selection, dead};

#[derive(Debug, Default)]
pub(super) struct State {
    queues: BTreeMap<String, Queue>,
    exchanges: BTreeMap<String, Exchange>,
    next_seq: u64,
    pub(super) closed: bool,
}

/// A message and its place in the order of publishing, which it keeps when it comes back.
#[derive(Debug)]
pub(super) struct Entry {
    seq: u64,
    pub(super) message: TaskMessage,
    pub(super) redelivered: bool,
}

impl Entry {
    /// High priorities first, then the order of publishing.
    fn place(&self) -> (u8, u64) {
        (u8::MAX - self.message.priority, self.seq)
    }
}

#[derive(Debug, Default)]
struct Queue {
    ready: BTreeMap<(u8, u64), Entry>,
    delayed: BTreeMap<(Timestamp, u64), Entry>,
    unacked: u64,
    consumers: u64,
}

#[derive(Debug)]
struct Exchange {
    kind: ExchangeType,
    /// Queues and patterns.
    bindings: BTreeSet<(String, String)>,
}

impl State {
    /// Makes a queue exist.
    pub(super) fn queue(&mut self, name: &str) {
        self.entry(name);
    }

    fn entry(&mut self, name: &str) -> &mut Queue {
        self.queues.entry(name.to_owned()).or_default()
    }

    pub(super) fn push(&mut self, name: &str, message: TaskMessage) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let entry = Entry { seq, message, redelivered: false };
        self.entry(name).ready.insert(entry.place(), entry);
    }

    /// Moves delayed messages that are due to the ready ones.
    pub(super) fn promote(&mut self, now: Timestamp) {
        for queue in self.queues.values_mut() {
            while let Some(first) = queue.delayed.first_entry()
                && first.key().0 <= now
            {
                let entry = first.remove();
                queue.ready.insert(entry.place(), entry);
            }
        }
    }

    /// When the next delayed message of these queues is due.
    pub(super) fn next_due(&self, names: &[String]) -> Option<Timestamp> {
        let queues = names.iter().filter_map(|name| self.queues.get(name));
        queues.filter_map(|queue| queue.delayed.keys().next()).map(|(at, _)| *at).min()
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Entry> {
        let queue = self.queues.get_mut(name)?;
        let (_, entry) = queue.ready.pop_first()?;
        queue.unacked += 1;
        Some(entry)
    }

    pub(super) fn acked(&mut self, name: &str) {
        self.entry(name).unacked -= 1;
    }

    /// Back to its place, marked as delivered before.
    pub(super) fn give_back(&mut self, name: &str, mut entry: Entry) {
        entry.redelivered = true;
        let queue = self.entry(name);
        queue.unacked -= 1;
        queue.ready.insert(entry.place(), entry);
    }

    pub(super) fn delay(&mut self, name: &str, mut entry: Entry, at: Timestamp) {
        entry.redelivered = true;
        let queue = self.entry(name);
        queue.unacked -= 1;
        queue.delayed.insert((at, entry.seq), entry);
    }

    pub(super) fn bury(&mut self, name: &str, mut entry: Entry, reason: &str, at: Timestamp) {
        let id = format!("{}-{}", entry.seq, self.next_seq);
        dead::mark(&mut entry.message, reason, name, at, &id);
        self.acked(name);
        self.push(&dead_letter_queue(name), entry.message);
    }

    pub(super) fn count_consumers(&mut self, names: &[String], joined: bool) {
        for name in names {
            let count = &mut self.entry(name).consumers;
            *count = if joined { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    pub(super) fn stats(&self, name: &str) -> QueueStats {
        self.queues.get(name).map_or_else(QueueStats::default, |queue| QueueStats {
            ready: queue.ready.len() as u64,
            unacked: queue.unacked + queue.delayed.len() as u64,
            consumers: queue.consumers,
        })
    }

    pub(super) fn peek(&self, name: &str, max: usize) -> Vec<TaskMessage> {
        let ready = self.queues.get(name).into_iter().flat_map(|queue| queue.ready.values());
        ready.take(max).map(|entry| entry.message.clone()).collect()
    }

    pub(super) fn purge(&mut self, name: &str) -> u64 {
        let Some(queue) = self.queues.get_mut(name) else { return 0 };
        std::mem::take(&mut queue.ready).len() as u64
    }

    /// Binds a queue; `Err` is the type that the exchange has already.
    pub(super) fn bind(&mut self, queue: &str, binding: &QueueBinding) -> Result<(), ExchangeType> {
        let kind = binding.exchange_type;
        let fresh = || Exchange { kind, bindings: BTreeSet::new() };
        let exchange = self.exchanges.entry(binding.exchange.clone()).or_insert_with(fresh);
        if exchange.kind != kind {
            return Err(exchange.kind);
        }
        exchange.bindings.insert((queue.to_owned(), binding.routing_key.clone()));
        Ok(())
    }

    /// The queues that an exchange routes a key to.
    pub(super) fn route(&self, exchange: &str, key: &str) -> BTreeSet<String> {
        let Some(exchange) = self.exchanges.get(exchange) else { return BTreeSet::new() };
        let bound = exchange.bindings.iter();
        let hit = bound.filter(|(_, pattern)| matches(exchange.kind, pattern, key));
        hit.map(|(queue, _)| queue.clone()).collect()
    }

    /// The ready message that was published first.
    pub(super) fn oldest(&self, name: &str) -> Option<&TaskMessage> {
        let ready = self.queues.get(name)?.ready.values();
        ready.min_by_key(|entry| entry.seq).map(|entry| &entry.message)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.queues.keys().cloned().collect()
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.queues.contains_key(name)
    }

    /// What lies in a dead-letter queue, oldest first.
    pub(super) fn letters(&self, grave: &str) -> Vec<DeadLetter> {
        let ready = self.queues.get(grave).into_iter().flat_map(|queue| queue.ready.values());
        ready.map(|entry| dead::describe(&entry.message, grave)).collect()
    }

    /// Takes the selected letters out of a dead-letter queue, oldest first.
    pub(super) fn exhume(&mut self, grave: &str, which: &Selection) -> Vec<TaskMessage> {
        let Some(queue) = self.queues.get_mut(grave) else { return Vec::new() };
        let ready = std::mem::take(&mut queue.ready);
        let (out, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = ready
            .into_iter()
            .partition(|(_, entry)| which.has(&dead::describe(&entry.message, grave)));
        queue.ready = kept;
        out.into_values().map(|entry| entry.message).collect()
    }
}
