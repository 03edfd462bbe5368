//! The memory driver against the suite.

use std::sync::Arc;

use async_trait::async_trait;
use tradewind_broker::conformance::Harness;
use tradewind_broker::{Broker, BrokerOptions, MemoryBroker, broker_conformance};
use tradewind_proto::clock::SystemClock;

struct Memory(MemoryBroker);

async fn harness() -> Memory {
    Memory(MemoryBroker::new(Arc::new(SystemClock)))
}

#[async_trait]
impl Harness for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }
    async fn open(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.clone())
    }
    async fn open_with(
        &self,
        change: &(dyn for<'o> Fn(&'o mut BrokerOptions) + Sync),
    ) -> Arc<dyn Broker> {
        let mut options = BrokerOptions::default();
        change(&mut options);
        Arc::new(MemoryBroker::with_options(&options, Arc::new(SystemClock)))
    }
    async fn inject_malformed(&self, _: &str) {
        unreachable!("listed as unsupported")
    }
    async fn kill(&self) {
        unreachable!("there is no server")
    }
    async fn restart(&self) {
        unreachable!("there is no server")
    }
    async fn cut(&self) {
        unreachable!("there is no link")
    }
    async fn restore(&self) {
        unreachable!("there is no link")
    }
}

broker_conformance!(harness);
