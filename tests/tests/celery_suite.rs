//! A quick part of Celery's own integration suite against our worker, in the way of
//! `cargo xtask celery-suite`, which runs all of it.

use tradewind_tests::celery_suite::{Options, Outcome, Servers, Table, judge, run};

/// Tests of every kind that are quick and wait for nothing but results; pytest's `-k`.
const QUICK: &str = "test_basic_task or test_fail_with_unpickleable or test_unicode_task \
    or test_simple_chain or test_complex_chain or test_group_results_in_chain \
    or test_chain_inside_group_receives_arguments or test_second_order_replace \
    or test_replace_with_chain_that_contains_a_group or test_chain_of_task_a_group_and_a_chord \
    or test_nested_group_chain or test_single_task_header or test_empty_header_chord \
    or test_chord_order or test_group_chain or test_replaced_nested_chord \
    or test_replaced_task_nesting_increments or test_rebuild_nested \
    or test_ping or test_registered or test_active_queues or test_reject_without_requeue";

#[test]
fn a_quick_part_of_it_passes_on_redis() {
    let table = Table::committed().expect("the table");
    let servers = Servers::Redis;
    let select = Some(QUICK.to_owned());
    let options = Options { servers, select, known: false, python_worker: false };
    let outcomes = run(&options, &table).expect("a run");
    let passed = outcomes.values().filter(|outcome| **outcome == Outcome::Passed).count();
    let summary = judge(&table, &outcomes, servers, false).unwrap_or_else(|text| panic!("{text}"));
    assert!(passed >= 30, "only {passed} tests were found: {summary}");
}
