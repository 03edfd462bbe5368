//! A fleet whose messages are signed and encrypted, as an operator sets it up: it works as any other, a
//! forged message is never run, and neither broker nor result backend holds what tasks are about.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tradewind_broker::client::{Client, ClientOptions, TaskCall};
use tradewind_broker::{BrokerOptions, ResultOptions, open, open_results};
use tradewind_proto::celery::Signature;
use tradewind_proto::clock::SystemClock;
use tradewind_services::{shared, unique};
use tradewind_tests::fleet::Fleet;
use tradewind_tests::poll::until;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(60);
/// What must not be found anywhere.
const SECRET: &str = "card-4711";

/// A home with keys, a task that answers, one that leaves a mark, and a beat.
fn fleet(broker: &str, results: &str, queue: &str) -> Fleet {
    let mut fleet = Fleet::new(broker, results, "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    let home = fleet.home().to_owned();
    for (name, seed) in [("sign", 7_u8), ("encrypt", 8)] {
        let key = (0..32).map(|n| format!("{:02x}", seed.wrapping_mul(n + 1))).collect::<String>();
        let path = home.join(format!("{name}.keys"));
        std::fs::write(&path, format!("2026-11 {key}\n")).expect("keys");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("rights");
    }
    let config = format!(
        "[security]\nsigning_keys = 'sign.keys'\nencryption_keys = 'encrypt.keys'\n\
         require_signature = true\nrequire_encryption = true\n\
         [tasks.\"{queue}.hello\"]\ncommand = ['echo', 'hello {{0}}']\nqueue = '{queue}'\n\
         [tasks.\"{queue}.mark\"]\ncommand = ['touch', '{}/{{0}}']\nqueue = '{queue}'\n\
         [beat.tick]\ntask = '{queue}.mark'\nargs = ['beaten']\nevery = 1\nqueue = '{queue}'\n",
        home.display()
    );
    std::fs::write(home.join("tradewind.toml"), config).expect("configuration");
    fleet
}

async fn client(broker: &str, results: &str, queue: &str, home: Option<&Path>) -> Client {
    let mut options = ClientOptions::new(broker);
    options.result_url = Some(results.to_owned());
    options.default_queue = queue.to_owned();
    if let Some(home) = home {
        options.broker.security.signing_keys = Some(home.join("sign.keys"));
        options.broker.security.encryption_keys = Some(home.join("encrypt.keys"));
    }
    Client::connect(options).await.expect("a client")
}

async fn works(broker: String, results: String) {
    let queue = unique("signed");
    let mut fleet = fleet(&broker, &results, &queue);
    let home = fleet.home().to_owned();
    let task = |name: &str| format!("{queue}.{name}");

    // What is on the way can be read by nobody.
    let aside = unique("signed");
    fleet.env.ok(&[
        "task",
        "send",
        &task("hello"),
        "-a",
        &json!([SECRET]).to_string(),
        "-q",
        &aside,
    ]);
    let raw = open(&broker, &BrokerOptions::default(), Arc::new(SystemClock)).await.expect("open");
    let stored = raw.peek(&aside, 1).await.expect("peek").pop().expect("it is there");
    let text = format!("{stored:?}{}", String::from_utf8_lossy(&stored.body));
    assert!(!text.contains(SECRET) && text.contains("<encrypted>"), "{text}");
    fleet.env.ok(&["purge", "-f", &aside]);

    // A chain: each step is sent by the worker.
    let worker = fleet.start(&["worker", "-Q", &queue, "-n", &format!("celery@{queue}"), "-E"]);
    let events = fleet.spawn(&["events", "--dump"]);
    let ours = client(&broker, &results, &queue, Some(&home)).await;
    let step = |args: Vec<Value>| Signature::new(task("hello")).args(args);
    let chain = Signature::chain([step(vec![json!(SECRET)]), step(vec![])]);
    let handle = ours.apply(chain).await.expect("sent");
    let end: String = handle.result(SOON).await.expect("a result");
    assert_eq!(end, format!("hello hello {SECRET}"));
    let backend = open_results(&results, &ResultOptions::default(), Arc::new(SystemClock)).await;
    let meta = backend.expect("open").get(handle.id()).await.expect("get").expect("stored").meta;
    let meta = String::from_utf8(meta).expect("text");
    assert!(!meta.contains(SECRET) && meta.contains("SUCCESS"), "{meta}");
    let shown = fleet.env.ok(&["task", "result", handle.id()]);
    assert_eq!(shown.trim(), end, "the command has the keys");

    // A client without keys, as any Celery client: set aside with the reason, and not run.
    let forger = client(&broker, &results, &queue, None).await;
    let call = TaskCall::new(task("mark")).args(("forged",));
    forger.send(call).await.expect("published");
    let letters = until("the dead letter", SOON, || {
        Some(fleet.env.rows(&["dlq", "list", &queue])).filter(|letters| !letters.is_empty())
    });
    let reason = letters[0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("signature: the message is not signed"), "{reason}");

    // The beat signs too, and what it sends comes behind the forged one.
    let beat = fleet.start(&["beat"]);
    until("the beat's task", SOON, || home.join("beaten").exists().then_some(()));
    assert!(!home.join("forged").exists(), "a forged message was run");
    assert_eq!(fleet.env.rows(&["dlq", "list", &queue]).len(), 1, "nothing else was refused");
    fleet.env.ok(&["dlq", "drop", &queue, "--all"]);
    for told in [worker.log(), worker.output(), events.output(), beat.log()] {
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_and_encrypted_fleet_on_redis() {
    let redis = tokio::task::block_in_place(shared::redis_url);
    works(redis.clone(), redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_and_encrypted_fleet_on_rabbitmq() {
    let (rabbit, redis) = tokio::task::block_in_place(|| (shared::amqp_url(), shared::redis_url()));
    works(rabbit, redis).await;
}
