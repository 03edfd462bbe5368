//! A list, and a hash of what is taken from it and not acked.

use redis::aio::MultiplexedConnection;

use super::{BATCH, BODY_BYTES, BareQueue};
use crate::Error;

/// Pop and remember in one script, as a reliable consumer must.
const TAKE: &str = "local taken = {} \
    for i = 1, tonumber(ARGV[1]) do \
      local body = redis.call('RPOP', KEYS[1]) \
      if not body then break end \
      redis.call('HSET', KEYS[2], ARGV[2] .. i, body) \
      taken[i] = body \
    end \
    return taken";

pub(super) struct Queue {
    client: redis::Client,
    list: String,
    held: String,
}

fn failed(error: redis::RedisError) -> Error {
    Error::Unavailable { service: "Redis", reason: error.to_string() }
}

impl Queue {
    pub(super) fn open(url: &str, list: &str) -> Result<Self, Error> {
        let client = redis::Client::open(url).map_err(failed)?;
        Ok(Self { client, list: list.to_owned(), held: format!("{list}.held") })
    }

    async fn server(&self) -> Result<MultiplexedConnection, Error> {
        self.client.get_multiplexed_async_connection().await.map_err(failed)
    }
}

impl BareQueue for Queue {
    async fn fill(&self, count: usize) -> Result<(), Error> {
        let mut server = self.server().await?;
        let body = "x".repeat(BODY_BYTES);
        for start in (0..count).step_by(BATCH) {
            let mut fill = redis::pipe();
            for _ in start..count.min(start + BATCH) {
                fill.lpush(&self.list, &body).ignore();
            }
            fill.query_async::<()>(&mut server).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn take(&self, count: usize) -> Result<(), Error> {
        let mut server = self.server().await?;
        let take = redis::Script::new(TAKE);
        let mut done = 0;
        while done < count {
            let mut call = take.key(&self.list);
            let tag = format!("{done}-");
            call.key(&self.held).arg(BATCH).arg(&tag);
            let taken: Vec<Vec<u8>> = call.invoke_async(&mut server).await.map_err(failed)?;
            if taken.is_empty() {
                continue;
            }
            let tags: Vec<String> = (1..=taken.len()).map(|i| format!("{tag}{i}")).collect();
            let mut ack = redis::pipe();
            ack.hdel(&self.held, tags).ignore();
            ack.query_async::<()>(&mut server).await.map_err(failed)?;
            done += taken.len();
        }
        Ok(())
    }

    async fn remove(&self) -> Result<(), Error> {
        let mut both = redis::pipe();
        both.del(&self.list).ignore().del(&self.held).ignore();
        both.exec_async(&mut self.server().await?).await.map_err(failed)
    }
}
