//! The Redis driver against the suite, on real servers.

mod harness;

use std::sync::Mutex;

use async_trait::async_trait;
use harness::{Inject, ServerHarness};
use tradewind_broker::{BrokerOptions, broker_conformance, broker_outage_conformance};
use tradewind_services::{Proxy, Redis, RedisOptions, shared};

struct Garbage;

#[async_trait]
impl Inject for Garbage {
    async fn inject(&self, url: &str, queue: &str) {
        let client = redis::Client::open(url).expect("url");
        let mut connection = client.get_multiplexed_async_connection().await.expect("connect");
        let mut push = redis::cmd("LPUSH");
        push.arg(queue).arg(&b"\x80\x04not json"[..]);
        let _length: i64 = push.query_async(&mut connection).await.expect("lpush");
    }
}

fn options() -> BrokerOptions {
    BrokerOptions { lease_ms: 2_000, ..BrokerOptions::default() }
}

async fn on_shared() -> ServerHarness {
    let url = tokio::task::block_in_place(shared::redis_url);
    ServerHarness {
        kind: "redis",
        url,
        options: options(),
        inject: Box::new(Garbage),
        private: None,
    }
}

async fn on_private() -> ServerHarness {
    let server = Redis::start(RedisOptions { appendonly: true }).expect("redis");
    let proxy = Proxy::start(server.port()).expect("proxy");
    ServerHarness {
        kind: "redis",
        url: proxy.url(server.url()),
        options: options(),
        inject: Box::new(Garbage),
        private: Some((Mutex::new(Box::new(server)), proxy)),
    }
}

broker_conformance!(on_shared);
broker_outage_conformance!(on_private);

mod layout;
