//! The canary: a list that only it knows, over the connection that messages are taken by.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::Inner;
use super::link::unavailable;
use crate::Error;
use crate::canary::Canary;

/// Seconds after which the server forgets what a dead worker has left.
const EXPIRES: i64 = 60;

#[derive(Debug)]
pub(super) struct RedisCanary {
    inner: Arc<Inner>,
    key: String,
    sent: u64,
}

impl RedisCanary {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        let key = inner.keys.canary(&Uuid::new_v4().simple().to_string());
        Self { inner, key, sent: 0 }
    }
}

#[async_trait]
impl Canary for RedisCanary {
    async fn round_trip(&mut self) -> Result<(), Error> {
        self.inner.open()?;
        self.sent += 1;
        let mut send = redis::pipe();
        send.atomic().lpush(&self.key, self.sent).ignore().expire(&self.key, EXPIRES).ignore();
        self.inner.link.pipeline::<()>(&send).await?;
        loop {
            // Late ones of calls that failed come first.
            let mut pop = redis::cmd("RPOP");
            match self.inner.link.command::<Option<u64>>(pop.arg(&self.key)).await? {
                Some(number) if number == self.sent => return Ok(()),
                Some(_late) => {}
                None => return Err(unavailable("the canary's message is gone")),
            }
        }
    }
}
