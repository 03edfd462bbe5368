//! The result conformance suite on PostgreSQL.

mod results;

use std::sync::Mutex;

use results::Served;
use tradewind_broker::ResultOptions;
use tradewind_services::{Postgres, shared};

fn open(url: &str) -> (String, ResultOptions) {
    (url.to_owned(), ResultOptions::default())
}

async fn on_shared() -> Served {
    Served::shared(shared::postgres_url(), open)
}

async fn on_own() -> Served {
    let server = Postgres::start().expect("a server");
    let url = server.url().to_owned();
    let server = Mutex::new(server);
    Served::own(url, open, move || {
        server.lock().expect("the server").restart().expect("a restart");
    })
}

tradewind_broker::result_conformance! {
    on_shared => [
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
        items_of_a_cut_reader_come_again,
        items_of_a_silent_reader_come_again,
        a_cut_reader_reads_on,
        a_cut_wait_still_ends,
    ],
    on_own => [
        results_survive_a_restart,
        inbox_items_survive_a_restart,
        readers_and_waits_go_on_after_a_restart,
    ];
    cannot: [
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_make_the_tables_at_once() {
    let server = Postgres::start().expect("a server");
    let clock = std::sync::Arc::new(tradewind_proto::clock::SystemClock);
    let opening = (0..8).map(|_| {
        let ((url, options), clock) = (open(server.url()), clock.clone());
        async move { tradewind_broker::open_results(&url, &options, clock).await }
    });
    for opened in futures::future::join_all(opening).await {
        opened.expect("a backend").health().await.expect("health");
    }
}
