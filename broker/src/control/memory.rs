//! The control bus inside this process: for standalone mode, tests and the simulator.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tradewind_proto::celery::{ControlRequest, Event, ReplyTo};
use tradewind_proto::clock::SharedClock;
use uuid::Uuid;

use super::buffer::Buffer;
use super::lamport::Lamport;
use super::stream::{BufferedEvents, BufferedMailbox, COMMANDS_MAX};
use super::wire::{self, Parcel};
use super::{BusOptions, ControlBus, EventStream, Mailbox, REPLIES_MAX, Reply, refused};
use crate::{Error, control::address};

/// An in-process control bus. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: BusOptions,
    clock: SharedClock,
    lamport: Lamport,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    monitors: Vec<Weak<Buffer<Event>>>,
    nodes: Vec<(String, Weak<Buffer<ControlRequest>>)>,
    /// Who waits for replies, by routing key.
    asking: BTreeMap<String, mpsc::Sender<Parcel>>,
}

/// Ends a question, also when its future is dropped.
struct Asking<'a> {
    shared: &'a Shared,
    routing_key: String,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.shared.lock().asking.remove(&self.routing_key);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock();
        if state.closed { Err(Error::Closed) } else { Ok(state) }
    }

    /// Messages pass through bytes here too, so that all drivers hand on the same.
    fn send(&self, request: &ControlRequest, wait: Option<Duration>) -> Result<(), Error> {
        let parcel = wire::command(request, wait, &self.lamport, &*self.clock)
            .map_err(|reason| refused("a command", reason))?;
        let mut state = self.open()?;
        state.nodes.retain(|(_, buffer)| buffer.strong_count() > 0);
        for (node, buffer) in &state.nodes {
            let read = wire::read_command(
                &parcel.headers,
                wire::CONTENT_TYPE,
                &parcel.body,
                &self.lamport,
                &*self.clock,
            );
            match (buffer.upgrade(), read) {
                (Some(buffer), Ok(Some(request))) if address::is_meant(&request, node) => {
                    buffer.push(vec![request], parcel.body.len());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl MemoryBus {
    /// A bus with default options.
    pub fn new(clock: SharedClock) -> Self {
        Self::with_options(&BusOptions::default(), clock)
    }

    /// A bus.
    pub fn with_options(options: &BusOptions, clock: SharedClock) -> Self {
        let shared = Shared {
            options: options.clone(),
            clock,
            lamport: Lamport::default(),
            state: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }
}

#[async_trait]
impl ControlBus for MemoryBus {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn clock(&self) -> u64 {
        self.shared.lamport.now()
    }

    async fn publish_events(&self, events: &[Event]) -> Result<(), Error> {
        let mut state = self.shared.open()?;
        state.monitors.retain(|buffer| buffer.strong_count() > 0);
        for parcel in wire::events(events) {
            let read = wire::read_events(wire::CONTENT_TYPE, &parcel.body)
                .map_err(|reason| refused("an event", reason))?;
            for monitor in state.monitors.iter().filter_map(Weak::upgrade) {
                monitor.push(read.clone(), parcel.body.len());
            }
        }
        Ok(())
    }

    async fn subscribe_events(&self) -> Result<Box<dyn EventStream>, Error> {
        let buffer = Arc::new(Buffer::new("events", self.shared.options.events_buffered_max));
        self.shared.open()?.monitors.push(Arc::downgrade(&buffer));
        Ok(Box::new(BufferedEvents { buffer, _filler: None }))
    }

    async fn open_mailbox(&self, node: &str) -> Result<Box<dyn Mailbox>, Error> {
        let buffer = Arc::new(Buffer::new("commands", COMMANDS_MAX));
        self.shared.open()?.nodes.push((node.to_owned(), Arc::downgrade(&buffer)));
        Ok(Box::new(BufferedMailbox { buffer, _filler: None }))
    }

    async fn reply(&self, to: &ControlRequest, reply: Reply) -> Result<(), Error> {
        let state = self.shared.open()?;
        let Some(reply_to) = &to.reply_to else { return Ok(()) };
        let parcel =
            wire::reply(&reply_to.routing_key, to.ticket.as_deref(), &reply, &self.shared.lamport);
        if let Some(asking) = state.asking.get(&reply_to.routing_key) {
            // Full or gone: nobody wants to know.
            let _unwanted = asking.try_send(parcel);
        }
        Ok(())
    }

    async fn broadcast(&self, request: ControlRequest) -> Result<(), Error> {
        self.shared.send(&request, None)
    }

    async fn ask(
        &self,
        mut request: ControlRequest,
        wait: Duration,
        expected: Option<usize>,
    ) -> Result<Vec<Reply>, Error> {
        let deadline = Instant::now() + wait;
        let expected = wire::expected(&request, expected).unwrap_or(REPLIES_MAX);
        let (sender, mut receiver) = mpsc::channel(REPLIES_MAX);
        let asking =
            Asking { shared: &self.shared, routing_key: Uuid::new_v4().hyphenated().to_string() };
        let ticket = Uuid::new_v4().hyphenated().to_string();
        request.ticket = Some(ticket.clone());
        request.reply_to = Some(ReplyTo {
            exchange: self.shared.options.reply_exchange(),
            routing_key: asking.routing_key.clone(),
        });
        self.shared.open()?.asking.insert(asking.routing_key.clone(), sender);
        self.shared.send(&request, Some(wait))?;
        let mut replies = wire::Replies::new(&ticket, expected);
        while !replies.complete() {
            let Ok(Some(parcel)) = timeout_at(deadline, receiver.recv()).await else { break };
            let Parcel { headers, body, .. } = parcel;
            replies.take(&headers, wire::CONTENT_TYPE, &body, &self.shared.lamport);
        }
        Ok(replies.into_vec())
    }

    async fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.asking.clear();
        state.monitors.drain(..).filter_map(|b| b.upgrade()).for_each(|b| b.close());
        state.nodes.drain(..).filter_map(|(_, b)| b.upgrade()).for_each(|b| b.close());
    }
}
