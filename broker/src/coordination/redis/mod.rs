//! Coordination on Redis: one script per step, on the server's clock. Keys: `tradewind:*`.

mod scripts;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::ConnectionManager;
use redis::{FromRedisValue, ScriptInvocation};

use super::open::check_rate;
use super::{Coordinator, CoordinatorOptions, REVOKED_MAX, Revoked, STARTS_MAX};
use crate::Error;
use crate::results::redis::{connect, redis_error};
use scripts::Scripts;

/// Ids looked up by one script call; Lua takes about 8,000 arguments for one command.
const IDS_PER_CALL: usize = 1_000;

/// The redis driver.
pub struct RedisCoordinator {
    link: ConnectionManager,
    scripts: Scripts,
    prefix: String,
}

impl fmt::Debug for RedisCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCoordinator").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

impl RedisCoordinator {
    /// Connects. `url` is a Redis URL.
    ///
    /// # Errors
    /// When the URL cannot be used or the server does not answer.
    pub async fn open(url: &str, options: &CoordinatorOptions) -> Result<Self, Error> {
        let (_, link) = connect(url, options.ca_file.as_deref()).await?;
        Ok(Self { link, scripts: Scripts::new(), prefix: options.key_prefix.clone() })
    }

    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}tradewind:{kind}:{name}", self.prefix)
    }

    /// By revocation, by expiry, to kill.
    fn revoked_keys(&self) -> [String; 3] {
        ["at", "until", "kill"].map(|part| self.key("revoked", part))
    }

    fn beat_key(&self) -> String {
        format!("{}tradewind:beat", self.prefix)
    }

    async fn run<T: FromRedisValue>(
        &self,
        what: &str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, Error> {
        call.invoke_async(&mut self.link.clone()).await.map_err(|e| redis_error(what, &e))
    }

    async fn command<T: FromRedisValue>(
        &self,
        what: &str,
        command: &redis::Cmd,
    ) -> Result<T, Error> {
        command.query_async(&mut self.link.clone()).await.map_err(|e| redis_error(what, &e))
    }
}

#[async_trait]
impl Coordinator for RedisCoordinator {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn shared(&self) -> bool {
        true
    }

    async fn revoke(&self, tasks: &[Revoked], ttl: Duration) -> Result<(), Error> {
        if tasks.is_empty() {
            return Ok(());
        }
        let [at, until, kill] = self.revoked_keys();
        let mut call = self.scripts.revoke.key(at);
        call.key(until).key(kill).arg(us(ttl)).arg(REVOKED_MAX);
        for task in tasks {
            call.arg(&task.id).arg(u8::from(task.terminate));
        }
        self.run::<i64>("a revocation", &call).await.map(drop)
    }

    async fn are_revoked(&self, ids: &[String]) -> Result<Vec<bool>, Error> {
        let [_, until, _] = self.revoked_keys();
        let mut revoked = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_PER_CALL) {
            let mut call = self.scripts.are_revoked.key(&until);
            for id in ids {
                call.arg(id);
            }
            let marks: Vec<u8> = self.run("looking for revocations", &call).await?;
            revoked.extend(marks.into_iter().map(|mark| mark == 1));
        }
        Ok(revoked)
    }

    async fn revoked(&self, max: usize) -> Result<Vec<Revoked>, Error> {
        let [at, until, kill] = self.revoked_keys();
        let mut call = self.scripts.revoked.key(at);
        call.key(until).key(kill).arg(max);
        let pairs: Vec<(String, u8)> = self.run("the revocations", &call).await?;
        Ok(pairs.into_iter().map(|(id, kill)| Revoked { id, terminate: kill == 1 }).collect())
    }

    async fn take_token(
        &self,
        key: &str,
        per_second: f64,
        burst: u32,
    ) -> Result<Option<Duration>, Error> {
        check_rate(key, per_second)?;
        let mut call = self.scripts.take_token.key(self.key("rate", key));
        call.arg(per_second).arg(burst.max(1));
        let wait_us: i64 = self.run("a rate limit", &call).await?;
        Ok(u64::try_from(wait_us).ok().map(Duration::from_micros))
    }

    async fn enter(
        &self,
        key: &str,
        limit: u32,
        holder: &str,
        lease: Duration,
    ) -> Result<bool, Error> {
        let mut call = self.scripts.enter.key(self.key("places", key));
        call.arg(limit).arg(holder).arg(us(lease));
        Ok(self.run::<i64>("a concurrency limit", &call).await? == 1)
    }

    async fn leave(&self, key: &str, holder: &str) -> Result<(), Error> {
        let mut command = redis::cmd("ZREM");
        command.arg(self.key("places", key)).arg(holder);
        self.command::<i64>("a concurrency limit", &command).await.map(drop)
    }

    async fn claim_unique(
        &self,
        key: &str,
        id: &str,
        ttl: Duration,
    ) -> Result<Option<String>, Error> {
        let mut call = self.scripts.claim.key(self.key("unique", key));
        call.arg(id).arg(ms(ttl));
        self.run("a unique key", &call).await
    }

    async fn release_unique(&self, key: &str, id: &str) -> Result<(), Error> {
        let mut call = self.scripts.release.key(self.key("unique", key));
        call.arg(id);
        self.run::<i64>("a unique key", &call).await.map(drop)
    }

    async fn count_start(&self, id: &str, worker: &str, ttl: Duration) -> Result<u32, Error> {
        let mut call = self.scripts.count_start.key(self.key("starts", id));
        call.arg(worker).arg(ms(ttl)).arg(STARTS_MAX);
        self.run("a count of starts", &call).await
    }

    async fn clear_starts(&self, ids: &[String]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("UNLINK");
        for id in ids {
            command.arg(self.key("starts", id));
        }
        self.command::<i64>("counts of starts", &command).await.map(drop)
    }

    async fn starts(&self, id: &str) -> Result<Vec<String>, Error> {
        let mut command = redis::cmd("LRANGE");
        command.arg(self.key("starts", id)).arg(0).arg(-1);
        self.command("counts of starts", &command).await
    }

    async fn last_sent(&self, entry: &str) -> Result<Option<i64>, Error> {
        let mut command = redis::cmd("HGET");
        command.arg(self.beat_key()).arg(entry);
        self.command("a periodic entry", &command).await
    }

    async fn advance(&self, entry: &str, last: Option<i64>, now: i64) -> Result<bool, Error> {
        let mut call = self.scripts.advance.key(self.beat_key());
        let last = last.map(|last| last.to_string()).unwrap_or_default();
        call.arg(entry).arg(last).arg(now);
        Ok(self.run::<i64>("a periodic entry", &call).await? == 1)
    }

    async fn close(&self) {}
}
