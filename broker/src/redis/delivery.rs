//! One reserved message: how it leaves its reservation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tracing::debug;
use tradewind_proto::Timestamp;

use super::settle::{How, Move, Op};
use super::{Inner, envelope};
use crate::limits::dead_letter_queue;
use crate::slots::Slots;
use crate::{Arrived, Error, Payload, Settle};

#[derive(Debug)]
pub(super) struct RedisSettle {
    pub(super) inner: Arc<Inner>,
    pub(super) slots: Arc<Slots>,
    pub(super) queue: Arc<str>,
    /// Lease member.
    pub(super) member: String,
    /// List that it was taken from.
    pub(super) key: Arc<str>,
    pub(super) raw: Vec<u8>,
    pub(super) ended: AtomicBool,
}

impl RedisSettle {
    /// True once: the caller ends the reservation on the server.
    fn end(&self) -> bool {
        let first = !self.ended.swap(true, Ordering::AcqRel);
        if first {
            self.inner.held.remove(&self.member);
            self.slots.give_back();
        }
        first
    }

    async fn settle(&self, op: Op) -> Result<(), Error> {
        if !self.end() {
            return Err(Error::AlreadySettled);
        }
        self.inner.settler.settle(self.member.clone(), op).await
    }

    fn back(&self) -> Op {
        Op::Move(Move {
            how: How::Next,
            key: self.key.to_string(),
            text: envelope::mark_redelivered(&self.raw),
            wake: Some(self.inner.keys.wake(&self.queue)),
        })
    }
}

#[async_trait]
impl Settle for RedisSettle {
    fn read(&self) -> Arrived {
        match envelope::decode(&self.raw) {
            Ok((message, redelivered)) => {
                Arrived { payload: Payload::Message(message), redelivered }
            }
            Err(reason) => {
                let payload = Payload::Malformed { reason, raw: self.raw.clone() };
                Arrived { payload, redelivered: false }
            }
        }
    }

    async fn ack(&self) -> Result<(), Error> {
        self.settle(Op::Ack).await
    }

    async fn release(&self) -> Result<(), Error> {
        self.settle(self.back()).await
    }

    async fn requeue_at(&self, at: Timestamp) -> Result<(), Error> {
        // Microseconds since 1970 stay exact in a double until the year 2255.
        let due = Duration::from_micros(u64::try_from(at.as_microsecond()).unwrap_or(0));
        self.settle(Op::Move(Move {
            how: How::At(due.as_secs_f64()),
            key: self.inner.keys.delayed(&self.queue),
            text: envelope::mark_redelivered(&self.raw),
            wake: None,
        }))
        .await
    }

    async fn dead_letter(&self, reason: &str) -> Result<(), Error> {
        let target = dead_letter_queue(&self.queue);
        let now = self.inner.clock.now();
        let (text, priority) = envelope::dead_letter(&self.raw, &self.queue, &target, reason, now);
        let key = self.inner.keys.list_for(&target, priority);
        let wake = Some(self.inner.keys.wake(&target));
        self.settle(Op::Move(Move { how: How::Last, key, text, wake })).await
    }

    async fn extend(&self) -> Result<(), Error> {
        let held = self.inner.leases().renew(std::slice::from_ref(&self.member)).await?;
        if held == [1] { Ok(()) } else { Err(Error::Stale) }
    }
}

impl Drop for RedisSettle {
    fn drop(&mut self) {
        if self.end() {
            debug!(queue = %self.queue, "a delivery was dropped unsettled and goes back");
            self.inner.settler.settle_later(self.member.clone(), self.back());
        }
    }
}
