//! Bare client loops: what the server and its client library can do with nothing of ours around them.
//! The baseline that `tradewind bench` prints beside our own figure; never used to run tasks.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::try_join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};

use crate::Error;

/// Messages per round trip.
const BATCH: usize = 64;
/// Size of a message body, bytes.
const BODY_BYTES: usize = 300;

/// How long the two loops took.
#[derive(Debug, Clone, Copy)]
pub struct Loops {
    /// Publishing, confirmed in batches of 64.
    pub publish: Duration,
    /// Taking and acking in batches of 64.
    pub drain: Duration,
}

/// Publishes `count` messages to a queue of its own, then takes and acks them, and removes the queue.
///
/// # Errors
/// [`Error::Config`] for a broker without a server; else the client's.
pub async fn run(url: &str, queue: &str, count: usize) -> Result<Loops, Error> {
    match url.split("://").next() {
        Some("redis" | "rediss") => redis(url, queue, count).await,
        Some("amqp" | "amqps" | "pyamqp") => rabbitmq(url, queue, count).await,
        _ => Err(Error::Config("an in-process broker has no bare client".to_owned())),
    }
}

/// Pop and remember in one script, as a reliable consumer must.
const TAKE: &str = "local taken = {} \
    for i = 1, tonumber(ARGV[1]) do \
      local body = redis.call('RPOP', KEYS[1]) \
      if not body then break end \
      redis.call('HSET', KEYS[2], ARGV[2] .. i, body) \
      taken[i] = body \
    end \
    return taken";

async fn redis(url: &str, queue: &str, count: usize) -> Result<Loops, Error> {
    let failed = |error: redis::RedisError| Error::Unavailable {
        service: "Redis",
        reason: error.to_string(),
    };
    let client = redis::Client::open(url).map_err(failed)?;
    let mut server = client.get_multiplexed_async_connection().await.map_err(failed)?;
    let body = "x".repeat(BODY_BYTES);
    let begin = Instant::now();
    for start in (0..count).step_by(BATCH) {
        let mut fill = redis::pipe();
        for _ in start..count.min(start + BATCH) {
            fill.lpush(queue, &body).ignore();
        }
        fill.query_async::<()>(&mut server).await.map_err(failed)?;
    }
    let publish = begin.elapsed();
    let held = format!("{queue}.held");
    let take = redis::Script::new(TAKE);
    let begin = Instant::now();
    let mut done = 0;
    while done < count {
        let mut call = take.key(queue);
        let tag = format!("{done}-");
        let taken: Vec<Vec<u8>> =
            call.key(&held).arg(BATCH).arg(&tag).invoke_async(&mut server).await.map_err(failed)?;
        let tags: Vec<String> = (1..=taken.len()).map(|i| format!("{tag}{i}")).collect();
        let mut ack = redis::pipe();
        ack.hdel(&held, tags).ignore();
        ack.query_async::<()>(&mut server).await.map_err(failed)?;
        done += taken.len();
    }
    let drain = begin.elapsed();
    redis::pipe()
        .del(queue)
        .ignore()
        .del(&held)
        .ignore()
        .exec_async(&mut server)
        .await
        .map_err(failed)?;
    Ok(Loops { publish, drain })
}

async fn rabbitmq(url: &str, queue: &str, count: usize) -> Result<Loops, Error> {
    let failed =
        |error: lapin::Error| Error::Unavailable { service: "RabbitMQ", reason: error.to_string() };
    let url = url.replacen("pyamqp://", "amqp://", 1);
    let connection =
        Connection::connect(&url, ConnectionProperties::default()).await.map_err(failed)?;
    let channel = connection.create_channel().await.map_err(failed)?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, FieldTable::default()).await.map_err(failed)?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
    let body = vec![b'x'; BODY_BYTES];
    let begin = Instant::now();
    let persistent = BasicProperties::default().with_delivery_mode(2);
    for start in (0..count).step_by(BATCH) {
        let writes = (start..count.min(start + BATCH)).map(|_| {
            channel.basic_publish(
                "".into(),
                queue.into(),
                BasicPublishOptions::default(),
                &body,
                persistent.clone(),
            )
        });
        let confirms = try_join_all(writes).await.map_err(failed)?;
        try_join_all(confirms).await.map_err(failed)?;
    }
    let publish = begin.elapsed();
    let prefetch = u16::try_from(BATCH * 2).unwrap_or(u16::MAX);
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failed)?;
    let begin = Instant::now();
    let mut consumer = channel
        .basic_consume(
            queue.into(),
            "bare".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(failed)?;
    let mut done = 0;
    while done < count {
        let Some(delivery) = consumer.next().await else { return Err(Error::Closed) };
        let delivery = delivery.map_err(failed)?;
        done += 1;
        if done % BATCH == 0 || done == count {
            delivery.ack(BasicAckOptions { multiple: true }).await.map_err(failed)?;
        }
    }
    let drain = begin.elapsed();
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.map_err(failed)?;
    connection.close(200, "done".into()).await.map_err(failed)?;
    Ok(Loops { publish, drain })
}
