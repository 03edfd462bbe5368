//! XComs, variables, logs.

use serde_json::{Value, json};
use tradewind_proto::AttemptId;
use tradewind_proto::execution::{LogChunk, XcomQuery};
use tradewind_proto::state::{OutcomeState, TaskState};
use uuid::Uuid;

use super::kit::{Bench, Must, dag, entered, outcome, scheduled, t};
use crate::Error;
use crate::model::Dispatch;

fn query(run_id: &str, task_ids: &[&str], key: &str) -> XcomQuery {
    XcomQuery {
        dag_id: "d".into(),
        run_id: run_id.into(),
        task_ids: task_ids.iter().map(|t| (*t).to_owned()).collect(),
        key: key.into(),
        include_prior_dates: false,
    }
}

async fn values(bench: &Bench, query: XcomQuery) -> Vec<(String, Value)> {
    let reply = bench.store().xcoms(&query).await.must();
    reply.values.into_iter().map(|(task, _, value)| (task, value)).collect()
}

fn v(task: &str, value: Value) -> (String, Value) {
    (task.to_owned(), value)
}

/// Runs a task to its end with XComs.
async fn push(bench: &Bench, run: Uuid, task: &str, xcoms: &[(&str, &str)]) {
    let d = bench.queue(run, &[task], 10).await.remove(0);
    bench.claim(&d, 11).await;
    let ended = entered(&bench.task(run, task).await, TaskState::Success, t(12));
    let done = outcome(&d, OutcomeState::Success, xcoms);
    bench.change(run, vec![done], vec![ended], 12).await;
}

/// In the order asked for; a new try replaces what the old one pushed.
pub async fn xcoms_in_order(bench: &Bench) {
    let run = bench.started(&dag("d", &[("a", &[]), ("b", &[])]), "r", 0).await;
    push(bench, run, "a", &[("return_value", "[1, \"\\u0000\"]"), ("k", "\"x\"")]).await;
    push(bench, run, "b", &[("k", "1"), ("k", "null")]).await;
    let got = values(bench, query("r", &["b", "a", "nobody"], "k")).await;
    assert_eq!(got, [v("b", Value::Null), v("a", json!("x"))]);
    assert_eq!(
        values(bench, query("r", &[], "k")).await,
        [v("a", json!("x")), v("b", Value::Null)]
    );
    let got = values(bench, query("r", &["a"], "return_value")).await;
    assert_eq!(got, [v("a", json!([1, "\0"]))]);
    assert!(values(bench, query("nobody", &["a"], "k")).await.is_empty());
    push(bench, run, "a", &[("k", "2")]).await;
    assert_eq!(values(bench, query("r", &["a"], "k")).await, [v("a", json!(2))]);
    assert!(values(bench, query("r", &["a"], "return_value")).await.is_empty(), "replaced");
}

/// The run's own value, else the newest earlier one; never a later one.
pub async fn xcoms_of_prior_dates(bench: &Bench) {
    let spec = dag("d", &[("a", &[]), ("b", &[])]);
    for (run_id, at) in [("r0", 0), ("r1", 60), ("r2", 120), ("r3", 180)] {
        let run = bench.started(&spec, run_id, at).await;
        if run_id != "r2" {
            push(bench, run, "a", &[("k", &format!("\"{run_id}\""))]).await;
        }
    }
    let prior = |run_id: &str, tasks: &[&str]| XcomQuery {
        include_prior_dates: true,
        ..query(run_id, tasks, "k")
    };
    assert_eq!(values(bench, prior("r2", &["b", "a"])).await, [v("a", json!("r1"))]);
    assert_eq!(values(bench, prior("r2", &[])).await, [v("a", json!("r1"))]);
    assert_eq!(values(bench, prior("r1", &["a"])).await, [v("a", json!("r1"))]);
    assert!(values(bench, query("r2", &["a"], "k")).await.is_empty());
}

/// Set, set again, read.
pub async fn variables(bench: &Bench) {
    let store = bench.store();
    assert_eq!(store.variable("v").await.must(), None);
    store.set_variable("v", "one").await.must();
    store.set_variable("v", "zwei ü").await.must();
    assert_eq!(store.variable("v").await.must().as_deref(), Some("zwei ü"));
}

fn chunk(d: &Dispatch, seq: u32, text: &str) -> LogChunk {
    LogChunk { attempt_id: d.attempt_id, token: d.token, seq, text: text.to_owned() }
}

/// A chunk is stored once, an unknown attempt's or an old token's never; reading goes on where it
/// stopped and waits at a gap while the attempt runs.
pub async fn logs(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[])]), "r", 0).await;
    let d = bench.queue(run, &["a"], 10).await.remove(0);
    bench.claim(&d, 11).await;
    let chunks = [chunk(&d, 0, "zero\n"), chunk(&d, 1, "one\n"), chunk(&d, 0, "again\n")];
    assert_eq!(store.append_logs(&chunks).await.must(), 0);
    let old = LogChunk { token: 0, ..chunk(&d, 2, "old\n") };
    let unknown = LogChunk { attempt_id: AttemptId(Uuid::now_v7()), ..chunk(&d, 2, "who\n") };
    assert_eq!(store.append_logs(&[old, unknown, chunk(&d, 1, "late\n")]).await.must(), 2);
    let read = store.read_log(d.attempt_id, 0).await.must();
    assert_eq!((read.text.as_str(), read.next_seq, read.ended), ("zero\none\n", 2, false));
    store.append_logs(&[chunk(&d, 3, "three \0\n")]).await.must();
    let read = store.read_log(d.attempt_id, 2).await.must();
    assert_eq!((read.text.as_str(), read.next_seq), ("", 2), "chunk 2 may still come");
    let failed = outcome(&d, OutcomeState::Failed, &[]);
    let again = scheduled(&bench.task(run, "a").await);
    bench.change(run, vec![failed], vec![again], 12).await;
    let read = store.read_log(d.attempt_id, 2).await.must();
    assert!(read.text.starts_with("three "), "{read:?}");
    assert_eq!((read.next_seq, read.ended), (4, true));
    assert_eq!(store.append_logs(&[chunk(&d, 4, "tail\n")]).await.must(), 0, "its own token");
    let read = store.read_log(d.attempt_id, 4).await.must();
    assert_eq!((read.text.as_str(), read.next_seq, read.ended), ("tail\n", 5, true));
    let nobody = store.read_log(AttemptId(Uuid::now_v7()), 0).await.expect_err("unknown");
    assert!(matches!(nobody, Error::NotFound { .. }), "{nobody}");
}

/// At most 1 MiB at a time, and all of it in the end.
pub async fn a_long_log(bench: &Bench) {
    let store = bench.store();
    let run = bench.started(&dag("d", &[("a", &[])]), "r", 0).await;
    let d = bench.queue(run, &["a"], 10).await.remove(0);
    bench.claim(&d, 11).await;
    let text = "x".repeat(400 * 1024);
    let chunks: Vec<_> = (0..5).map(|seq| chunk(&d, seq, &text)).collect();
    store.append_logs(&chunks).await.must();
    let ended = entered(&bench.task(run, "a").await, TaskState::Success, t(12));
    bench.change(run, vec![outcome(&d, OutcomeState::Success, &[])], vec![ended], 12).await;
    let (mut seq, mut bytes, mut reads) = (0, 0, 0);
    loop {
        let read = store.read_log(d.attempt_id, seq).await.must();
        assert!(read.text.len() <= 1024 * 1024 && read.next_seq > seq, "{}", read.text.len());
        (seq, bytes, reads) = (read.next_seq, bytes + read.text.len(), reads + 1);
        if read.ended {
            break;
        }
    }
    assert_eq!((seq, bytes, reads), (5, 5 * text.len(), 3));
}
