//! The conformance suite on a real Postgres, two processes' worth of stores on one schema; and what
//! only servers do.

use std::sync::Arc;
use std::time::Duration;

use tradewind_services::{Postgres, PostgresOptions, shared, unique};
use tradewind_store::conformance::Bench;
use tradewind_store::{AdminStore, DataStore, Error, Options, PostgresStore, Store};

fn connect(url: &str) -> PostgresStore {
    let options = Options { postgres_connections: 6, ..Options::default() };
    PostgresStore::connect(url, &options).expect("a usable URL")
}

async fn bench() -> Bench {
    let server = tokio::task::spawn_blocking(shared::postgres_url).await.expect("a server");
    let url = format!("{server}?schema={}", unique("store"));
    let (one, two) = (connect(&url), connect(&url));
    let (a, b) = tokio::join!(one.migrate(), two.migrate());
    let mut applied = a.expect("migrated");
    applied.extend(b.expect("migrated"));
    assert_eq!(applied, ["0001_init"], "by one of the two");
    Bench::new(vec![Arc::new(one) as Arc<dyn Store>, Arc::new(two)], ())
}

tradewind_store::store_conformance!(bench);

#[tokio::test]
async fn an_empty_database_says_what_to_run() {
    let server = tokio::task::spawn_blocking(shared::postgres_url).await.expect("a server");
    let store = connect(&format!("{server}?schema={}", unique("empty")));
    for error in [
        store.check_schema().await.expect_err("no schema"),
        store.counts().await.expect_err("no tables"),
    ] {
        assert!(matches!(error, Error::Schema(_)), "{error:?}");
        assert!(error.to_string().contains("`tradewind db migrate`"), "{error}");
    }
}

#[tokio::test]
async fn no_server_is_no_panic() {
    let store = connect("postgres://u:hunter2@127.0.0.1:1/db");
    let error = store.health().await.expect_err("nobody there");
    assert!(error.is_retryable(), "{error:?}");
    assert!(!format!("{error:?} {store:?}").contains("hunter2"), "{error:?}");
}

/// Asks until it answers well, for at most a minute.
async fn recovered(store: &PostgresStore) -> Option<String> {
    let ask = async {
        loop {
            match store.variable("k").await {
                Ok(value) => return value,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ask).await.expect("recovers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_survived() {
    let start = || Postgres::start_with(PostgresOptions { fsync: true }).expect("a server");
    let mut server = tokio::task::spawn_blocking(start).await.expect("started");
    let store = connect(server.url());
    store.migrate().await.expect("migrated");
    store.set_variable("k", "v").await.expect("set");
    let mut wakeups = store.wakeups();
    let server = tokio::task::spawn_blocking(move || {
        server.kill9();
        server
    });
    let mut server = server.await.expect("killed");
    // A backend may answer once more before it notices.
    let failing = async {
        loop {
            if let Err(error) = store.set_variable("k", "v").await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(30), failing).await.expect("it is gone");
    assert!(error.is_retryable(), "{error:?}");
    let server = tokio::task::spawn_blocking(move || {
        server.restart().expect("back again");
        server
    });
    let server = server.await.expect("restarted");
    assert_eq!(recovered(&store).await.as_deref(), Some("v"));
    store.set_variable("k", "w").await.expect("set");
    // The listener is back, too: it says so when it has connected again.
    let woken = tokio::time::timeout(Duration::from_secs(30), wakeups.recv()).await;
    assert!(woken.is_ok(), "{woken:?}");
    drop(server);
}
