//! One reader of a durable inbox queue. The server redelivers its items when its channel ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::sleep;

use super::super::{Inbox, InboxItem};
use super::link::{Link, SERVICE, answered, declare_durable, short, sort_error};
use crate::Error;

/// Items the server may have under way to one reader.
const PREFETCH: u16 = 512;
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct RpcInbox {
    link: Arc<Link>,
    queue: String,
    live: Option<Live>,
    /// Counts channels, so that a tag from an earlier one is known as such.
    epoch: u64,
    backoff: Duration,
}

#[derive(Debug)]
struct Live {
    channel: Channel,
    consumer: Consumer,
    unacked: BTreeSet<u64>,
}

impl RpcInbox {
    pub(super) fn new(link: Arc<Link>, queue: String) -> Self {
        Self { link, queue, live: None, epoch: 0, backoff: Duration::ZERO }
    }

    /// Opens the channel and starts to consume. Dropping it half-way closes the channel again.
    pub(super) async fn ensure_open(&mut self) -> Result<(), Error> {
        if self.live.is_some() {
            return Ok(());
        }
        sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        let channel = self.link.channel().await?;
        declare_durable(&channel, &self.queue).await?;
        let qos = channel.basic_qos(PREFETCH, BasicQosOptions::default());
        answered("a prefetch", qos).await?;
        let consuming = channel.basic_consume(
            short("an inbox name", &self.queue)?,
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = answered("an inbox consumer", consuming).await?;
        self.epoch += 1;
        self.backoff = Duration::ZERO;
        self.live = Some(Live { channel, consumer, unacked: BTreeSet::new() });
        Ok(())
    }

    fn lost(&mut self, error: Option<lapin::Error>) -> Error {
        self.live = None;
        match error {
            Some(error) => sort_error("reading an inbox", &error),
            None => Error::Unavailable {
                service: SERVICE,
                reason: format!("the consumer of {:?} was cancelled", self.queue),
            },
        }
    }
}

#[async_trait]
impl Inbox for RpcInbox {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<InboxItem>, Error> {
        self.ensure_open().await?;
        let Some(live) = self.live.as_mut() else {
            return Err(Error::Closed);
        };
        let mut next = live.consumer.next().await;
        let mut batch = Vec::new();
        loop {
            match next {
                Some(Ok(delivery)) => {
                    live.unacked.insert(delivery.delivery_tag);
                    batch.push(InboxItem {
                        tag: format!("{}-{}", self.epoch, delivery.delivery_tag),
                        body: delivery.data,
                    });
                }
                // What was read before is worth returning: the next call meets the end again.
                _ if !batch.is_empty() => return Ok(batch),
                Some(Err(error)) => return Err(self.lost(Some(error))),
                None => return Err(self.lost(None)),
            }
            if batch.len() >= max {
                return Ok(batch);
            }
            next = match live.consumer.next().now_or_never() {
                Some(next) => next,
                None => return Ok(batch),
            };
        }
    }

    async fn ack(&mut self, tags: &[String]) -> Result<(), Error> {
        let epoch = self.epoch;
        let Some(live) = self.live.as_mut() else {
            return Ok(());
        };
        let mut single: BTreeSet<u64> = tags
            .iter()
            .filter_map(|tag| tag.split_once('-'))
            .filter(|(of, _)| of.parse() == Ok(epoch))
            .filter_map(|(_, tag)| tag.parse().ok())
            .filter(|tag| live.unacked.remove(tag))
            .collect();
        // One frame settles everything below the first item that stays open.
        let below = match live.unacked.first() {
            Some(open) => {
                let above = single.split_off(open);
                std::mem::replace(&mut single, above)
            }
            None => std::mem::take(&mut single),
        };
        let all = BasicAckOptions { multiple: true };
        if let Some(last) = below.last() {
            answered("an inbox ack", live.channel.basic_ack(*last, all)).await?;
        }
        for tag in single {
            let one = BasicAckOptions { multiple: false };
            answered("an inbox ack", live.channel.basic_ack(tag, one)).await?;
        }
        Ok(())
    }
}
