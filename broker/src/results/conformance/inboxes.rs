//! Cases about inboxes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::values::assert_prompt;
use super::{LIMIT, Subject, ack, bodies, nothing_more, numbered, read, unique, within};

const ROUNDS: usize = 15;

/// One reader gets items in the order of the sends and within them.
pub async fn inbox_keeps_order(subject: &dyn Subject) {
    let (sender, reader) = (subject.open().await, subject.open().await);
    let name = unique("inbox");
    let mut inbox = reader.open_inbox(&name).await.expect("an inbox");
    for start in (0..300).step_by(30) {
        sender.send(&name, numbered(start..start + 30)).await.expect("a send");
    }
    sender.send(&name, Vec::new()).await.expect("an empty send");
    let items = read(&mut *inbox, 300).await;
    assert_eq!(bodies(&items), numbered(0..300));
    ack(&mut *inbox, &items).await;
    nothing_more(&mut *inbox).await;
}

/// A batch never has more than asked for; the rest comes with the next calls.
pub async fn inbox_batches_are_bounded(subject: &dyn Subject) {
    let backend = subject.open().await;
    let name = unique("inbox");
    backend.send(&name, numbered(0..10)).await.expect("a send");
    let mut inbox = backend.open_inbox(&name).await.expect("an inbox");
    let mut all = Vec::new();
    while all.len() < 10 {
        let batch = within("a batch", inbox.next_batch(3)).await.expect("a batch");
        assert!((1..=3).contains(&batch.len()), "{batch:?}");
        all.extend(batch);
    }
    assert_eq!(bodies(&all), numbered(0..10));
    let tags: BTreeSet<_> = all.iter().map(|item| &item.tag).collect();
    assert_eq!(tags.len(), 10);
}

/// Items go to the inbox they were sent to.
pub async fn inboxes_are_separate(subject: &dyn Subject) {
    let backend = subject.open().await;
    let names = [unique("inbox"), unique("inbox")];
    for (n, name) in names.iter().enumerate() {
        backend.send(name, numbered(n..n + 1)).await.expect("a send");
    }
    for (n, name) in names.iter().enumerate() {
        let mut inbox = backend.open_inbox(name).await.expect("an inbox");
        let items = read(&mut *inbox, 1).await;
        assert_eq!(bodies(&items), numbered(n..n + 1));
        ack(&mut *inbox, &items).await;
        nothing_more(&mut *inbox).await;
    }
}

/// A waiting reader is woken, not left to its poll.
pub async fn inbox_wakes_at_once(subject: &dyn Subject) {
    let (sender, reader) = (subject.open().await, subject.open().await);
    let name = unique("inbox");
    let mut inbox = reader.open_inbox(&name).await.expect("an inbox");
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        let reading = async {
            let items = read(&mut *inbox, 1).await;
            (items, Instant::now())
        };
        let sending = async {
            sleep(Duration::from_millis(70)).await;
            let sent_at = Instant::now();
            sender.send(&name, numbered(round..round + 1)).await.expect("a send");
            sent_at
        };
        let ((items, at), sent_at) = tokio::join!(reading, sending);
        assert_eq!(bodies(&items), numbered(round..round + 1));
        ack(&mut *inbox, &items).await;
        delays.push(at.saturating_duration_since(sent_at));
    }
    assert_prompt(delays);
}

/// Acked items are gone for good, whatever their place in the batch; the others come again.
pub async fn acked_items_stay_gone(subject: &dyn Subject) {
    let backend = subject.open().await;
    let name = unique("inbox");
    backend.send(&name, numbered(0..20)).await.expect("a send");
    let mut inbox = backend.open_inbox(&name).await.expect("an inbox");
    let items = read(&mut *inbox, 20).await;
    let (even, odd): (Vec<_>, Vec<_>) =
        items.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    let even: Vec<_> = even.into_iter().map(|(_, item)| item).collect();
    let odd: Vec<_> = odd.into_iter().map(|(_, item)| item).collect();
    ack(&mut *inbox, &even).await;
    // A second ack of the same items is no error.
    ack(&mut *inbox, &even[..1]).await;
    drop(inbox);
    let mut inbox = backend.open_inbox(&name).await.expect("an inbox");
    let again = read(&mut *inbox, 10).await;
    assert_eq!(bodies(&again), bodies(&odd));
    ack(&mut *inbox, &again).await;
    drop(inbox);
    let mut inbox = backend.open_inbox(&name).await.expect("an inbox");
    nothing_more(&mut *inbox).await;
}

/// Calls that are dropped at any point lose and repeat nothing.
pub async fn cancelled_reads_lose_nothing(subject: &dyn Subject) {
    let (sender, reader) = (subject.open().await, subject.open().await);
    let name = unique("inbox");
    let mut inbox = reader.open_inbox(&name).await.expect("an inbox");
    let sending = async {
        for n in 0..200 {
            sender.send(&name, numbered(n..n + 1)).await.expect("a send");
        }
    };
    let reading = async {
        let (mut items, start) = (Vec::new(), Instant::now());
        let mut patience_us = 0;
        while items.len() < 200 && start.elapsed() < LIMIT {
            patience_us = (patience_us + 97) % 1_500;
            let patience = Duration::from_micros(patience_us);
            if let Ok(batch) = timeout(patience, inbox.next_batch(7)).await {
                items.extend(batch.expect("a batch"));
            }
        }
        items
    };
    let ((), items) = tokio::join!(sending, reading);
    assert_eq!(bodies(&items), numbered(0..200));
    ack(&mut *inbox, &items).await;
    nothing_more(&mut *inbox).await;
}

/// Two readers in two processes get each item once between them.
pub async fn two_readers_share_without_duplicates(subject: &dyn Subject) {
    let (sender, first, second) =
        (subject.open().await, subject.open().await, subject.open().await);
    let name = unique("inbox");
    let mut readers = [
        first.open_inbox(&name).await.expect("an inbox"),
        second.open_inbox(&name).await.expect("an inbox"),
    ];
    for start in (0..1_000).step_by(50) {
        sender.send(&name, numbered(start..start + 50)).await.expect("a send");
    }
    let [one, two] = &mut readers;
    let (mut seen, start) = (Vec::new(), Instant::now());
    while seen.len() < 1_000 && start.elapsed() < LIMIT {
        for reader in [&mut *one, &mut *two] {
            if let Ok(batch) = timeout(Duration::from_millis(50), reader.next_batch(20)).await {
                let batch = batch.expect("a batch");
                ack(&mut **reader, &batch).await;
                seen.extend(bodies(&batch));
            }
        }
    }
    let count = seen.len();
    let distinct: BTreeSet<_> = seen.into_iter().collect();
    assert_eq!((count, distinct), (1_000, numbered(0..1_000).into_iter().collect()));
}

/// One send of 10,000 bodies, read and acked in batches.
pub async fn ten_thousand_small_bodies(subject: &dyn Subject) {
    let backend = subject.open().await;
    let name = unique("inbox");
    let mut inbox = backend.open_inbox(&name).await.expect("an inbox");
    within("a send", backend.send(&name, numbered(0..10_000))).await.expect("a send");
    let mut all = Vec::new();
    while all.len() < 10_000 {
        let batch = within("a batch", inbox.next_batch(1_000)).await.expect("a batch");
        ack(&mut *inbox, &batch).await;
        all.extend(bodies(&batch));
    }
    assert_eq!(all, numbered(0..10_000));
    nothing_more(&mut *inbox).await;
}

/// 1 MiB of arbitrary bytes, and an empty body.
pub async fn a_body_of_one_mebibyte(subject: &dyn Subject) {
    let backend = subject.open().await;
    let name = unique("inbox");
    let large: Vec<u8> = (0..1_u32 << 20).map(|n| (n * 31 % 251) as u8).collect();
    let sent = vec![large, Vec::new(), b"1:2:3".to_vec()];
    backend.send(&name, sent.clone()).await.expect("a send");
    let mut inbox = backend.open_inbox(&name).await.expect("an inbox");
    let items = read(&mut *inbox, 3).await;
    assert!(bodies(&items) == sent, "bodies changed");
    ack(&mut *inbox, &items).await;
}
