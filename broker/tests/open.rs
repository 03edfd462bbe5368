//! URLs and options: what is refused, and that no refusal shows a password.

use std::sync::Arc;

use tradewind_broker::{BrokerOptions, Error, open};
use tradewind_proto::clock::SystemClock;

async fn refusal(url: &str, options: &BrokerOptions) -> String {
    match open(url, options, Arc::new(SystemClock)).await {
        Err(Error::Config(text)) => text,
        other => panic!("{url} gave {other:?}"),
    }
}

#[tokio::test]
async fn every_form_of_url_opens_its_driver() {
    for (url, kind) in [
        ("memory://", "memory"),
        ("redis://localhost:6379/3", "redis"),
        ("rediss://:secret@localhost/0?ssl_cert_reqs=none", "redis"),
        ("amqp://guest:guest@localhost:5672//", "rabbitmq"),
        ("amqps://user:secret@localhost/vhost?queue_type=quorum", "rabbitmq"),
        ("pyamqp://localhost", "rabbitmq"),
    ] {
        let broker = open(url, &BrokerOptions::default(), Arc::new(SystemClock)).await;
        assert_eq!(broker.expect(url).kind(), kind);
    }
}

#[tokio::test]
async fn a_refusal_names_the_valid_forms_and_no_secret() {
    let options = BrokerOptions::default();
    for url in ["sqs://user:secret@host", "no url with secret", "redis://:secret@host:99999/0"] {
        let text = refusal(url, &options).await;
        assert!(text.contains("redis://") && text.contains("amqp"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    let text = refusal("redis://:secret@host/notanumber", &options).await;
    assert!(!text.contains("secret"), "{text}");
    let text = refusal("amqp://u:secret@host/?queue_type=stream", &options).await;
    assert!(text.contains("classic or quorum") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn options_out_of_range_are_named() {
    let bad = [
        BrokerOptions { lease_ms: 5, ..BrokerOptions::default() },
        BrokerOptions { poll_max_ms: 0, ..BrokerOptions::default() },
        BrokerOptions { priority_steps: vec![3, 6], ..BrokerOptions::default() },
        BrokerOptions { max_priority: Some(0), ..BrokerOptions::default() },
    ];
    for (options, name) in
        bad.iter().zip(["lease_ms", "poll_max_ms", "priority_steps", "max_priority"])
    {
        let text = refusal("memory://", options).await;
        assert!(text.contains(name), "{text}");
    }
    assert!(serde_json::from_str::<BrokerOptions>(r#"{"leese_ms": 1}"#).is_err());
    let parsed: BrokerOptions = serde_json::from_str(r#"{"queue_kind": "quorum"}"#).expect("json");
    assert_eq!(parsed.queue_kind, tradewind_broker::QueueKind::Quorum);
}

#[tokio::test]
async fn an_unreachable_server_is_a_retryable_error_without_secrets() {
    for url in ["redis://:hidden@127.0.0.1:1/0", "amqp://user:hidden@127.0.0.1:1/%2f"] {
        let options = BrokerOptions::default();
        let broker = open(url, &options, Arc::new(SystemClock)).await.expect("opens unconnected");
        let error = broker.health().await.expect_err("nobody listens there");
        assert!(error.is_retryable(), "{error}");
        assert!(!format!("{error:?}{broker:?}").contains("hidden"), "{error:?} {broker:?}");
    }
}
