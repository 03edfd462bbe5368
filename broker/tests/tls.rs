//! TLS to servers whose certificates a private authority has signed.

use std::sync::Arc;

use tradewind_broker::conformance::{drain, fill, queue};
use tradewind_broker::{BrokerOptions, Error, open};
use tradewind_proto::clock::SystemClock;
use tradewind_services::{Rabbit, RabbitOptions, Redis, Tls};

/// With the authority messages pass; without it no connection is made.
async fn passes_with_the_authority_only(url: &str, tls: &Tls) {
    let trusting = BrokerOptions { ca_file: Some(tls.authority()), ..BrokerOptions::default() };
    let broker = open(url, &trusting, Arc::new(SystemClock)).await.expect("open");
    let q = queue("secret");
    let mut consumer = broker.consume(std::slice::from_ref(&q), 4).await.expect("consume");
    fill(&*broker, &q, 3).await;
    assert_eq!(drain(&mut *consumer, 3).await, [0, 1, 2]);
    let wary = BrokerOptions::default();
    let broker = open(url, &wary, Arc::new(SystemClock)).await.expect("open");
    let refused = broker.health().await;
    assert!(refused.is_err(), "an unknown authority was trusted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_over_tls() {
    let tls = Tls::new().expect("certificates");
    let server = Redis::start_tls(&tls).expect("redis");
    passes_with_the_authority_only(server.url(), &tls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_over_tls() {
    let tls = Tls::new().expect("certificates");
    let options = RabbitOptions { tls: Some(tls.dir().to_path_buf()), ..RabbitOptions::default() };
    let server = Rabbit::start_with(options).expect("rabbitmq");
    passes_with_the_authority_only(server.tls_url(), &tls).await;
}

#[tokio::test]
async fn a_file_without_certificates_is_refused() {
    for path in ["/no/such/file.pem", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let options = BrokerOptions { ca_file: Some(path.into()), ..BrokerOptions::default() };
        for url in ["rediss://localhost/0", "amqps://localhost"] {
            let opened = open(url, &options, Arc::new(SystemClock)).await;
            let Err(Error::Config(text)) = opened else { panic!("{path} was taken: {opened:?}") };
            assert!(text.contains("ca_file") && text.contains(path), "{text}");
        }
    }
}
