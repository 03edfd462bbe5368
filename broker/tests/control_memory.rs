//! The control bus in memory against the suite.

use std::sync::Arc;

use async_trait::async_trait;
use tradewind_broker::control::conformance::Harness;
use tradewind_broker::{BusOptions, ControlBus, MemoryBus, bus_conformance};
use tradewind_proto::clock::{SharedClock, SystemClock};

struct InProcess(MemoryBus);

#[async_trait]
impl Harness for InProcess {
    async fn open(&self, _clock: SharedClock) -> Arc<dyn ControlBus> {
        Arc::new(self.0.clone())
    }

    async fn inject_malformed(&self) {
        // Messages never leave the process as bytes.
    }

    async fn restart(&self) {}
    async fn cut(&self) {}
    async fn restore(&self) {}
}

async fn in_process() -> InProcess {
    let options = BusOptions { events_buffered_max: 1_000, ..BusOptions::default() };
    InProcess(MemoryBus::with_options(&options, Arc::new(SystemClock)))
}

bus_conformance!(in_process);
