//! A small soak on each broker; `cargo xtask soak` runs a large one.

use std::time::Duration;

use tradewind_tests::soak::{Plan, run};

async fn small(rabbitmq: bool) {
    let plan = Plan {
        rabbitmq,
        tasks: 3_000,
        victims: 2,
        kill_every: Duration::from_millis(1500),
        cut_every: Duration::from_millis(2500),
        lease: Duration::from_secs(1),
        tell_every: Duration::from_secs(2),
    };
    let account = run(plan).await;
    print!("{account}");
    assert_eq!(account.complaints(plan.tasks), [""; 0]);
    assert_eq!((account.failed, account.retried), (30, 30), "{account}");
    assert_eq!((account.letters.poison, account.letters.unreadable), (3, 3), "{account}");
    assert!(account.kills > 0 && account.poisoned > 0, "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_redis() {
    small(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_rabbitmq() {
    small(true).await;
}
