//! Bare client loops: what the server and its client library can do with nothing of ours around them.
//! The baseline that `tradewind bench` prints beside our own figure; never used to run tasks.

mod rabbitmq;
mod redis;

use std::time::{Duration, Instant};

use futures::future::try_join;

use crate::Error;

/// Messages per round trip.
const BATCH: usize = 64;
/// Size of a message body, bytes.
const BODY_BYTES: usize = 300;

/// How long the loops took.
#[derive(Debug, Clone, Copy)]
pub struct Loops {
    /// Publishing, confirmed in batches of 64.
    pub publish: Duration,
    /// Taking and acking in batches of 64, from a queue that is full already.
    pub drain: Duration,
    /// Publishing, taking and acking at once, over two connections: a message's whole way.
    pub through: Duration,
}

/// Publishes `count` messages to a queue of its own, then takes and acks them; does both once more at the
/// same time; removes the queue.
///
/// # Errors
/// [`Error::Config`] for a broker without a server; else the client's.
pub async fn run(url: &str, queue: &str, count: usize) -> Result<Loops, Error> {
    match url.split("://").next() {
        Some("redis" | "rediss") => loops(redis::Queue::open(url, queue)?, count).await,
        Some("amqp" | "amqps" | "pyamqp") => {
            loops(rabbitmq::Queue::declare(url, queue).await?, count).await
        }
        _ => Err(Error::Config("an in-process broker has no bare client".to_owned())),
    }
}

/// A queue of a server, without anything of ours.
trait BareQueue {
    /// Publishes so many messages.
    async fn fill(&self, count: usize) -> Result<(), Error>;
    /// Takes and acks so many.
    async fn take(&self, count: usize) -> Result<(), Error>;
    /// Deletes it.
    async fn remove(&self) -> Result<(), Error>;
}

async fn loops(queue: impl BareQueue, count: usize) -> Result<Loops, Error> {
    let publish = timed(queue.fill(count)).await?;
    let drain = timed(queue.take(count)).await?;
    let through = timed(try_join(queue.fill(count), queue.take(count))).await?;
    queue.remove().await?;
    Ok(Loops { publish, drain, through })
}

async fn timed<T>(work: impl Future<Output = Result<T, Error>>) -> Result<Duration, Error> {
    let begin = Instant::now();
    work.await?;
    Ok(begin.elapsed())
}
