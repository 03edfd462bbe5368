//! Chooses a control bus by the broker URL's scheme.

use std::sync::Arc;

use tradewind_proto::clock::SharedClock;
use url::Url;

use super::memory::MemoryBus;
use super::{BusOptions, ControlBus};
use crate::Error;

const FORMS: &str = "memory://, redis://[user:password@]host:6379/0, rediss://…, \
                     amqp://user:password@host:5672/vhost, amqps://…, pyamqp://…";

/// Opens the control bus of the broker that a URL names. Checks URL and options; connects at the
/// first use, so that a server that is away delays nothing here.
///
/// # Errors
/// [`Error::Config`] when the URL or an option cannot be used; it holds no credentials.
pub async fn open_bus(
    url: &str,
    options: &BusOptions,
    clock: SharedClock,
) -> Result<Arc<dyn ControlBus>, Error> {
    options.validate()?;
    let Ok(parsed) = Url::parse(url) else {
        // The text is not shown: it may hold a password.
        return Err(Error::Config(format!("the broker URL cannot be read; valid forms: {FORMS}")));
    };
    match parsed.scheme() {
        "memory" => Ok(Arc::new(MemoryBus::with_options(options, clock))),
        other => Err(Error::Config(format!(
            "the broker URL has the scheme {other:?}, which no control bus serves; \
             valid forms: {FORMS}"
        ))),
    }
}
