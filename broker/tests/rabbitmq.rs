//! The RabbitMQ driver against the suite, on real servers.

mod harness;

use std::sync::Mutex;

use async_trait::async_trait;
use harness::{Inject, ServerHarness};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tradewind_broker::{BrokerOptions, broker_conformance, broker_outage_conformance};
use tradewind_proto::limits::MESSAGE_BODY_BYTES_MAX;
use tradewind_services::{Proxy, Rabbit, shared};

/// AMQP frames every body; only a size over our limit makes one unusable.
struct Oversized;

#[async_trait]
impl Inject for Oversized {
    async fn inject(&self, url: &str, queue: &str) {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(url, properties).await.expect("connect");
        let channel = connection.create_channel().await.expect("channel");
        let body = vec![b'x'; MESSAGE_BODY_BYTES_MAX + 1];
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let publish = channel.basic_publish("".into(), queue.into(), options, &body, properties);
        publish.await.expect("publish").await.expect("written");
        connection.close(200, "done".into()).await.expect("close");
    }
}

async fn on_shared() -> ServerHarness {
    let url = tokio::task::block_in_place(shared::amqp_url);
    ServerHarness {
        kind: "rabbitmq",
        url,
        options: BrokerOptions { max_priority: Some(10), ..BrokerOptions::default() },
        inject: Box::new(Oversized),
        private: None,
    }
}

async fn on_private() -> ServerHarness {
    let server = Rabbit::start().expect("rabbitmq");
    let proxy = Proxy::start(server.port()).expect("proxy");
    ServerHarness {
        kind: "rabbitmq",
        url: proxy.url(server.url()),
        options: BrokerOptions::default(),
        inject: Box::new(Oversized),
        private: Some((Mutex::new(Box::new(server)), proxy)),
    }
}

async fn on_quorum() -> ServerHarness {
    let mut harness = on_shared().await;
    harness.kind = "rabbitmq/quorum";
    harness.url.push_str("?queue_type=quorum");
    harness
}

mod quorum {
    tradewind_broker::broker_conformance!(super::on_quorum);
}

broker_conformance!(on_shared);
broker_outage_conformance!(on_private);

mod rabbit;
