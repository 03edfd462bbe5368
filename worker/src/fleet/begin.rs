//! Starts what a batch has brought, each task in a slot. A handler that ends at once passes its slot on;
//! what finds none waits a little, and goes back to its queue.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::batch::{one, release};
use super::core::Fleet;
use super::pace::Batch;
use super::pool::Slot;
use super::run::{Item, Ran, run};
use super::settle::settle;
use crate::fetch::BUSY_BEFORE_PAUSE;

/// The start of one batch.
pub(super) struct Beginning<'a> {
    fleet: &'a Arc<Fleet>,
    at: Instant,
    /// Handlers that were started here.
    plain: usize,
    waited: usize,
    /// Slots of those that have ended.
    spare: Vec<Slot>,
    ended: Vec<Ran>,
    late: Vec<Item>,
}

impl<'a> Beginning<'a> {
    pub(super) fn new(fleet: &'a Arc<Fleet>, size: usize) -> Self {
        let (plain, waited) = (0, 0);
        let (spare, ended) = (Vec::with_capacity(size), Vec::with_capacity(size));
        Self { fleet, at: Instant::now(), plain, waited, spare, ended, late: Vec::new() }
    }

    /// Starts it, if there is a slot for it.
    pub(super) fn start(&mut self, mut item: Item) {
        if !item.ticket.slot.is_held() {
            match self.spare.pop() {
                Some(slot) => item.ticket.slot = slot,
                None if item.ticket.slot.claim() => {}
                None => return self.late.push(item),
            }
        }
        if !is_plain(self.fleet, &item) {
            // One that comes again is looked at for its own sake; that says nothing of its kind.
            self.waited += usize::from(!item.seen.redelivered);
            return spawn_one(self.fleet, item);
        }
        self.plain += 1;
        let mut running = Box::pin(run(Arc::clone(self.fleet), item));
        match running.as_mut().now_or_never() {
            Some(mut ran) => {
                self.spare.push(ran.item.ticket.slot.pass_on());
                self.ended.push(ran);
            }
            None => {
                self.waited += 1;
                let fleet = Arc::clone(self.fleet);
                self.fleet.work.spawn(async move { settle(&fleet, running.await).await });
            }
        }
    }

    /// Those that have ended, to be reported together. The late ones wait for slots by themselves.
    pub(super) fn end(self) -> Vec<Ran> {
        let Self { fleet, at, plain, waited, spare, ended, late } = self;
        let waited = waited + late.len();
        fleet.pace.note(Batch { size: plain, waited, took: at.elapsed() });
        // All at once, so that whoever waits for slots takes the next messages in one go.
        drop(spare);
        if !late.is_empty() {
            fleet.work.spawn(wait_for_slots(Arc::clone(fleet), late));
        }
        ended
    }
}

/// Whether it can start without asking anybody.
fn is_plain(fleet: &Fleet, item: &Item) -> bool {
    let options = item.task.options();
    let rated = options.rate_limit.is_some() || fleet.state.is_rated(&item.seen.request.task);
    !item.seen.redelivered && options.acks_late && !options.is_limited() && !rated
}

fn spawn_one(fleet: &Arc<Fleet>, item: Item) {
    let fleet_ = Arc::clone(fleet);
    fleet.work.spawn(async move { one(&fleet_, item).await });
}

/// Tasks that were taken for quick and whose slots are not free yet. Others may have a free slot for them.
async fn wait_for_slots(fleet: Arc<Fleet>, items: Vec<Item>) {
    let until = Instant::now() + BUSY_BEFORE_PAUSE;
    let mut items = items.into_iter();
    while let Some(mut item) = items.next() {
        let slot = timeout_at(until, item.ticket.slot.wait());
        let has_slot = tokio::select! {
            biased;
            () = fleet.draining.cancelled() => false,
            slot = slot => slot.is_ok(),
        };
        if has_slot {
            spawn_one(&fleet, item);
            continue;
        }
        // Backwards: the first one is to be the next one again.
        let back = std::iter::once(item).chain(items).rev().map(|mut item| {
            fleet.state.gave_back(item.serial, None);
            item.delivery.take().map(|delivery| release(&fleet, delivery))
        });
        join_all(back.flatten()).await;
        return;
    }
}
