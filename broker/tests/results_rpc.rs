//! The result conformance suite on RabbitMQ reply queues.

mod results;

use std::sync::Mutex;

use results::Served;
use tradewind_broker::ResultOptions;
use tradewind_services::{Rabbit, shared};

fn open(url: &str) -> (String, ResultOptions) {
    let options = ResultOptions { broker_url: Some(url.to_owned()), ..ResultOptions::default() };
    ("rpc://".to_owned(), options)
}

async fn on_shared() -> Served {
    Served::shared(shared::amqp_url(), open)
}

async fn on_own() -> Served {
    let server = Rabbit::start().expect("a server");
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
        the_first_end_of_an_attempt_stands,
        an_open_state_is_replaced,
        wait_wakes_at_once,
        wait_passes_over_open_states,
        wait_times_out,
        a_large_result_comes_back_unchanged,
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
        a_cut_reader_reads_on,
    ],
    on_own => [
        inbox_items_survive_a_restart,
        readers_and_waits_go_on_after_a_restart,
    ];
    cannot: [
        a_lower_token_is_superseded_across_processes = "a worker does not see what others sent to the reply queue; the client fences on arrival",
        results_expire = "a reply lives a day in its client's memory, whatever the ttl",
        results_survive_a_restart = "replies live in the memory of their client",
        a_cut_wait_still_ends = "the reply queue ends with its client's link, and a result sent meanwhile with it",
    ]
}
