//! Cases about joins of chords, and about what is too big.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use tradewind_proto::limits::RESULT_BYTES_MAX;

use super::super::{Join, JoinPart, ResultBackend};
use super::{Subject, TTL, result, unique, within};
use crate::Error;

fn part(group: &str, index: i64) -> JoinPart {
    JoinPart {
        group: group.to_owned(),
        task_id: format!("{group}-{index}"),
        index,
        state: "SUCCESS".to_owned(),
        result: json!({"place": index, "text": "é"}),
    }
}

async fn join(backend: &dyn ResultBackend, part: JoinPart) -> Join {
    within("a join", backend.join(part, TTL)).await.expect("a join")
}

async fn begin(backend: &dyn ResultBackend, group: &str, size: u64) {
    backend.begin_join(group, size, TTL).await.expect("a join's size");
}

fn complete(join: Join) -> (String, Vec<JoinPart>) {
    match join {
        Join::Complete { claim, parts } => (claim, parts),
        other => panic!("not complete but {other:?}"),
    }
}

/// The last part to come gets all of them, by position; numbers beyond nine sort as numbers.
pub async fn parts_come_by_position(subject: &dyn Subject) {
    let (here, there) = (subject.open().await, subject.open().await);
    let group = unique("group");
    begin(&*here, &group, 12).await;
    for index in (1..12).rev() {
        assert_eq!(join(&*there, part(&group, index)).await, Join::Waiting);
    }
    let mut last = part(&group, 0);
    last.state = "FAILURE".to_owned();
    last.result =
        json!({"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"});
    let (_, parts) = complete(join(&*here, last.clone()).await);
    let mut expected: Vec<_> = (1..12).map(|index| part(&group, index)).collect();
    expected.insert(0, last);
    assert_eq!(parts, expected);
}

/// A part that is handed in twice counts once, even with another result.
pub async fn a_repeated_part_counts_once(subject: &dyn Subject) {
    let backend = subject.open().await;
    let group = unique("group");
    begin(&*backend, &group, 2).await;
    assert_eq!(join(&*backend, part(&group, 0)).await, Join::Waiting);
    let mut again = part(&group, 0);
    again.result = json!("another");
    assert_eq!(join(&*backend, again).await, Join::Waiting);
    let (_, parts) = complete(join(&*backend, part(&group, 1)).await);
    assert_eq!(parts, [part(&group, 0), part(&group, 1)]);
}

/// A part that is added counts, once however often it was added; it may share a position.
pub async fn a_join_that_is_extended_waits_for_more(subject: &dyn Subject) {
    let (here, there) = (subject.open().await, subject.open().await);
    let group = unique("group");
    let added = |name: &str| JoinPart { task_id: format!("{group}-{name}"), ..part(&group, 0) };
    begin(&*here, &group, 1).await;
    for name in ["1st", "2nd", "1st"] {
        let added = added(name).task_id;
        there.extend_join(&group, &added, TTL).await.expect("extended");
    }
    assert_eq!(join(&*there, part(&group, 0)).await, Join::Waiting);
    assert_eq!(join(&*here, added("2nd")).await, Join::Waiting);
    let (claim, parts) = complete(join(&*there, added("1st")).await);
    assert_eq!(parts, [part(&group, 0), added("1st"), added("2nd")]);
    there.finish_join(&group, &claim).await.expect("finished");
    // A new run of the same group has its size alone.
    begin(&*here, &group, 1).await;
    complete(join(&*there, part(&group, 0)).await);
}

/// Of parts that end at the same time one is the last.
pub async fn one_of_concurrent_parts_completes(subject: &dyn Subject) {
    const PARTS: i64 = 8;
    let group = unique("group");
    begin(&*subject.open().await, &group, PARTS as u64).await;
    let mut joining = Vec::new();
    for index in 0..PARTS {
        let (backend, part) = (subject.open().await, part(&group, index));
        joining.push(tokio::spawn(async move { join(&*backend, part).await }));
    }
    let mut completed = 0;
    for one in joining {
        if let Join::Complete { parts, .. } = within("a join", one).await.expect("a join") {
            completed += 1;
            assert_eq!(parts.len(), PARTS as usize);
        }
    }
    assert_eq!(completed, 1);
}

/// While somebody sends the body others are told so; if he dies, whoever comes again takes over.
pub async fn an_abandoned_claim_is_taken_over(subject: &dyn Subject) {
    let (here, there) = (subject.open().await, subject.open().await);
    let group = unique("group");
    begin(&*here, &group, 1).await;
    let (first, _) = complete(join(&*here, part(&group, 0)).await);
    assert_eq!(join(&*there, part(&group, 0)).await, Join::Taken);
    let taken_over = async {
        loop {
            match join(&*there, part(&group, 0)).await {
                Join::Taken => sleep(Duration::from_millis(100)).await,
                other => return complete(other),
            }
        }
    };
    let (second, parts) = within("a take-over", taken_over).await;
    assert_ne!(first, second);
    assert_eq!(parts, [part(&group, 0)]);
    // The one that was given up cannot end it any more.
    here.finish_join(&group, &first).await.expect("ignored");
    assert_eq!(join(&*here, part(&group, 0)).await, Join::Taken);
    there.finish_join(&group, &second).await.expect("finished");
    assert_eq!(join(&*here, part(&group, 0)).await, Join::Taken);
}

/// After the body was sent late parts are told so; the same group can begin anew.
pub async fn a_finished_join_stays_finished(subject: &dyn Subject) {
    let (here, there) = (subject.open().await, subject.open().await);
    let group = unique("group");
    begin(&*here, &group, 1).await;
    let (claim, _) = complete(join(&*here, part(&group, 0)).await);
    here.finish_join(&group, &claim).await.expect("finished");
    for index in [0, 1] {
        assert_eq!(join(&*there, part(&group, index)).await, Join::Taken);
    }
    begin(&*there, &group, 1).await;
    complete(join(&*here, part(&group, 0)).await);
    // Parts of an unknown group wait for its size.
    assert_eq!(join(&*here, part(&unique("group"), 0)).await, Join::Waiting);
}

/// What is over the limit is refused with both numbers, and leaves nothing behind.
pub async fn a_result_over_the_limit_is_refused(subject: &dyn Subject) {
    let backend: Arc<dyn ResultBackend> = subject.open().await;
    let mut big = result(&unique("task"), 1, "SUCCESS", &*backend);
    let text = "x".repeat(RESULT_BYTES_MAX);
    big.meta = format!(r#"{{"status": "SUCCESS", "result": "{text}"}}"#).into_bytes();
    let (bytes, task_id) = (big.meta.len(), big.task_id.clone());
    let refused = backend.put(big, TTL).await;
    assert_eq!(refused, Err(Error::TooLarge { bytes, limit: RESULT_BYTES_MAX }));
    assert_eq!(backend.get(&task_id).await.expect("a get"), None);
}
