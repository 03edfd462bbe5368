//! The coordination conformance suite on memory.

use std::sync::Arc;

use async_trait::async_trait;
use tradewind_broker::coordination::conformance::Subject;
use tradewind_broker::coordination::{Coordinator, MemoryCoordinator};

struct Memory(MemoryCoordinator);

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn Coordinator> {
        Arc::new(self.0.clone())
    }
}

async fn subject() -> Memory {
    Memory(MemoryCoordinator::new())
}

tradewind_broker::coordination_conformance! { subject }
