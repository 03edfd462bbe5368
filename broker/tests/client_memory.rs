//! The client on in-process parts, with a worker of a few lines behind it.

mod client;

use std::time::Duration;

use client::{Parts, parts, spawn_worker};
use serde_json::json;
use tradewind_broker::client::{ClientError, Route, Routes, TaskCall};
use tradewind_broker::{Error, ExchangeType, QueueBinding};
use tradewind_proto::celery::{Request, Signature};

/// Nothing here takes longer without being wrong.
const LIMIT: Duration = Duration::from_secs(20);

fn add(a: i64, b: i64) -> Signature {
    Signature::new("add").args([json!(a), json!(b)])
}

#[tokio::test]
async fn a_call_becomes_the_message_that_it_describes() {
    let Parts { client, broker, .. } = parts(Routes::new("default"));
    let call = TaskCall::new("add")
        .args((1, "zwei"))
        .kwargs(json!({"x": null}))
        .kwarg("y", [1.5])
        .task_id("mine")
        .queue("fast")
        .priority(4)
        .countdown(Duration::from_secs(60))
        .expires_in(Duration::from_secs(90))
        .time_limit(Duration::from_secs(30))
        .soft_time_limit(Duration::from_millis(1500))
        .header("tenant", "acme")
        .shadow("Addition")
        .ignore_result()
        .link(Signature::new("ok"))
        .link_error(Signature::new("oops"));
    let handle = client.send(call).await.expect("sent");
    assert_eq!(handle.id(), "mine");
    let message = broker.peek("fast", 1).await.expect("a message").remove(0);
    let expires_ms = message.expiration_ms.expect("an expiration");
    assert!((89_000..=90_000).contains(&expires_ms), "{expires_ms}");
    assert_eq!((message.priority, message.correlation_id.as_str()), (4, "mine"));
    let request = Request::decode(&message).expect("a request");
    assert_eq!(request.args, [json!(1), json!("zwei")]);
    assert_eq!(json!(request.kwargs), json!({"x": null, "y": [1.5]}));
    assert_eq!(
        (request.argsrepr.as_str(), request.root_id.as_deref()),
        ("(1, 'zwei')", Some("mine"))
    );
    assert_eq!((request.time_limit, request.soft_time_limit), (Some(30.0), Some(1.5)));
    assert!(request.ignore_result && request.eta < request.expires && request.eta.is_some());
    assert_eq!(request.headers["tenant"], json!("acme"));
    assert_eq!(request.headers["shadow"], json!("Addition"));
    assert_eq!((request.embed.callbacks.len(), request.embed.errbacks.len()), (1, 1));
    let origin = request.origin.expect("an origin");
    assert!(origin.starts_with("gen") && origin.contains('@'), "{origin}");
}

#[tokio::test]
async fn routes_decide_unless_the_call_does() {
    let routes = Routes::new("default");
    let routes = routes.add("mail.*", Route::queue("mail").priority(3)).expect("a route");
    let routes = routes.add("log.*", Route::exchange("logs", "log.all")).expect("a route");
    let Parts { client, broker, .. } = parts(routes);
    let binding = QueueBinding {
        exchange: "logs".to_owned(),
        exchange_type: ExchangeType::Topic,
        routing_key: "log.#".to_owned(),
    };
    broker.bind("archive", &binding).await.expect("bound");
    let calls = ["mail.send", "log.write", "other"].map(TaskCall::new);
    let own = TaskCall::new("mail.send").queue("mine").priority(9);
    let lost = TaskCall::new("x").exchange("nowhere", "y");
    let sent = client.send_many(calls.into_iter().chain([own, lost]).collect()).await;
    let ok: Vec<bool> = sent.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, true, true, false]);
    assert!(matches!(sent[4], Err(ClientError::Broker(Error::Unroutable { .. }))), "{:?}", sent[4]);
    for (queue, priority) in [("mail", 3), ("archive", 0), ("default", 0), ("mine", 9)] {
        let found = broker.peek(queue, 10).await.expect("messages");
        assert_eq!(found.len(), 1, "{queue}");
        assert_eq!(found[0].priority, priority, "{queue}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_says_so_and_holds_up_nobody() {
    let Parts { client, .. } = parts(Routes::new("default"));
    let not_json = std::collections::BTreeMap::from([(vec![1], 2)]);
    let calls = vec![
        TaskCall::new("a").arg(not_json),
        TaskCall::new("b"),
        TaskCall::new("c").arg("x".repeat(5 * 1024 * 1024)),
    ];
    let sent = client.send_many(calls).await;
    assert!(matches!(sent[0], Err(ClientError::Canvas(_))), "{:?}", sent[0]);
    assert!(sent[1].is_ok());
    assert!(matches!(sent[2], Err(ClientError::Broker(Error::TooLarge { .. }))), "{:?}", sent[2]);
}

#[tokio::test]
async fn results_come_back_as_values_and_as_errors() {
    let parts = parts(Routes::new("default"));
    let worker = spawn_worker(&parts);
    let client = &parts.client;
    let sum = client.send(add(2, 3)).await.expect("sent");
    assert_eq!(sum.result::<i64>(LIMIT).await, Ok(5));
    assert_eq!(sum.state().await.as_deref(), Ok("SUCCESS"));
    let wrong = sum.result::<String>(LIMIT).await.expect_err("not a text");
    assert!(matches!(wrong, ClientError::Unreadable { .. }), "{wrong}");
    sum.forget().await.expect("forgotten");
    assert_eq!(sum.state().await.as_deref(), Ok("PENDING"));
    let failed = client.send(TaskCall::new("fail")).await.expect("sent");
    let error = failed.result::<i64>(LIMIT).await.expect_err("a failure");
    assert_eq!(error.to_string(), format!("task {} failed: ValueError: no", failed.id()));
    let never = client.handle("never");
    let error = never.result::<i64>(Duration::from_millis(50)).await.expect_err("nothing");
    assert!(matches!(error, ClientError::Timeout { .. }) && error.is_retryable());
    worker.abort();
}

#[tokio::test]
async fn canvases_run_to_their_end() {
    let parts = parts(Routes::new("default"));
    let worker = spawn_worker(&parts);
    let client = &parts.client;
    let plus = |n: i64| Signature::new("add").arg(n);
    let sum = || Signature::new("sum");

    let chain = Signature::chain([add(1, 2), plus(10), plus(100)]);
    let handle = client.apply(chain).await.expect("sent");
    assert_eq!(handle.result::<i64>(LIMIT).await, Ok(113));
    let middle = handle.parent().expect("a parent");
    assert_eq!(middle.result::<i64>(LIMIT).await, Ok(13));
    let first = middle.parent().expect("a parent");
    let children = first.children().await.expect("children");
    assert_eq!(children.iter().map(|child| child.id()).collect::<Vec<_>>(), [middle.id()]);

    let group = client.apply(Signature::group([add(1, 1), add(2, 2)])).await.expect("sent");
    assert_eq!(group.join::<i64>(LIMIT).await, Ok(vec![2, 4]));
    assert_eq!(group.state().await.as_deref(), Ok("SUCCESS"));

    let chord = Signature::chord((0..20).map(|n| add(n, 0)), sum());
    let handle = client.apply(chord).await.expect("sent");
    assert_eq!(handle.result::<i64>(LIMIT).await, Ok(190));

    // group | sum | plus, inside a chain, with a chord in the header of another.
    let inner = Signature::chord([add(1, 1), add(2, 2)], sum());
    let spread = Signature::group([plus(1), plus(2), Signature::chain([plus(0), plus(3)])]);
    let long = Signature::chain([add(5, 5), spread, sum(), plus(1000)]);
    let nested = Signature::chord([inner, long], sum());
    let handle = client.apply(nested).await.expect("sent");
    assert_eq!(handle.result::<i64>(LIMIT).await, Ok(6 + (11 + 12 + 13) + 1000));

    let empty = client.apply(Signature::chord([], sum())).await.expect("sent");
    assert_eq!(empty.result::<i64>(LIMIT).await, Ok(0));
    let broken = Signature::chain([add(1, 2), Signature::new("fail"), plus(1)]);
    let handle = client.apply(broken).await.expect("sent");
    let error = handle.result::<i64>(LIMIT).await.expect_err("a failure before it");
    assert!(matches!(&error, ClientError::Failed { id, .. } if *id != handle.id()), "{error}");
    worker.abort();
}

#[tokio::test]
async fn a_revocation_reaches_the_fleet_and_its_memory() {
    let parts = parts(Routes::new("default"));
    let mut mailbox = parts.bus.open_mailbox("celery@here").await.expect("a mailbox");
    let group = Signature::group([add(1, 1), add(2, 2)]);
    let handle = parts.client.apply(group).await.expect("sent");
    handle.revoke(true).await.expect("revoked");
    let told = tokio::time::timeout(LIMIT, mailbox.next()).await.expect("in time").expect("told");
    let ids: Vec<String> = handle.members().iter().map(|one| one.id().to_owned()).collect();
    assert_eq!((told.method.as_str(), &told.arguments["task_id"]), ("revoke", &json!(ids)));
    assert_eq!(told.arguments["terminate"], json!(true));
    let known = parts.client.coordinator().are_revoked(&ids).await.expect("known");
    assert_eq!(known, [true, true]);
}
