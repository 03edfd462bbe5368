//! What the result suites of all real servers share: a subject with a cuttable link.

use std::sync::Arc;

use async_trait::async_trait;
use tradewind_broker::results::conformance::Subject;
use tradewind_broker::{ResultBackend, ResultOptions, open_results};
use tradewind_proto::clock::SystemClock;
use tradewind_services::Proxy;

/// How a driver is opened on a server's URL.
pub(crate) type Open = fn(&str) -> (String, ResultOptions);

/// A server as the suite sees it.
pub(crate) struct Served {
    url: String,
    proxy: Proxy,
    open: Open,
    restart: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Served {
    /// A server that other tests use too.
    pub(crate) fn shared(url: String, open: Open) -> Self {
        let port = port_of(&url);
        let proxy = Proxy::start(port).expect("a proxy");
        Self { url, proxy, open, restart: None }
    }

    /// A server of this test's own; `restart` keeps it alive.
    pub(crate) fn own(url: String, open: Open, restart: impl Fn() + Send + Sync + 'static) -> Self {
        Self { restart: Some(Box::new(restart)), ..Self::shared(url, open) }
    }

    async fn open_at(&self, url: &str) -> Arc<dyn ResultBackend> {
        let (url, options) = (self.open)(url);
        open_results(&url, &options, Arc::new(SystemClock)).await.expect("a result backend")
    }
}

fn port_of(url: &str) -> u16 {
    let after_host = url.rsplit_once(':').expect("a port").1;
    let digits: String = after_host.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a port")
}

#[async_trait]
impl Subject for Served {
    async fn open(&self) -> Arc<dyn ResultBackend> {
        self.open_at(&self.url).await
    }

    async fn open_cuttable(&self) -> Arc<dyn ResultBackend> {
        self.open_at(&self.proxy.url(&self.url)).await
    }

    fn cut(&self) {
        self.proxy.cut();
    }

    fn silence(&self) {
        self.proxy.black_hole();
    }

    fn mend(&self) {
        self.proxy.restore();
    }

    fn restart(&self) {
        let restart = self.restart.as_ref().expect("only a server of its own is restarted");
        restart();
    }
}
