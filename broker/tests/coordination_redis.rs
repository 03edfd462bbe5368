//! The coordination conformance suite on redis.

use std::sync::Arc;

use async_trait::async_trait;
use tradewind_broker::coordination::conformance::Subject;
use tradewind_broker::coordination::{Coordinator, open_coordinator};
use tradewind_services::shared;

struct Served(String);

#[async_trait]
impl Subject for Served {
    async fn open(&self) -> Arc<dyn Coordinator> {
        let coordinator = open_coordinator(&self.0, "").await.expect("a coordinator");
        assert!(coordinator.shared() && coordinator.kind() == "redis");
        coordinator
    }
}

async fn subject() -> Served {
    Served(shared::redis_url())
}

tradewind_broker::coordination_conformance! { subject }
