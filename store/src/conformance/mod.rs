//! The suite that every driver of [`crate::Store`] passes: one test per case per driver, by
//! [`crate::store_conformance`]. A new behaviour of the store starts as a case here.

pub mod admin;
pub mod attempts;
pub mod dags;
pub mod data;
pub mod hop;
mod kit;
pub mod outbox;
pub mod plan;
pub mod queueing;
pub mod runs;
pub mod schedule;

pub use kit::Bench;

/// One `#[tokio::test]` per case. The argument is an `async fn() -> Bench` that opens a fresh, empty,
/// migrated store.
#[macro_export]
macro_rules! store_conformance {
    ($open:path) => {
        $crate::store_cases! { $open;
            dags::versions_are_numbered, dags::pausing, dags::an_import_error_keeps_the_last_good,
            dags::a_dag_is_not_stolen, dags::files_that_are_gone,
            schedule::due_until_advanced, schedule::two_schedulers_advance_once,
            schedule::an_existing_run_is_left_alone, schedule::changes_are_computed_anew,
            runs::triggering, runs::startable_hides_nothing, runs::starting, runs::starting_keeps_the_trace,
            runs::starts_never_exceed_the_maximum, runs::listing,
            plan::a_hop, plan::conflicts_spare_the_others, plan::two_schedulers_commit_once,
            plan::finishing_is_idempotent,
            plan::skipped_while_queued, plan::cancelled_while_running,
            plan::a_claim_is_no_new_version, plan::depending_on_the_past, plan::runs_end,
            queueing::most_urgent_first, queueing::pools, queueing::max_active_tasks,
            queueing::max_active_instances, queueing::parallelism_holds_under_concurrency,
            queueing::blocked_groups_hide_nothing, queueing::paused_dags_wait,
            attempts::one_of_many_claims, attempts::claim_verdicts, attempts::leases,
            attempts::extending_leases, attempts::what_a_grant_knows, attempts::workers_are_listed,
            outbox::published_once, outbox::published_again_with_backoff,
            data::xcoms_in_order, data::xcoms_of_prior_dates, data::variables,
            data::logs, data::a_long_log,
            admin::migrating, admin::jobs_and_keys, admin::counting, admin::wakeups_come,
        }
    };
}

/// See [`store_conformance`].
#[doc(hidden)]
#[macro_export]
macro_rules! store_cases {
    ($open:path; $($module:ident::$case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let bench = $open().await;
                $crate::conformance::$module::$case(&bench).await;
            }
        )+
    };
}
