//! DAG files, versions, import errors.

use tradewind_proto::dag::ImportError;

use super::kit::{Bench, Must, dag, file, t};
use crate::Error;
use crate::model::FileSync;

/// A new text is a new version, an unchanged one is not, and versions stay readable.
pub async fn versions_are_numbered(bench: &Bench) {
    let store = bench.store();
    let one = dag("d", &[("a", &[])]);
    let two = dag("d", &[("a", &[]), ("b", &["a"])]);
    assert_eq!(bench.sync(&one).await, ["d"]);
    assert_eq!(bench.sync(&one).await, [""; 0]);
    assert_eq!(bench.sync(&two).await, ["d"]);
    let row = store.dag("d").await.must().expect("known");
    assert_eq!((row.version_number, row.version_hash.clone()), (2, two.version_hash()));
    assert_eq!(*row.spec, two);
    assert!(row.is_active && !row.is_paused);
    assert_eq!(row.last_parsed_at, t(0));
    assert_eq!(bench.sync(&one).await, ["d"], "going back is a change, too");
    let row = store.dag("d").await.must().expect("known");
    assert_eq!((row.version_number, row.version_hash), (2, one.version_hash()));
    let old = store.spec(&two.version_hash()).await.must().expect("kept");
    assert_eq!(*old, two);
    assert!(store.spec("no such hash").await.must().is_none());
    assert!(store.dag("nobody").await.must().is_none());
}

/// New DAGs start as the deployment or they themselves say; later files do not change it.
pub async fn pausing(bench: &Bench) {
    let store = bench.store();
    let plain = dag("plain", &[]);
    let mut keen = dag("keen", &[]);
    keen.is_paused_upon_creation = Some(false);
    for spec in [&plain, &keen] {
        let sync = FileSync { paused_by_default: true, ..file(spec) };
        store.sync_file(sync, t(0)).await.must();
    }
    let paused = |rows: Vec<crate::model::DagRow>| -> Vec<(String, bool)> {
        rows.into_iter().map(|r| (r.dag_id, r.is_paused)).collect()
    };
    let rows = paused(store.dags(false).await.must());
    assert_eq!(rows, [("keen".to_owned(), false), ("plain".to_owned(), true)]);
    store.set_paused("plain", false).await.must();
    store.set_paused("keen", true).await.must();
    let sync = FileSync { paused_by_default: true, ..file(&plain) };
    store.sync_file(sync, t(1)).await.must();
    let rows = paused(store.dags(false).await.must());
    assert_eq!(rows, [("keen".to_owned(), true), ("plain".to_owned(), false)]);
    let error = store.set_paused("nobody", true).await.expect_err("unknown");
    assert!(matches!(error, Error::NotFound { kind: "DAG", .. }), "{error}");
}

/// With an import error, missing DAGs keep their last good version; without one they are gone.
pub async fn an_import_error_keeps_the_last_good(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[("a", &[])]);
    bench.sync(&spec).await;
    let error =
        ImportError { message: "SyntaxError: \0".into(), line: Some(3), detail: "…".into() };
    let broken = FileSync { dags: Vec::new(), error: Some(error), ..file(&spec) };
    store.sync_file(broken.clone(), t(1)).await.must();
    assert!(store.dag("d").await.must().expect("kept").is_active);
    let errors = store.import_errors().await.must();
    assert_eq!((errors.len(), errors[0].fileloc.as_str(), errors[0].at), (1, "d.py", t(1)));
    assert_eq!(errors[0].error.line, Some(3));
    assert!(errors[0].error.message.starts_with("SyntaxError: "));
    store.sync_file(FileSync { error: None, ..broken }, t(2)).await.must();
    assert!(!store.dag("d").await.must().expect("known").is_active);
    assert!(store.import_errors().await.must().is_empty());
    assert!(store.dags(false).await.must().is_empty());
    assert_eq!(store.dags(true).await.must().len(), 1);
    bench.sync(&spec).await;
    assert!(store.dag("d").await.must().expect("known").is_active, "back again");
}

/// The later of two files that define a DAG gets an import error that names both, until the first
/// lets go.
pub async fn a_dag_is_not_stolen(bench: &Bench) {
    let store = bench.store();
    let spec = dag("d", &[("a", &[])]);
    bench.sync(&spec).await;
    let mut thief = dag("d", &[("x", &[])]);
    thief.fileloc = "copy.py".into();
    let other = dag("other", &[]);
    let copy = FileSync {
        fileloc: "copy.py".into(),
        dags: vec![thief.clone(), other],
        error: None,
        paused_by_default: false,
    };
    assert_eq!(store.sync_file(copy.clone(), t(1)).await.must(), ["other"]);
    let errors = store.import_errors().await.must();
    assert_eq!((errors.len(), errors[0].fileloc.as_str()), (1, "copy.py"));
    let text = &errors[0].error.message;
    assert!(text.contains("d.py") && text.contains("copy.py") && text.contains("\"d\""), "{text}");
    assert_eq!(*store.dag("d").await.must().expect("known").spec, spec);
    let gone = store.retain_files(&["copy.py".to_owned()], t(2)).await.must();
    assert_eq!(gone, ["d"]);
    assert_eq!(store.sync_file(copy, t(3)).await.must(), ["d"]);
    assert!(store.import_errors().await.must().is_empty());
    assert_eq!(*store.dag("d").await.must().expect("known").spec, thief);
}

/// Files that are not in the folder any more take their DAGs and errors with them.
pub async fn files_that_are_gone(bench: &Bench) {
    let store = bench.store();
    for name in ["a", "b", "c"] {
        bench.sync(&dag(name, &[])).await;
    }
    let error = ImportError { message: "E".into(), line: None, detail: String::new() };
    let broken = FileSync { error: Some(error), ..file(&dag("c", &[])) };
    store.sync_file(broken, t(1)).await.must();
    let gone = store.retain_files(&["b.py".to_owned()], t(2)).await.must();
    assert_eq!(gone, ["a", "c"]);
    assert!(store.import_errors().await.must().is_empty());
    let left: Vec<_> = store.dags(false).await.must().into_iter().map(|d| d.dag_id).collect();
    assert_eq!(left, ["b"]);
    assert_eq!(store.retain_files(&[], t(3)).await.must(), ["b"]);
}
