//! The conformance suite of the result seam: one function per case, run by every driver's tests
//! against a real server. A new behaviour starts as a case here.
//!
//! A driver's test file calls [`crate::result_conformance`]: it lists the cases it runs and, with a
//! reason, those it cannot do; a case in neither list fails the file.

mod faults;
mod inboxes;
mod joins;
mod values;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{Inbox, InboxItem, ResultBackend, StoredResult};
use crate::Error;

pub use faults::*;
pub use inboxes::*;
pub use joins::*;
pub use values::*;

/// Nothing in a case takes longer than this without being wrong.
const LIMIT: Duration = Duration::from_secs(30);
/// How long results of a case are kept.
const TTL: Duration = Duration::from_secs(600);
/// Redelivery after the death of a reader that the server cannot see.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(10);

/// One driver on one server, as the suite sees it.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens a backend as another process would: same server, nothing else shared.
    async fn open(&self) -> Arc<dyn ResultBackend>;
    /// Opens a backend whose links [`Subject::cut`] cuts.
    async fn open_cuttable(&self) -> Arc<dyn ResultBackend>;
    /// Cuts the links of [`Subject::open_cuttable`] and keeps them cut until [`Subject::mend`].
    fn cut(&self);
    /// Leaves the links of [`Subject::open_cuttable`] open and lets nothing pass.
    fn silence(&self);
    /// Lets links be made again.
    fn mend(&self);
    /// Restarts the server; returns when it answers. Only called on a subject of one case's own.
    fn restart(&self);
}

macro_rules! names {
    ($($case:ident),+ $(,)?) => {
        /// Names of all cases.
        pub const CASES: &[&str] = &[$({
            // Naming the function keeps list and code together.
            let _ = $case;
            stringify!($case)
        }),+];
    };
}

names! {
    a_result_is_read_elsewhere,
    a_result_is_read_here,
    a_forgotten_result_is_gone,
    a_lower_token_is_superseded,
    a_lower_token_is_superseded_across_processes,
    the_first_end_of_an_attempt_stands,
    an_open_state_is_replaced,
    wait_wakes_at_once,
    wait_passes_over_open_states,
    wait_times_out,
    results_expire,
    a_large_result_comes_back_unchanged,
    a_result_over_the_limit_is_refused,
    parts_come_by_position,
    a_repeated_part_counts_once,
    one_of_concurrent_parts_completes,
    a_join_that_is_extended_waits_for_more,
    an_abandoned_claim_is_taken_over,
    a_finished_join_stays_finished,
    inbox_keeps_order,
    inbox_batches_are_bounded,
    inboxes_are_separate,
    inbox_wakes_at_once,
    acked_items_stay_gone,
    cancelled_reads_lose_nothing,
    two_readers_share_without_duplicates,
    ten_thousand_small_bodies,
    a_body_of_one_mebibyte,
    items_of_a_dropped_reader_come_again_at_once,
    items_of_a_cut_reader_come_again,
    items_of_a_silent_reader_come_again,
    a_cut_reader_reads_on,
    a_cut_wait_still_ends,
    results_survive_a_restart,
    inbox_items_survive_a_restart,
    readers_and_waits_go_on_after_a_restart,
}

/// Makes one `#[tokio::test]` per case. Each subject is an async function that gives a [`Subject`].
#[macro_export]
macro_rules! result_conformance {
    (
        $($subject:path => [$($case:ident),+ $(,)?]),+;
        cannot: [$($skipped:ident = $why:literal),* $(,)?]
    ) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let subject = $subject().await;
                $crate::results::conformance::$case(&subject).await;
            }
        )+)+

        #[test]
        fn every_case_runs_or_has_a_reason_not_to() {
            let ran = [$($(stringify!($case)),+),+];
            let skipped: &[(&str, &str)] = &[$((stringify!($skipped), $why)),*];
            let mut named: Vec<&str> = ran.to_vec();
            named.extend(skipped.iter().map(|(case, _)| *case));
            named.sort_unstable();
            let mut all = $crate::results::conformance::CASES.to_vec();
            all.sort_unstable();
            assert_eq!(named, all);
        }
    };
}

fn unique(what: &str) -> String {
    format!("{what}-{}", Uuid::new_v4().simple())
}

/// A result as a worker would put it for a client that reads at `reader`.
fn result(task_id: &str, token: i64, state: &str, reader: &dyn ResultBackend) -> StoredResult {
    let meta = format!(
        r#"{{"status": "{state}", "result": {{"token": {token}}}, "traceback": null, "children": [], "date_done": null, "task_id": "{task_id}"}}"#
    );
    StoredResult {
        task_id: task_id.to_owned(),
        token,
        state: state.to_owned(),
        meta: meta.into_bytes(),
        reply_to: reader.reply_to().map(str::to_owned),
    }
}

/// The same, as it is read.
fn as_read(mut result: StoredResult) -> StoredResult {
    result.reply_to = None;
    result
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {LIMIT:?}"),
    }
}

/// Repeats a call over retryable errors, as callers do.
async fn retried<T, F: Future<Output = Result<T, Error>>>(what: &str, call: impl Fn() -> F) -> T {
    let repeated = async {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(error) if error.is_retryable() => sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{what}: {error}"),
            }
        }
    };
    within(what, repeated).await
}

/// Polls until the reader has exactly this result.
async fn arrives(reader: &dyn ResultBackend, expected: &StoredResult) {
    let expected = as_read(expected.clone());
    let polled = async {
        while reader.get(&expected.task_id).await != Ok(Some(expected.clone())) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    within("a result", polled).await;
}

/// Reads and acks until `count` items came or the limit is over; rides out retryable errors.
async fn read(inbox: &mut dyn Inbox, count: usize) -> Vec<InboxItem> {
    let deadline = Instant::now() + LIMIT;
    let mut items = Vec::new();
    while items.len() < count {
        let next = tokio::time::timeout_at(deadline, inbox.next_batch(count - items.len())).await;
        match next {
            Ok(Ok(batch)) => items.extend(batch),
            Ok(Err(error)) if error.is_retryable() => {}
            Ok(Err(error)) => panic!("reading an inbox: {error}"),
            Err(_) => panic!("{} of {count} inbox items came within {LIMIT:?}", items.len()),
        }
    }
    items
}

async fn ack(inbox: &mut dyn Inbox, items: &[InboxItem]) {
    let tags: Vec<String> = items.iter().map(|item| item.tag.clone()).collect();
    inbox.ack(&tags).await.expect("an ack");
}

/// Fails when anything comes within a moment.
async fn nothing_more(inbox: &mut dyn Inbox) {
    if let Ok(Ok(batch)) = timeout(Duration::from_millis(300), inbox.next_batch(10)).await {
        panic!("unexpected items: {batch:?}");
    }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|n| format!("item {n}").into_bytes()).collect()
}

fn bodies(items: &[InboxItem]) -> Vec<Vec<u8>> {
    items.iter().map(|item| item.body.clone()).collect()
}
