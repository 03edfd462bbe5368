//! A harness for drivers with a server: shared for ordinary cases, private behind a proxy for
//! outages.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tradewind_broker::conformance::Harness;
use tradewind_broker::{Broker, BrokerOptions, open};
use tradewind_proto::clock::SystemClock;
use tradewind_services::Proxy;

/// A server that can be killed.
pub(crate) trait Server: Send {
    fn kill9(&mut self);
    fn restart(&mut self);
}

impl Server for tradewind_services::Redis {
    fn kill9(&mut self) {
        self.kill9();
    }
    fn restart(&mut self) {
        self.restart().expect("redis comes back");
    }
}

impl Server for tradewind_services::Rabbit {
    fn kill9(&mut self) {
        self.kill9();
    }
    fn restart(&mut self) {
        self.restart().expect("rabbitmq comes back");
    }
}

/// Puts bytes that are no valid message into a queue of the server at a URL.
#[async_trait]
pub(crate) trait Inject: Send + Sync {
    async fn inject(&self, url: &str, queue: &str);
}

pub(crate) struct ServerHarness {
    pub(crate) kind: &'static str,
    pub(crate) url: String,
    pub(crate) options: BrokerOptions,
    pub(crate) inject: Box<dyn Inject>,
    pub(crate) private: Option<(Mutex<Box<dyn Server>>, Proxy)>,
}

impl ServerHarness {
    fn proxy(&self) -> &Proxy {
        &self.private.as_ref().expect("a private server").1
    }

    fn with_server(&self, act: impl FnOnce(&mut dyn Server)) {
        let server = &self.private.as_ref().expect("a private server").0;
        act(&mut **server.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[async_trait]
impl Harness for ServerHarness {
    fn kind(&self) -> &'static str {
        self.kind
    }

    async fn open(&self) -> Arc<dyn Broker> {
        open(&self.url, &self.options, Arc::new(SystemClock)).await.expect("open")
    }

    async fn open_with(
        &self,
        change: &(dyn for<'o> Fn(&'o mut BrokerOptions) + Sync),
    ) -> Arc<dyn Broker> {
        let mut options = self.options.clone();
        change(&mut options);
        open(&self.url, &options, Arc::new(SystemClock)).await.expect("open")
    }

    async fn inject_malformed(&self, queue: &str) {
        self.inject.inject(&self.url, queue).await;
    }

    async fn kill(&self) {
        tokio::task::block_in_place(|| self.with_server(|server| server.kill9()));
    }

    async fn restart(&self) {
        tokio::task::block_in_place(|| self.with_server(|server| server.restart()));
    }

    async fn cut(&self) {
        self.proxy().cut();
    }

    async fn restore(&self) {
        self.proxy().restore();
    }
}
