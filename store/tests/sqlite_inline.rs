//! The conformance suite on SQLite in memory, run by its callers; and on a thread of its own.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tradewind_store::conformance::Bench;
use tradewind_store::{AdminStore, DataStore, SqliteStore, Store};

async fn bench() -> Bench {
    let store = SqliteStore::in_memory_inline().expect("opened");
    store.migrate().await.expect("migrated");
    Bench::new(vec![Arc::new(store) as Arc<dyn Store>], ())
}

tradewind_store::store_conformance!(bench);

/// Answers on the first poll: nothing is waited for, so no virtual time can pass.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(call).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the call waits for something"),
    }
}

#[test]
fn calls_do_not_wait() {
    let store = SqliteStore::in_memory_inline().expect("opened");
    at_once(store.migrate()).expect("migrated");
    at_once(store.set_variable("k", "v")).expect("set");
    assert_eq!(at_once(store.variable("k")).expect("read").as_deref(), Some("v"));
}

#[tokio::test]
async fn in_memory_on_a_thread() {
    let options = tradewind_store::Options::default();
    let store = tradewind_store::open("sqlite://:memory:", &options).await.expect("opened");
    store.migrate().await.expect("migrated");
    store.set_variable("k", "v").await.expect("set");
    assert_eq!(store.variable("k").await.expect("read").as_deref(), Some("v"));
}
