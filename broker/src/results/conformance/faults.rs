//! Cases about dead readers, broken links and restarted servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{Inbox, Put};
use super::{
    Subject, TAKEOVER_LIMIT, TTL, ack, arrives, as_read, bodies, numbered, read, result, retried,
    unique, within,
};

/// A take-over that the server sees; well below a lease.
const AT_ONCE: Duration = Duration::from_secs(2);
/// The same with a poll in between.
const SEEN_LIMIT: Duration = Duration::from_secs(4);

/// Dropping a reader hands its items to a waiting one at once, in their order.
pub async fn items_of_a_dropped_reader_come_again_at_once(subject: &dyn Subject) {
    let (first, second) = (subject.open().await, subject.open().await);
    let name = unique("inbox");
    first.send(&name, numbered(0..50)).await.expect("a send");
    let mut dying = first.open_inbox(&name).await.expect("an inbox");
    let taken = read(&mut *dying, 50).await;
    ack(&mut *dying, &taken[..10]).await;
    let mut heir = second.open_inbox(&name).await.expect("an inbox");
    let dropped_at = Instant::now();
    drop(dying);
    let items = read(&mut *heir, 40).await;
    assert!(dropped_at.elapsed() < AT_ONCE, "{:?}", dropped_at.elapsed());
    assert_eq!(bodies(&items), numbered(10..50));
}

/// A reader whose link is cut loses its items to the others: at once where the server ties readers
/// to connections, else within the lease.
pub async fn items_of_a_cut_reader_come_again(subject: &dyn Subject) {
    let (cut_off, heir) = (subject.open_cuttable().await, subject.open().await);
    let name = unique("inbox");
    heir.send(&name, numbered(0..20)).await.expect("a send");
    let mut dying = cut_off.open_inbox(&name).await.expect("an inbox");
    read(&mut *dying, 20).await;
    let mut inbox = heir.open_inbox(&name).await.expect("an inbox");
    let cut_at = Instant::now();
    subject.cut();
    let items = read(&mut *inbox, 20).await;
    let limit = if heir.kind() == "redis" { TAKEOVER_LIMIT } else { SEEN_LIMIT };
    assert!(cut_at.elapsed() <= limit, "{:?}", cut_at.elapsed());
    assert_eq!(bodies(&items), numbered(0..20));
    ack(&mut *inbox, &items).await;
    drop(dying);
}

/// The same when nobody can see the link end: the lease decides.
pub async fn items_of_a_silent_reader_come_again(subject: &dyn Subject) {
    let (silent, heir) = (subject.open_cuttable().await, subject.open().await);
    let name = unique("inbox");
    heir.send(&name, numbered(0..20)).await.expect("a send");
    let mut dying = silent.open_inbox(&name).await.expect("an inbox");
    read(&mut *dying, 20).await;
    let mut inbox = heir.open_inbox(&name).await.expect("an inbox");
    let silent_at = Instant::now();
    subject.silence();
    let items = read(&mut *inbox, 20).await;
    assert!(silent_at.elapsed() <= TAKEOVER_LIMIT, "{:?}", silent_at.elapsed());
    assert_eq!(bodies(&items), numbered(0..20));
    ack(&mut *inbox, &items).await;
    drop(dying);
}

/// Reads until all of `expected` came at least once.
async fn read_all(inbox: &mut dyn Inbox, expected: Vec<Vec<u8>>) {
    let mut missing: BTreeSet<_> = expected.into_iter().collect();
    while !missing.is_empty() {
        for item in read(inbox, 1).await {
            missing.remove(&item.body);
            retried_ack(inbox, &item.tag).await;
        }
    }
}

async fn retried_ack(inbox: &mut dyn Inbox, tag: &str) {
    // The link may break again between a read and its ack; the item then comes again.
    if let Err(error) = inbox.ack(&[tag.to_owned()]).await {
        assert!(error.is_retryable(), "{error}");
    }
}

/// A reader whose link comes back reads on by itself.
pub async fn a_cut_reader_reads_on(subject: &dyn Subject) {
    let (cut_off, sender) = (subject.open_cuttable().await, subject.open().await);
    let name = unique("inbox");
    let mut inbox = cut_off.open_inbox(&name).await.expect("an inbox");
    sender.send(&name, numbered(0..5)).await.expect("a send");
    read_all(&mut *inbox, numbered(0..5)).await;
    subject.cut();
    sender.send(&name, numbered(5..10)).await.expect("a send");
    let failed = within("the cut", inbox.next_batch(1)).await;
    assert!(failed.is_err_and(|e| e.is_retryable()), "the cut was not noticed");
    subject.mend();
    read_all(&mut *inbox, numbered(5..10)).await;
    retried("a send", || cut_off.send(&name, numbered(10..15))).await;
    read_all(&mut *inbox, numbered(10..15)).await;
}

/// A wait rides out a broken link.
pub async fn a_cut_wait_still_ends(subject: &dyn Subject) {
    let (cut_off, writer) = (subject.open_cuttable().await, subject.open().await);
    let done = result(&unique("task"), 1, "SUCCESS", &*cut_off);
    let waiting = {
        let (cut_off, id) = (Arc::clone(&cut_off), done.task_id.clone());
        tokio::spawn(async move { cut_off.wait(&id, TTL).await })
    };
    subject.cut();
    writer.put(done.clone(), TTL).await.expect("a put");
    subject.mend();
    let found = within("a wait", waiting).await.expect("the waiter");
    assert_eq!(found.expect("a wait"), Some(as_read(done)));
}

/// A stored result is still there after the server was restarted.
pub async fn results_survive_a_restart(subject: &dyn Subject) {
    let backend = subject.open().await;
    let done = result(&unique("task"), 4, "SUCCESS", &*backend);
    backend.put(done.clone(), TTL).await.expect("a put");
    subject.restart();
    arrives(&*backend, &done).await;
    let late = result(&done.task_id, 3, "FAILURE", &*backend);
    let put = retried("a put", || backend.put(late.clone(), TTL)).await;
    assert_eq!(put, Put::Superseded);
}

/// Sent items are still there after the server was restarted, read ones too until acked.
pub async fn inbox_items_survive_a_restart(subject: &dyn Subject) {
    let backend = subject.open().await;
    let name = unique("inbox");
    backend.send(&name, numbered(0..100)).await.expect("a send");
    let mut inbox = backend.open_inbox(&name).await.expect("an inbox");
    let items = read(&mut *inbox, 40).await;
    ack(&mut *inbox, &items[..20]).await;
    drop(inbox);
    subject.restart();
    let reopened = subject.open().await;
    let mut inbox = reopened.open_inbox(&name).await.expect("an inbox");
    read_all(&mut *inbox, numbered(20..100)).await;
}

/// Open readers, waiters and senders find the restarted server by themselves.
pub async fn readers_and_waits_go_on_after_a_restart(subject: &dyn Subject) {
    let (backend, writer) = (subject.open().await, subject.open().await);
    let name = unique("inbox");
    let mut inbox = backend.open_inbox(&name).await.expect("an inbox");
    backend.send(&name, numbered(0..1)).await.expect("a send");
    read_all(&mut *inbox, numbered(0..1)).await;
    let done = result(&unique("task"), 1, "SUCCESS", &*backend);
    let waiting = {
        let (backend, id) = (Arc::clone(&backend), done.task_id.clone());
        tokio::spawn(async move { backend.wait(&id, TTL).await })
    };
    subject.restart();
    retried("a send", || writer.send(&name, numbered(1..20))).await;
    read_all(&mut *inbox, numbered(1..20)).await;
    let put = async {
        // A reply queue may still be on its way back: a client asks again.
        while !waiting.is_finished() {
            retried("a put", || writer.put(done.clone(), TTL)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        waiting.await
    };
    let found = within("a wait", put).await.expect("the waiter");
    assert_eq!(found.expect("a wait"), Some(as_read(done)));
}
