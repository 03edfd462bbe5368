//! What every control bus must do, as one async function per case, run by every driver's tests.
//!
//! A driver's test file implements [`Harness`] and calls [`crate::bus_conformance`] and, for drivers
//! with a server, [`crate::bus_outage_conformance`]. Buses are shared with other tests, so every case
//! looks only at nodes and events with names of its own.

#![allow(missing_docs, reason = "case names say what they check")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::{ControlRequest, Event, ReplyTo};
use tradewind_proto::clock::{Clock, SharedClock, SystemClock};
use uuid::Uuid;

use super::{ControlBus, EventStream, Mailbox, Reply};
use crate::Error;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(20);
/// How long an outage may be felt after its end; slow machines get as much again.
const RECOVERY: Duration = Duration::from_secs(20);
/// How long to look for something that must not happen.
const QUIET: Duration = Duration::from_millis(300);
/// Pause between repetitions of what an outage may swallow.
const AGAIN: Duration = Duration::from_millis(200);

/// What a driver's tests provide.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A bus as another process would open it.
    async fn open(&self, clock: SharedClock) -> Arc<dyn ControlBus>;
    /// Puts bytes that are no message onto the channels of events and of commands.
    async fn inject_malformed(&self);
    /// Kills the server (`kill -9`) and starts it again.
    async fn restart(&self);
    /// Cuts all links; none can be made until [`Harness::restore`].
    async fn cut(&self);
    /// Lets links be made again.
    async fn restore(&self);
}

/// Defines one test per case; `$make` is an async function that returns a [`Harness`].
#[macro_export]
macro_rules! bus_conformance {
    ($make:path) => {
        $crate::bus_conformance!(@run $make:
            events_arrive_with_all_members, lists_are_unpacked_in_order, every_monitor_sees_all,
            a_command_reaches_all_nodes, a_command_reaches_only_the_named,
            a_command_reaches_what_a_pattern_matches, answers_are_collected,
            asking_ends_with_the_last_expected_answer, nobody_answers, questions_do_not_mix,
            late_commands_are_skipped, a_reply_to_nobody_is_no_error,
            malformed_bytes_are_skipped, a_slow_monitor_loses_the_oldest,
            a_cancelled_wait_loses_nothing, a_closed_bus_says_so);
    };
    (@run $make:path: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let harness = $make().await;
                $crate::control::conformance::$case(&harness).await;
            }
        )+
    };
}

/// As [`bus_conformance`], for cases that kill the server or cut links: `$make` must return a
/// harness with a server of its own.
#[macro_export]
macro_rules! bus_outage_conformance {
    ($make:path) => {
        $crate::bus_conformance!(@run $make: a_cut_link_is_mended, a_killed_server_is_found_again,
            an_unreachable_server_is_told);
    };
}

async fn open(harness: &dyn Harness) -> Arc<dyn ControlBus> {
    harness.open(Arc::new(SystemClock)).await
}

fn name(what: &str) -> String {
    format!("{what}@{}", &Uuid::new_v4().simple().to_string()[..10])
}

fn event(kind: &str, sender: &str, n: u64) -> Event {
    let members = json!({
        "hostname": sender, "utcoffset": -1, "pid": 42, "clock": n, "timestamp": 1_700_000_000.25,
        "uuid": "a-task", "args": "('grüße 🎈',)", "loadavg": [0.5, 1.0, 2.25], "eta": null,
    });
    Event::new(kind, members)
}

fn command(method: &str) -> ControlRequest {
    ControlRequest { method: method.to_owned(), ..ControlRequest::default() }
}

fn to(mut request: ControlRequest, nodes: &[&str]) -> ControlRequest {
    request.destination = Some(nodes.iter().map(|node| (*node).to_owned()).collect());
    request
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(SOON, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {SOON:?}"),
    }
}

/// The next `count` events of a sender.
async fn events(stream: &mut dyn EventStream, sender: &str, count: usize) -> Vec<Event> {
    let mut found = Vec::new();
    let reading = async {
        while found.len() < count {
            match stream.next().await {
                Ok(batch) => {
                    found.extend(batch.into_iter().filter(|e| e.text("hostname") == Some(sender)));
                }
                Err(error) => assert!(error.is_retryable(), "cannot be retried: {error}"),
            }
        }
    };
    within("events", reading).await;
    found
}

/// The next command of a method of the case's own.
async fn next(mailbox: &mut dyn Mailbox, method: &str) -> ControlRequest {
    let reading = async {
        loop {
            match mailbox.next().await {
                Ok(request) if request.method == method => return request,
                Ok(_) => {}
                Err(error) => assert!(error.is_retryable(), "cannot be retried: {error}"),
            }
        }
    };
    within("a command", reading).await
}

/// Whether no command of a method arrives for a while.
async fn quiet(mailbox: &mut dyn Mailbox, method: &str) -> bool {
    let reading = async { while mailbox.next().await.is_ok_and(|r| r.method != method) {} };
    timeout(QUIET, reading).await.is_err()
}

/// Answers every command of a method with its own node name.
fn answering(
    bus: &Arc<dyn ControlBus>,
    mut mailbox: Box<dyn Mailbox>,
    node: &str,
    method: &str,
) -> tokio_util::task::AbortOnDropHandle<()> {
    let (bus, node, method) = (Arc::clone(bus), node.to_owned(), method.to_owned());
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let Ok(request) = mailbox.next().await else { continue };
            if request.method == method {
                let value = json!({"ok": request.arguments, "node": node});
                let _lost = bus.reply(&request, Reply { node: node.clone(), value }).await;
            }
        }
    }))
}

pub async fn events_arrive_with_all_members(harness: &dyn Harness) {
    let (sender, bus) = (name("celery"), open(harness).await);
    let mut stream = open(harness).await.subscribe_events().await.expect("subscribed");
    let sent = event("worker-heartbeat", &sender, 7);
    bus.publish_events(std::slice::from_ref(&sent)).await.expect("published");
    assert_eq!(events(&mut *stream, &sender, 1).await, [sent]);
}

pub async fn lists_are_unpacked_in_order(harness: &dyn Harness) {
    let (sender, bus) = (name("celery"), open(harness).await);
    let mut stream = bus.subscribe_events().await.expect("subscribed");
    let mut sent: Vec<Event> = (0..250).map(|n| event("task-received", &sender, n)).collect();
    sent.push(event("worker-heartbeat", &sender, 250));
    sent.push(event("task-succeeded", &sender, 251));
    bus.publish_events(&sent).await.expect("published");
    assert_eq!(events(&mut *stream, &sender, sent.len()).await, sent);
}

pub async fn every_monitor_sees_all(harness: &dyn Harness) {
    let (sender, bus) = (name("celery"), open(harness).await);
    let mut one = bus.subscribe_events().await.expect("subscribed");
    let mut other = open(harness).await.subscribe_events().await.expect("subscribed");
    let sent = [event("task-sent", &sender, 1)];
    bus.publish_events(&sent).await.expect("published");
    assert_eq!(events(&mut *one, &sender, 1).await, sent);
    assert_eq!(events(&mut *other, &sender, 1).await, sent);
}

pub async fn a_command_reaches_all_nodes(harness: &dyn Harness) {
    let (method, bus) = (name("all"), open(harness).await);
    let other = open(harness).await;
    let mut a = bus.open_mailbox(&name("a")).await.expect("a mailbox");
    let mut b = other.open_mailbox(&name("b")).await.expect("a mailbox");
    let mut request = command(&method);
    request.arguments.insert("n".to_owned(), json!({"deep": [1, null, "ü"]}));
    bus.broadcast(request.clone()).await.expect("sent");
    assert_eq!(next(&mut *a, &method).await, request);
    assert_eq!(next(&mut *b, &method).await, request);
}

pub async fn a_command_reaches_only_the_named(harness: &dyn Harness) {
    let (method, bus) = (name("named"), open(harness).await);
    let (a_name, b_name) = (name("a"), name("b"));
    let mut a = bus.open_mailbox(&a_name).await.expect("a mailbox");
    let mut b = bus.open_mailbox(&b_name).await.expect("a mailbox");
    bus.broadcast(to(command(&method), &[&b_name])).await.expect("sent");
    next(&mut *b, &method).await;
    assert!(quiet(&mut *a, &method).await);
}

pub async fn a_command_reaches_what_a_pattern_matches(harness: &dyn Harness) {
    let (method, bus) = (name("pattern"), open(harness).await);
    let (a_name, b_name) = (name("a"), name("b"));
    let mut a = bus.open_mailbox(&a_name).await.expect("a mailbox");
    let mut b = bus.open_mailbox(&b_name).await.expect("a mailbox");
    for (matcher, pattern) in [("glob", "a@*"), ("pcre", "[ac]@.+$")] {
        let mut request = command(&method);
        request.matcher = Some(matcher.to_owned());
        request.pattern = Some(pattern.to_owned());
        bus.broadcast(request).await.expect("sent");
        next(&mut *a, &method).await;
    }
    assert!(quiet(&mut *b, &method).await);
}

pub async fn answers_are_collected(harness: &dyn Harness) {
    let (method, bus) = (name("ping"), open(harness).await);
    let (a, b) = (name("a"), name("b"));
    let a_box = bus.open_mailbox(&a).await.expect("a mailbox");
    let b_box = bus.open_mailbox(&b).await.expect("a mailbox");
    let _a = answering(&bus, a_box, &a, &method);
    let _b = answering(&bus, b_box, &b, &method);
    let mut request = command(&method);
    request.arguments.insert("x".to_owned(), json!(1));
    let asker = open(harness).await;
    let mut replies = asker.ask(request, SOON, Some(2)).await.expect("asked");
    replies.sort_by(|one, other| one.node.cmp(&other.node));
    let reply =
        |node: &String| Reply { node: node.clone(), value: json!({"ok": {"x": 1}, "node": node}) };
    assert_eq!(replies, [reply(&a), reply(&b)]);
}

pub async fn asking_ends_with_the_last_expected_answer(harness: &dyn Harness) {
    let (method, bus) = (name("ping"), open(harness).await);
    let (a, b) = (name("a"), name("b"));
    let a_box = bus.open_mailbox(&a).await.expect("a mailbox");
    let b_box = bus.open_mailbox(&b).await.expect("a mailbox");
    let _a = answering(&bus, a_box, &a, &method);
    let _b = answering(&bus, b_box, &b, &method);
    let wait = SOON * 10;
    let one = within("one answer", bus.ask(command(&method), wait, Some(1))).await;
    assert_eq!(one.expect("asked").len(), 1);
    // As many as are named, without being told how many.
    let named = to(command(&method), &[&a, &b]);
    let both = within("both answers", bus.ask(named, wait, None)).await;
    assert_eq!(both.expect("asked").len(), 2);
}

pub async fn nobody_answers(harness: &dyn Harness) {
    let bus = open(harness).await;
    let started = Instant::now();
    let wait = Duration::from_millis(200);
    let asking = bus.ask(to(command(&name("ping")), &["nobody@here"]), wait, None);
    assert_eq!(within("the end of the waiting", asking).await, Ok(Vec::new()));
    assert!(started.elapsed() >= wait);
}

pub async fn questions_do_not_mix(harness: &dyn Harness) {
    let (method, bus) = (name("ping"), open(harness).await);
    let a = name("a");
    let a_box = bus.open_mailbox(&a).await.expect("a mailbox");
    let _a = answering(&bus, a_box, &a, &method);
    let asker = open(harness).await;
    let ask = |n: u64| {
        let mut request = to(command(&method), &[&a]);
        request.arguments.insert("n".to_owned(), json!(n));
        asker.ask(request, SOON, None)
    };
    let answers = futures::future::join_all((0..20).map(ask)).await;
    for (n, replies) in answers.into_iter().enumerate() {
        let replies = replies.expect("asked");
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].value["ok"]["n"], json!(n));
    }
}

/// A clock that is an hour slow.
#[derive(Debug)]
struct Slow;

impl Clock for Slow {
    fn now(&self) -> Timestamp {
        let hour = 3_600_000_000;
        tradewind_proto::clock::from_micros(SystemClock.now().as_microsecond() - hour)
    }
}

pub async fn late_commands_are_skipped(harness: &dyn Harness) {
    let (method, node) = (name("late"), name("a"));
    let sender = open(harness).await;
    // The node's clock is right and the sender's is slow; in memory both share one bus and clock.
    let late = harness.open(Arc::new(Slow)).await;
    if Arc::ptr_eq(&sender, &late) || sender.kind() == "memory" {
        return;
    }
    let mut mailbox = sender.open_mailbox(&node).await.expect("a mailbox");
    let asked = late.ask(to(command(&method), &[&node]), QUIET, None).await;
    assert_eq!(asked, Ok(Vec::new()));
    sender.broadcast(command(&format!("{method}-end"))).await.expect("sent");
    let first = within("a command", async {
        loop {
            let request = mailbox.next().await.expect("a command");
            if request.method.starts_with(&method) {
                return request.method;
            }
        }
    });
    assert_eq!(first.await, format!("{method}-end"));
}

pub async fn a_reply_to_nobody_is_no_error(harness: &dyn Harness) {
    let bus = open(harness).await;
    let reply = Reply { node: name("a"), value: json!({"ok": "pong"}) };
    let mut request = command("ping");
    bus.reply(&request, reply.clone()).await.expect("nobody waits");
    request.reply_to = Some(ReplyTo {
        exchange: "reply.celery.pidbox".to_owned(),
        routing_key: Uuid::new_v4().hyphenated().to_string(),
    });
    bus.reply(&request, reply.clone()).await.expect("nobody is there");
    bus.reply(&request, reply).await.expect("still no error");
    bus.broadcast(command(&name("after"))).await.expect("the link is fine");
}

pub async fn malformed_bytes_are_skipped(harness: &dyn Harness) {
    let (sender, method, bus) = (name("celery"), name("fine"), open(harness).await);
    let mut stream = bus.subscribe_events().await.expect("subscribed");
    let mut mailbox = bus.open_mailbox(&name("a")).await.expect("a mailbox");
    harness.inject_malformed().await;
    let sent = [event("worker-online", &sender, 1)];
    bus.publish_events(&sent).await.expect("published");
    bus.broadcast(command(&method)).await.expect("sent");
    assert_eq!(events(&mut *stream, &sender, 1).await, sent);
    next(&mut *mailbox, &method).await;
}

/// The harness must have opened the bus with `events_buffered_max` of 1,000.
pub async fn a_slow_monitor_loses_the_oldest(harness: &dyn Harness) {
    let (sender, bus) = (name("celery"), open(harness).await);
    let mut slow = bus.subscribe_events().await.expect("subscribed");
    let mut quick = bus.subscribe_events().await.expect("subscribed");
    for block in 0..30 {
        let sent: Vec<Event> =
            (0..100).map(|n| event("task-started", &sender, block * 100 + n)).collect();
        bus.publish_events(&sent).await.expect("published");
        assert_eq!(events(&mut *quick, &sender, 100).await.len(), 100);
    }
    let all_were_received = async {
        while slow.dropped() < 2_000 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    within("the loss of the oldest", all_were_received).await;
    let mut last = None;
    while last != Some(2_999) {
        last = events(&mut *slow, &sender, 1).await.last().and_then(|e| e.0["clock"].as_u64());
    }
}

pub async fn a_cancelled_wait_loses_nothing(harness: &dyn Harness) {
    let (sender, method, bus) = (name("celery"), name("fine"), open(harness).await);
    let mut stream = bus.subscribe_events().await.expect("subscribed");
    let mut mailbox = bus.open_mailbox(&name("a")).await.expect("a mailbox");
    for n in 0..50 {
        let sent = [event("task-started", &sender, n)];
        bus.publish_events(&sent).await.expect("published");
        bus.broadcast(command(&method)).await.expect("sent");
        // A wait that is given up at once, wherever the message is by then.
        let given_up = timeout(Duration::ZERO, mailbox.next()).await;
        if !given_up.is_ok_and(|got| got.is_ok_and(|request| request.method == method)) {
            next(&mut *mailbox, &method).await;
        }
        assert_eq!(events(&mut *stream, &sender, 1).await, sent);
    }
}

pub async fn a_closed_bus_says_so(harness: &dyn Harness) {
    let bus = open(harness).await;
    let mut stream = bus.subscribe_events().await.expect("subscribed");
    let mut mailbox = bus.open_mailbox(&name("a")).await.expect("a mailbox");
    bus.close().await;
    let ended = async { while stream.next().await != Err(Error::Closed) {} };
    within("the end of the stream", ended).await;
    let ended = async { while mailbox.next().await != Err(Error::Closed) {} };
    within("the end of the mailbox", ended).await;
    assert_eq!(bus.broadcast(command("ping")).await, Err(Error::Closed));
    assert_eq!(bus.publish_events(&[event("task-sent", "x", 1)]).await, Err(Error::Closed));
    assert!(bus.subscribe_events().await.is_err());
}

/// Whether events, commands and answers pass, each tried again until it does or time is up.
async fn all_pass(
    bus: &Arc<dyn ControlBus>,
    stream: &mut dyn EventStream,
    node: &str,
    method: &str,
) {
    let sender = name("celery");
    let events = async {
        loop {
            // What is published while the monitor is not back yet is lost, as with Celery.
            let _lost = bus.publish_events(&[event("task-sent", &sender, 1)]).await;
            let read = timeout(AGAIN, stream.next()).await;
            let is_mine = |e: &Event| e.text("hostname") == Some(&sender);
            if read.is_ok_and(|got| got.is_ok_and(|batch| batch.iter().any(is_mine))) {
                return;
            }
        }
    };
    let recovered = timeout(RECOVERY, events).await;
    recovered.expect("events pass again in time");
    let answers = async {
        loop {
            let asked = bus.ask(to(command(method), &[node]), AGAIN * 5, None).await;
            if asked.is_ok_and(|replies| replies.len() == 1) {
                return;
            }
            sleep(AGAIN).await;
        }
    };
    timeout(RECOVERY, answers).await.expect("commands and answers pass again in time");
}

pub async fn a_cut_link_is_mended(harness: &dyn Harness) {
    let (method, node, bus) = (name("ping"), name("a"), open(harness).await);
    let mut stream = bus.subscribe_events().await.expect("subscribed");
    let mailbox = bus.open_mailbox(&node).await.expect("a mailbox");
    let _node = answering(&bus, mailbox, &node, &method);
    all_pass(&bus, &mut *stream, &node, &method).await;
    for _ in 0..3 {
        harness.cut().await;
        assert!(bus.broadcast(command("ping")).await.is_err_and(|error| error.is_retryable()));
        harness.restore().await;
        all_pass(&bus, &mut *stream, &node, &method).await;
    }
}

pub async fn a_killed_server_is_found_again(harness: &dyn Harness) {
    let (method, node, bus) = (name("ping"), name("a"), open(harness).await);
    let mut stream = bus.subscribe_events().await.expect("subscribed");
    let mailbox = bus.open_mailbox(&node).await.expect("a mailbox");
    let _node = answering(&bus, mailbox, &node, &method);
    all_pass(&bus, &mut *stream, &node, &method).await;
    harness.restart().await;
    all_pass(&bus, &mut *stream, &node, &method).await;
}

pub async fn an_unreachable_server_is_told(harness: &dyn Harness) {
    let bus = open(harness).await;
    harness.cut().await;
    let sent = [event("task-sent", &name("a"), 1)];
    let errors = [
        bus.publish_events(&sent).await.err(),
        bus.broadcast(command("ping")).await.err(),
        bus.ask(command("ping"), QUIET, None).await.err(),
        bus.subscribe_events().await.err(),
        bus.open_mailbox("a").await.err(),
    ];
    for error in errors {
        let error = error.expect("an error");
        assert!(error.is_retryable() && !error.to_string().contains("guest:"), "{error}");
    }
    harness.restore().await;
    let mut stream = within("a subscription", async {
        loop {
            match bus.subscribe_events().await {
                Ok(stream) => return stream,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            sleep(AGAIN).await;
        }
    })
    .await;
    bus.publish_events(&sent).await.expect("published");
    let sender = sent[0].text("hostname").expect("a name");
    assert_eq!(events(&mut *stream, sender, 1).await, sent);
}
