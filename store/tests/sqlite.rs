//! The conformance suite on a SQLite file, and what only files have.

use std::sync::Arc;

use tradewind_store::conformance::Bench;
use tradewind_store::{AdminStore, Error, SqliteStore, Store};

async fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a temp folder");
    let store = SqliteStore::open(dir.path().join("store.db")).expect("opened");
    assert_eq!(store.migrate().await.expect("migrated"), ["0001_init"]);
    Bench::new(vec![Arc::new(store) as Arc<dyn Store>], dir)
}

tradewind_store::store_conformance!(bench);

#[tokio::test]
async fn an_empty_file_says_what_to_run() {
    let dir = tempfile::tempdir().expect("a temp folder");
    let store = SqliteStore::open(dir.path().join("store.db")).expect("opened");
    for error in [
        store.check_schema().await.expect_err("no schema"),
        store.counts().await.expect_err("no tables"),
    ] {
        assert!(matches!(error, Error::Schema(_)), "{error:?}");
        assert!(error.to_string().contains("`tradewind db migrate`"), "{error}");
    }
}

#[tokio::test]
async fn data_outlives_the_process() {
    let dir = tempfile::tempdir().expect("a temp folder");
    let url = format!("sqlite:///{}/store.db", dir.path().display());
    let options = tradewind_store::Options::default();
    let store = tradewind_store::open(&url, &options).await.expect("opened");
    store.migrate().await.expect("migrated");
    store.set_variable("k", "v").await.expect("set");
    drop(store);
    let store = tradewind_store::open(&url, &options).await.expect("opened again");
    store.check_schema().await.expect("still there");
    assert_eq!(store.variable("k").await.expect("read").as_deref(), Some("v"));
}

#[tokio::test]
async fn three_slashes_where_four_were_meant() {
    let dir = tempfile::tempdir().expect("a temp folder");
    let relative = dir.path().display().to_string();
    let url = format!("sqlite://{relative}/store.db");
    let options = tradewind_store::Options::default();
    let error = tradewind_store::open(&url, &options).await.expect_err("no such folder");
    assert!(error.to_string().contains(&format!("sqlite:///{relative}/store.db")), "{error}");
}
