//! One instance of each server for a whole test run.
//!
//! `services run -- CMD` starts them and exports their URLs; without it, the first use in a test
//! process starts one, and its guard stops it when the process ends. Tests that share must use
//! [`crate::unique`] names and must not kill the server.

use std::sync::OnceLock;

use crate::{Error, Postgres, Rabbit, Redis, RedisOptions};

/// Names of the variables that hold the URLs of servers that run already.
pub const ENV_REDIS: &str = "TRADEWIND_TEST_REDIS_URL";
/// See [`ENV_REDIS`].
pub const ENV_AMQP: &str = "TRADEWIND_TEST_AMQP_URL";
/// See [`ENV_REDIS`].
pub const ENV_POSTGRES: &str = "TRADEWIND_TEST_POSTGRES_URL";

/// URL of the shared Redis (append-only file on).
///
/// # Panics
/// When none is given and none can be started; the text says what to install.
pub fn redis_url() -> String {
    static SHARED: OnceLock<Redis> = OnceLock::new();
    given(ENV_REDIS).unwrap_or_else(|| {
        let start = || started(Redis::start(RedisOptions { appendonly: true }));
        SHARED.get_or_init(start).url().to_owned()
    })
}

/// URL of the shared RabbitMQ.
///
/// # Panics
/// As [`redis_url`].
pub fn amqp_url() -> String {
    static SHARED: OnceLock<Rabbit> = OnceLock::new();
    given(ENV_AMQP)
        .unwrap_or_else(|| SHARED.get_or_init(|| started(Rabbit::start())).url().to_owned())
}

/// URL of the shared PostgreSQL, database `postgres`, a superuser.
///
/// # Panics
/// As [`redis_url`].
pub fn postgres_url() -> String {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    given(ENV_POSTGRES)
        .unwrap_or_else(|| SHARED.get_or_init(|| started(Postgres::start())).url().to_owned())
}

fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|url| !url.is_empty())
}

fn started<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("a test server did not start: {error}"))
}
