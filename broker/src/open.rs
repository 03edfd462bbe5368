//! Chooses a driver by the URL's scheme.

use std::sync::Arc;

use tradewind_proto::clock::SharedClock;
use url::Url;

use crate::memory::MemoryBroker;

use crate::rabbitmq::RabbitBroker;
use crate::redis::RedisBroker;
use crate::{Broker, BrokerOptions, Error};

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
    match parsed.scheme() {
        "memory" => Ok(Arc::new(MemoryBroker::with_options(options, clock))),
        "redis" | "rediss" => Ok(Arc::new(RedisBroker::new(&parsed, options, clock)?)),

        "amqp" | "amqps" | "pyamqp" => Ok(Arc::new(RabbitBroker::new(&parsed, options, clock)?)),
        other => Err(Error::Config(format!(
            "the broker URL has the scheme {other:?}, which no driver serves; valid forms: {FORMS}"
        ))),
    }
}

/// Makes ring the process's TLS provider unless one is set already.
pub(crate) fn install_tls_provider() {
    // An error says that another part of the process was first; any provider will do.
    let _already = rustls::crypto::ring::default_provider().install_default();
}
