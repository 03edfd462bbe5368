//! Cases about results.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::{Put, ResultBackend, StoredResult};
use super::{Subject, TTL, arrives, as_read, result, unique, within};

/// Rounds of a latency case; the median counts, because the machine may be busy.
const ROUNDS: usize = 15;
/// Far below every polling interval of the drivers.
const AT_ONCE: Duration = Duration::from_millis(40);

pub(super) fn assert_prompt(mut delays: Vec<Duration>) {
    delays.sort_unstable();
    let median = delays[delays.len() / 2];
    assert!(median < AT_ONCE, "median {median:?} of {delays:?}");
}

async fn put(backend: &dyn ResultBackend, result: &StoredResult) -> Put {
    within("a put", backend.put(result.clone(), TTL)).await.expect("a put")
}

/// What one process puts another one gets, byte for byte.
pub async fn a_result_is_read_elsewhere(subject: &dyn Subject) {
    let (writer, reader) = (subject.open().await, subject.open().await);
    let id = unique("task");
    assert_eq!(reader.get(&id).await.expect("a get"), None);
    for (token, state) in [(1, "STARTED"), (1, "FAILURE")] {
        let put_now = result(&id, token, state, &*reader);
        assert_eq!(put(&*writer, &put_now).await, Put::Stored);
        arrives(&*reader, &put_now).await;
    }
    reader.health().await.expect("health");
}

/// What a process puts it gets itself, at once where no reply queue is named.
pub async fn a_result_is_read_here(subject: &dyn Subject) {
    let backend = subject.open().await;
    let mut done = result(&unique("task"), 3, "SUCCESS", &*backend);
    done.reply_to = None;
    assert_eq!(put(&*backend, &done).await, Put::Stored);
    assert_eq!(backend.get(&done.task_id).await.expect("a get"), Some(done.clone()));
    let waited = backend.wait(&done.task_id, Duration::ZERO).await.expect("a wait");
    assert_eq!(waited, Some(done));
}

/// Forget drops a result, and a later put starts anew.
pub async fn a_forgotten_result_is_gone(subject: &dyn Subject) {
    let backend = subject.open().await;
    let done = result(&unique("task"), 9, "SUCCESS", &*backend);
    put(&*backend, &done).await;
    arrives(&*backend, &done).await;
    backend.forget(&done.task_id).await.expect("a forget");
    assert_eq!(backend.get(&done.task_id).await.expect("a get"), None);
    backend.forget(&done.task_id).await.expect("a second forget");
    let again = result(&done.task_id, 1, "SUCCESS", &*backend);
    assert_eq!(put(&*backend, &again).await, Put::Stored);
    arrives(&*backend, &again).await;
}

async fn lower_token(first: &dyn ResultBackend, second: &dyn ResultBackend) {
    let id = unique("task");
    let newer = result(&id, 5, "STARTED", first);
    assert_eq!(put(first, &newer).await, Put::Stored);
    arrives(first, &newer).await;
    for state in ["STARTED", "SUCCESS"] {
        let late = result(&id, 4, state, first);
        assert_eq!(put(second, &late).await, Put::Superseded);
    }
    arrives(first, &newer).await;
    let next = result(&id, 6, "RETRY", first);
    assert_eq!(put(second, &next).await, Put::Stored);
    arrives(first, &next).await;
}

/// An earlier attempt's result never replaces a later one's.
pub async fn a_lower_token_is_superseded(subject: &dyn Subject) {
    let backend = subject.open().await;
    lower_token(&*backend, &*backend).await;
}

/// The same when the two writers are different processes.
pub async fn a_lower_token_is_superseded_across_processes(subject: &dyn Subject) {
    lower_token(&*subject.open().await, &*subject.open().await).await;
}

/// Of two ends of one attempt the first stands; a later attempt replaces it.
pub async fn the_first_end_of_an_attempt_stands(subject: &dyn Subject) {
    let backend = subject.open().await;
    for end in ["SUCCESS", "FAILURE", "REVOKED"] {
        let id = unique("task");
        let first = result(&id, 2, end, &*backend);
        assert_eq!(put(&*backend, &first).await, Put::Stored);
        arrives(&*backend, &first).await;
        let other = if end == "SUCCESS" { "FAILURE" } else { "SUCCESS" };
        let second = result(&id, 2, other, &*backend);
        assert_eq!(put(&*backend, &second).await, Put::Superseded);
        arrives(&*backend, &first).await;
        let later = result(&id, 3, other, &*backend);
        assert_eq!(put(&*backend, &later).await, Put::Stored);
        arrives(&*backend, &later).await;
    }
}

/// STARTED and RETRY give way to whatever the same attempt reports next.
pub async fn an_open_state_is_replaced(subject: &dyn Subject) {
    let backend = subject.open().await;
    let id = unique("task");
    for state in ["STARTED", "RETRY", "STARTED", "SUCCESS"] {
        let next = result(&id, 1, state, &*backend);
        assert_eq!(put(&*backend, &next).await, Put::Stored);
        arrives(&*backend, &next).await;
    }
}

/// A waiter learns of a result by notification, not by polling.
pub async fn wait_wakes_at_once(subject: &dyn Subject) {
    let (writer, reader) = (subject.open().await, subject.open().await);
    let mut delays = Vec::new();
    for _ in 0..ROUNDS {
        let done = result(&unique("task"), 1, "SUCCESS", &*reader);
        let waiting = {
            let (reader, id) = (Arc::clone(&reader), done.task_id.clone());
            tokio::spawn(async move { (reader.wait(&id, TTL).await, Instant::now()) })
        };
        // Long enough to be waiting, out of step with the polls.
        sleep(Duration::from_millis(70)).await;
        let put_at = Instant::now();
        put(&*writer, &done).await;
        let (found, at) = within("a wait", waiting).await.expect("the waiter");
        assert_eq!(found.expect("a wait"), Some(as_read(done)));
        delays.push(at.saturating_duration_since(put_at));
    }
    assert_prompt(delays);
}

/// A wait does not end with STARTED.
pub async fn wait_passes_over_open_states(subject: &dyn Subject) {
    let backend = subject.open().await;
    let started = result(&unique("task"), 1, "STARTED", &*backend);
    put(&*backend, &started).await;
    arrives(&*backend, &started).await;
    let waited = backend.wait(&started.task_id, Duration::from_millis(200)).await;
    assert_eq!(waited.expect("a wait"), None);
    let done = result(&started.task_id, 1, "REVOKED", &*backend);
    let waiting = within("a wait", backend.wait(&done.task_id, TTL));
    let (waited, _) = tokio::join!(waiting, put(&*backend, &done));
    assert_eq!(waited.expect("a wait"), Some(as_read(done)));
}

/// A wait for nothing ends in time, also with a zero limit.
pub async fn wait_times_out(subject: &dyn Subject) {
    let backend = subject.open().await;
    for limit_ms in [0, 150] {
        let limit = Duration::from_millis(limit_ms);
        let start = Instant::now();
        let waited = backend.wait(&unique("task"), limit).await;
        assert_eq!(waited.expect("a wait"), None);
        assert!(start.elapsed() >= limit);
        assert!(start.elapsed() < limit + Duration::from_secs(5));
    }
}

/// A result is gone after its time, and does not fence what comes then.
pub async fn results_expire(subject: &dyn Subject) {
    let backend = subject.open().await;
    let brief = result(&unique("task"), 8, "SUCCESS", &*backend);
    let lasting = result(&unique("task"), 8, "SUCCESS", &*backend);
    put(&*backend, &lasting).await;
    backend.put(brief.clone(), Duration::from_millis(400)).await.expect("a put");
    arrives(&*backend, &brief).await;
    let gone = async {
        while backend.get(&brief.task_id).await.expect("a get").is_some() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    within("an expiry", gone).await;
    let anew = result(&brief.task_id, 1, "SUCCESS", &*backend);
    assert_eq!(put(&*backend, &anew).await, Put::Stored);
    backend.sweep().await.expect("a sweep");
    arrives(&*backend, &lasting).await;
    arrives(&*backend, &anew).await;
}

/// 1 MiB of result, with every byte that JSON text can hold.
pub async fn a_large_result_comes_back_unchanged(subject: &dyn Subject) {
    let (writer, reader) = (subject.open().await, subject.open().await);
    let mut done = result(&unique("task"), 1, "SUCCESS", &*reader);
    let text = "grün \\u0000 \\\"x\\\" ".repeat(60_000);
    done.meta = format!(r#"{{"result": "{text}", "status": "SUCCESS"}}"#).into_bytes();
    assert!(done.meta.len() > 1 << 20);
    put(&*writer, &done).await;
    arrives(&*reader, &done).await;
}
