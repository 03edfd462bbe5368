//! Options of the result backends, and the choice of a driver by URL.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tradewind_proto::clock::SharedClock;

use super::ResultBackend;
use super::memory::MemoryResults;
use super::postgres::PostgresResults;
use super::redis::RedisResults;
use super::rpc::RpcResults;
use crate::Error;
use crate::sealed::{SealedResults, read_keys};

const VALID_FORMS: &str = "valid: memory://, redis://[user:password@]host[:port][/db] \
     (rediss:// for TLS), postgresql://user:password@host[:port]/database \
     (also postgres:// and db+postgresql://), rpc:// with broker_url";

/// Options of a result backend.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResultOptions {
    /// The broker's AMQP URL; `rpc://` needs it, the others ignore it.
    #[serde(skip_serializing)]
    pub broker_url: Option<String>,
    /// Redis: put before every key and channel (Celery's `global_keyprefix`). Default: empty.
    pub key_prefix: String,
    /// PostgreSQL: connections for results and sends; each inbox reader has one more of its own, and
    /// all waiters share one. Default: 4.
    pub pool_size: usize,
    /// rpc: results that were received and not forgotten, at most; the oldest goes first.
    /// Default: 10,000.
    pub replies_max: usize,
    /// File with PEM certificates of authorities to trust for TLS: RabbitMQ beside the system's, Redis
    /// and PostgreSQL instead of them.
    pub ca_file: Option<PathBuf>,
    /// File of keys that results are encrypted with; see [`crate::SecurityOptions::encryption_keys`].
    pub encryption_keys: Option<PathBuf>,
}

impl fmt::Debug for ResultOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultOptions")
            // It may hold a password.
            .field("broker_url", &self.broker_url.as_ref().map(|_| "set"))
            .field("key_prefix", &self.key_prefix)
            .field("pool_size", &self.pool_size)
            .field("replies_max", &self.replies_max)
            .field("ca_file", &self.ca_file)
            .field("encryption_keys", &self.encryption_keys)
            .finish()
    }
}

impl Default for ResultOptions {
    fn default() -> Self {
        Self {
            broker_url: None,
            key_prefix: String::new(),
            pool_size: 4,
            replies_max: 10_000,
            ca_file: None,
            encryption_keys: None,
        }
    }
}

/// Opens the result backend that `url` names. Errors never hold credentials.
pub async fn open_results(
    url: &str,
    options: &ResultOptions,
    clock: SharedClock,
) -> Result<Arc<dyn ResultBackend>, Error> {
    let keys = options.encryption_keys.as_deref();
    let keys = keys.map(|path| read_keys("encryption_keys", path)).transpose()?;
    let results = open_plain(url, options, clock).await?;
    Ok(match keys {
        Some(keys) => Arc::new(SealedResults::new(results, keys)),
        None => results,
    })
}

async fn open_plain(
    url: &str,
    options: &ResultOptions,
    clock: SharedClock,
) -> Result<Arc<dyn ResultBackend>, Error> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("memory") => Ok(Arc::new(MemoryResults::new())),
        Some("redis" | "rediss") => Ok(Arc::new(RedisResults::open(url, options).await?)),
        Some(scheme) if is_postgres(scheme) => {
            let rest = &url[scheme.len()..];
            let plain = format!("postgresql{rest}");
            Ok(Arc::new(PostgresResults::open(&plain, options).await?))
        }
        Some("rpc") => Ok(Arc::new(RpcResults::open(options, clock).await?)),
        Some(scheme) => Err(Error::Config(format!(
            "result backend scheme {scheme:?} is not known; {VALID_FORMS}"
        ))),
        None => Err(Error::Config(format!("the result backend is no URL; {VALID_FORMS}"))),
    }
}

/// Accepts SQLAlchemy's spelling with a driver name (`db+postgresql+psycopg2`).
pub(crate) fn is_postgres(scheme: &str) -> bool {
    let dialect = scheme.strip_prefix("db+").unwrap_or(scheme);
    let dialect = dialect.split_once('+').map_or(dialect, |(name, _)| name);
    matches!(dialect, "postgres" | "postgresql")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tradewind_proto::clock::SystemClock;

    use super::{ResultOptions, is_postgres, open_results};

    async fn refusal(url: &str, options: &ResultOptions) -> String {
        let opened = open_results(url, options, Arc::new(SystemClock)).await;
        opened.expect_err("a refusal").to_string()
    }

    #[tokio::test]
    async fn refusals_name_the_valid_forms_and_no_password() {
        let none = ResultOptions::default();
        for url in ["mongodb://u:hunter2@h/1", "hunter2", "redis://u:hunter2@:::/x"] {
            let text = refusal(url, &none).await;
            assert!(text.contains("redis://"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(refusal("rpc://", &none).await.contains("broker_url"));
        let bad_broker =
            ResultOptions { broker_url: Some("redis://u:hunter2@h".to_owned()), ..none };
        let text = refusal("rpc://", &bad_broker).await;
        assert!(text.contains("amqp://") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn celery_and_sqlalchemy_spellings_of_postgresql_are_known() {
        for scheme in ["postgres", "postgresql", "db+postgresql", "db+postgresql+psycopg2"] {
            assert!(is_postgres(scheme), "{scheme}");
        }
        assert!(!is_postgres("db+mysql"));
    }

    #[test]
    fn unknown_options_are_refused() {
        let parsed = serde_json::from_str::<ResultOptions>(r#"{"pool_sise": 3}"#);
        assert!(parsed.expect_err("a refusal").to_string().contains("pool_sise"));
        let parsed: ResultOptions = serde_json::from_str(r#"{"pool_size": 3}"#).expect("valid");
        assert_eq!(parsed.pool_size, 3);
    }
}
