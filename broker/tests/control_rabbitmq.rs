//! The control bus on RabbitMQ against the suite, and beside exchanges that kombu declared.

mod control;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use control::{Inject, Served, options};
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};
use tradewind_broker::{BusOptions, bus_conformance, bus_outage_conformance, open_bus};
use tradewind_proto::celery::ControlRequest;
use tradewind_proto::clock::SystemClock;
use tradewind_services::{Proxy, Rabbit, shared, unique};

const SOON: Duration = Duration::from_secs(20);

struct Garbage;

#[async_trait]
impl Inject for Garbage {
    async fn inject(&self, url: &str) {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(url, properties).await.expect("connect");
        let channel = connection.create_channel().await.expect("channel");
        let typed = |kind: &str| BasicProperties::default().with_content_type(kind.into());
        let messages = [
            (typed("application/json"), &b"\x80\x04"[..]),
            (typed("application/json"), b""),
            (typed("application/json"), b"[1]"),
            (typed("application/json"), b"{}"),
            (typed("application/x-python-serialize"), b"{}"),
            (BasicProperties::default(), b"no type"),
        ];
        for (properties, bytes) in messages {
            for (exchange, key) in [("celeryev", "task.sent"), ("celery.pidbox", "")] {
                let options = BasicPublishOptions::default();
                let properties = properties.clone();
                let publish =
                    channel.basic_publish(exchange.into(), key.into(), options, bytes, properties);
                publish.await.expect("publish").await.expect("written");
            }
        }
        connection.close(200, "done".into()).await.expect("close");
    }
}

async fn on_shared() -> Served {
    let url = tokio::task::block_in_place(shared::amqp_url);
    Served { url, inject: Box::new(Garbage), private: None }
}

async fn on_private() -> Served {
    let mut server = Rabbit::start().expect("rabbitmq");
    let proxy = Proxy::start(server.port()).expect("proxy");
    let url = proxy.url(server.url());
    let restart = move || {
        server.kill9();
        server.restart().expect("rabbitmq comes back");
    };
    let private = Some((proxy, Mutex::new(Box::new(restart) as control::Restart)));
    Served { url, inject: Box::new(Garbage), private }
}

bus_conformance!(on_shared);
bus_outage_conformance!(on_private);

/// kombu's exchanges, with a name of the test's own in place of `celery`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_agree_with_kombus_declarations() {
    let namespace = unique("fleet");
    let options = BusOptions {
        namespace: namespace.clone(),
        event_exchange: format!("{namespace}ev"),
        ..options()
    };
    let url = tokio::task::block_in_place(shared::amqp_url);
    let bus = open_bus(&url, &options, Arc::new(SystemClock)).await.expect("a bus");
    let _stream = bus.subscribe_events().await.expect("subscribed");
    let link = Connection::connect(&url, ConnectionProperties::default()).await.expect("connect");
    let channel = link.create_channel().await.expect("channel");
    // Anything else than what is there would be refused.
    for (name, kind, durable) in [
        (format!("{namespace}ev"), ExchangeKind::Topic, true),
        (format!("{namespace}.pidbox"), ExchangeKind::Fanout, false),
        (format!("reply.{namespace}.pidbox"), ExchangeKind::Direct, false),
    ] {
        let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
        let name = name.as_str().into();
        let declaring = channel.exchange_declare(name, kind, options, FieldTable::default());
        declaring.await.expect("the same declaration");
    }
}

/// The name of a mailbox may be taken: by a link that the server has not missed yet, or by a queue
/// that kombu 5.6 declared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_opens_although_its_name_is_taken() {
    let (node, method) = (unique("celery@node"), unique("hello"));
    let url = tokio::task::block_in_place(shared::amqp_url);
    let link = Connection::connect(&url, ConnectionProperties::default()).await.expect("connect");
    let channel = link.create_channel().await.expect("channel");
    let declare = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
    let name = format!("{node}.celery.pidbox");
    let declaring = channel.queue_declare(name.into(), declare, FieldTable::default());
    declaring.await.expect("a queue");
    let bus = open_bus(&url, &options(), Arc::new(SystemClock)).await.expect("a bus");
    let mut mailbox = bus.open_mailbox(&node).await.expect("a mailbox");
    let mut second = bus.open_mailbox(&node).await.expect("a mailbox of the same name");
    bus.broadcast(ControlRequest { method: method.clone(), ..ControlRequest::default() })
        .await
        .expect("sent");
    for mailbox in [&mut mailbox, &mut second] {
        let arrives = async { while mailbox.next().await.expect("a command").method != method {} };
        tokio::time::timeout(SOON, arrives).await.expect("in time");
    }
}
