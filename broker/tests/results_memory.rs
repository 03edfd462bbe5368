//! The result conformance suite on the memory driver.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tradewind_broker::results::conformance::Subject;
use tradewind_broker::{MemoryResults, Put, ResultBackend, StoredResult};

struct Memory(MemoryResults);

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn ResultBackend> {
        Arc::new(self.0.clone())
    }

    async fn open_cuttable(&self) -> Arc<dyn ResultBackend> {
        unreachable!("memory has no link; its cases are in the list of those it cannot do")
    }

    fn cut(&self) {}

    fn silence(&self) {}

    fn mend(&self) {}

    fn restart(&self) {}
}

async fn memory() -> Memory {
    Memory(MemoryResults::new())
}

tradewind_broker::result_conformance! {
    memory => [
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
        an_abandoned_claim_is_taken_over,
        a_join_that_is_extended_waits_for_more,
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
    ];
    cannot: [
        items_of_a_cut_reader_come_again = "there is no link to cut",
        items_of_a_silent_reader_come_again = "there is no link to silence",
        a_cut_reader_reads_on = "there is no link to cut",
        a_cut_wait_still_ends = "there is no link to cut",
        results_survive_a_restart = "nothing survives the process",
        inbox_items_survive_a_restart = "nothing survives the process",
        readers_and_waits_go_on_after_a_restart = "there is no server to restart",
    ]
}

/// Expiry and waits run on tokio's clock: a paused test decides when they pass.
#[tokio::test(start_paused = true)]
async fn time_is_the_tests_own() {
    let results = MemoryResults::new();
    let day = Duration::from_secs(86_400);
    let done = StoredResult {
        task_id: "t".to_owned(),
        token: 1,
        state: "SUCCESS".to_owned(),
        meta: b"{}".to_vec(),
        reply_to: None,
    };
    assert_eq!(results.put(done.clone(), day).await, Ok(Put::Stored));
    tokio::time::advance(day - Duration::from_secs(1)).await;
    assert_eq!(results.get("t").await, Ok(Some(done)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(results.get("t").await, Ok(None));
    let start = tokio::time::Instant::now();
    assert_eq!(results.wait("t", day).await, Ok(None));
    assert_eq!(start.elapsed(), day);
}
