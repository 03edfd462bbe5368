//! A small soak on each broker; `cargo xtask soak` runs a large one.

use std::time::Duration;

use tradewind_tests::soak::{Plan, run};

async fn small(rabbitmq: bool) {
    let plan = Plan {
        rabbitmq,
        tasks: 3_000,
        kill_every: Duration::from_millis(1500),
        cut_every: Duration::from_millis(2500),
    };
    let account = run(plan).await;
    println!("{account:#?}");
    assert_eq!(account.lost, 0, "{account:?}");
    assert_eq!((account.offered, account.failed), (3_000, 30), "{account:?}");
    assert_eq!(account.quarantined, 3, "{account:?}");
    assert_eq!(account.succeeded, 3_000 - 30 - 3, "{account:?}");
    assert!(account.fds.1 <= account.fds.0 + 32, "file descriptors grow: {account:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_redis() {
    small(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_rabbitmq() {
    small(true).await;
}
