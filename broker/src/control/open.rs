//! Chooses a control bus by the broker URL's scheme.

use std::sync::Arc;

use tradewind_proto::clock::SharedClock;
use url::Url;

use super::memory::MemoryBus;
use super::rabbitmq::RabbitBus;
use super::redis::RedisBus;
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
        "redis" | "rediss" => Ok(Arc::new(RedisBus::new(&parsed, options, clock)?)),
        "amqp" | "amqps" | "pyamqp" => Ok(Arc::new(RabbitBus::new(&parsed, options, clock)?)),
        other => Err(Error::Config(format!(
            "the broker URL has the scheme {other:?}, which no control bus serves; \
             valid forms: {FORMS}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use tradewind_proto::clock::SystemClock;

    use super::*;

    #[tokio::test]
    async fn refusals_name_the_valid_forms_and_buses_hide_the_password() {
        let open =
            async |url: &str| open_bus(url, &BusOptions::default(), Arc::new(SystemClock)).await;
        for url in ["sqs://u:hunter2@h/1", "hunter2", "amqp://u:hunter2@host:nope/"] {
            let text = open(url).await.expect_err("a refusal").to_string();
            assert!(text.contains("amqp://") && !text.contains("hunter2"), "{text}");
        }
        for (url, kind) in [
            ("memory://", "memory"),
            ("redis://u:hunter2@127.0.0.1:1/3", "redis"),
            ("pyamqp://u:hunter2@127.0.0.1:1//", "rabbitmq"),
        ] {
            let bus = open(url).await.expect("a bus");
            assert_eq!(bus.kind(), kind);
            let shown = format!("{bus:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            if kind != "memory" {
                let text = bus.subscribe_events().await.expect_err("no server").to_string();
                assert!(!text.contains("hunter2"), "{text}");
            }
        }
    }
}
