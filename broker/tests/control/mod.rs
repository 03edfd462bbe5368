//! A harness for control buses with a server: shared for ordinary cases, private behind a proxy for
//! outages.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tradewind_broker::control::conformance::Harness;
use tradewind_broker::{BusOptions, ControlBus, open_bus};
use tradewind_proto::clock::SharedClock;
use tradewind_services::Proxy;

/// Puts bytes that are no message onto the channels of the server at a URL.
#[async_trait]
pub(crate) trait Inject: Send + Sync {
    async fn inject(&self, url: &str);
}

pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) inject: Box<dyn Inject>,
    pub(crate) private: Option<(Proxy, Mutex<Restart>)>,
}

/// Kills a server and starts it again.
pub(crate) type Restart = Box<dyn FnMut() + Send>;

pub(crate) fn options() -> BusOptions {
    BusOptions { events_buffered_max: 1_000, ..BusOptions::default() }
}

impl Served {
    fn proxy(&self) -> &Proxy {
        &self.private.as_ref().expect("a private server").0
    }
}

#[async_trait]
impl Harness for Served {
    async fn open(&self, clock: SharedClock) -> Arc<dyn ControlBus> {
        open_bus(&self.url, &options(), clock).await.expect("a bus")
    }

    async fn inject_malformed(&self) {
        self.inject.inject(&self.url).await;
    }

    async fn restart(&self) {
        let restart = &self.private.as_ref().expect("a private server").1;
        let mut restart = restart.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::task::block_in_place(&mut *restart);
    }

    async fn cut(&self) {
        self.proxy().cut();
    }

    async fn restore(&self) {
        self.proxy().restore();
    }
}
