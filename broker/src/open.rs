//! Chooses a driver by the URL's scheme.

use std::sync::Arc;

use tradewind_proto::clock::SharedClock;
use url::Url;

use crate::memory::MemoryBroker;

use crate::rabbitmq::RabbitBroker;
use crate::redis::RedisBroker;
use crate::{Broker, BrokerOptions, Error, SealedBroker};

const FORMS: &str = "memory://, redis://[user:password@]host:6379/0, rediss://…, \
                     amqp://user:password@host:5672/vhost, amqps://…, pyamqp://…";

/// Opens the broker that a URL names. Checks URL and options; connects at the first use, so that a
/// server that is away delays nothing here.
///
/// # Errors
/// [`Error::Config`] when the URL or an option cannot be used.
pub async fn open(
    url: &str,
    options: &BrokerOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Broker>, Error> {
    options.validate()?;
    let Ok(parsed) = Url::parse(url) else {
        // The text is not shown: it may hold a password.
        return Err(Error::Config(format!("the broker URL cannot be read; valid forms: {FORMS}")));
    };
    let seal = options.security.seal()?;
    let broker: Arc<dyn Broker> = match parsed.scheme() {
        "memory" => Arc::new(MemoryBroker::with_options(options, clock)),
        "redis" | "rediss" => Arc::new(RedisBroker::new(&parsed, options, clock)?),
        "amqp" | "amqps" | "pyamqp" => Arc::new(RabbitBroker::new(&parsed, options, clock)?),
        other => {
            return Err(Error::Config(format!(
                "the broker URL has the scheme {other:?}, which no driver serves; valid forms: \
                 {FORMS}"
            )));
        }
    };
    Ok(match seal {
        Some(seal) => Arc::new(SealedBroker::new(broker, seal)),
        None => broker,
    })
}
