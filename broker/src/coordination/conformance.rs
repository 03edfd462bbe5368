//! The conformance suite of the coordination seam: every driver passes every case. A new behaviour
//! starts as a case here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::time::sleep;
use uuid::Uuid;

use super::{Coordinator, Revoked};

/// Far longer than any case takes.
const LONG: Duration = Duration::from_secs(600);
/// Lets something run out while the test looks on.
const BRIEF: Duration = Duration::from_millis(300);
/// Nothing that must happen may take longer.
const LIMIT: Duration = Duration::from_secs(20);
/// Parties to a race.
const RACERS: usize = 8;

/// One driver on one server.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens a coordinator as another process would.
    async fn open(&self) -> Arc<dyn Coordinator>;
}

/// Makes one `#[tokio::test]` per case. The subject is an async function that gives a [`Subject`].
#[macro_export]
macro_rules! coordination_conformance {
    ($subject:path) => {
        $crate::coordination_conformance! { $subject;
            revocations_are_seen_elsewhere, revocations_run_out, a_bucket_never_gives_too_much,
            places_are_limited_and_renewed, places_of_the_dead_come_free, one_of_many_claims_a_key,
            a_claim_runs_out_or_is_given_back, starts_are_counted_until_cleared,
            one_of_many_advances_an_entry
        }
    };
    ($subject:path; $($case:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let subject = $subject().await;
                $crate::coordination::conformance::$case(&subject).await;
            }
        )+
    };
}

fn unique(what: &str) -> String {
    format!("{what}-{}", Uuid::new_v4().simple())
}

fn revoked(id: &str, terminate: bool) -> Revoked {
    Revoked { id: id.to_owned(), terminate }
}

/// Runs the same step by several processes at once.
async fn race<T, F>(
    subject: &dyn Subject,
    step: impl Fn(usize, Arc<dyn Coordinator>) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut racers = Vec::new();
    for number in 0..RACERS {
        racers.push(step(number, subject.open().await));
    }
    let running: Vec<_> = racers.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::new();
    for one in running {
        results.push(one.await.expect("a racer"));
    }
    results
}

/// Polls until something is so.
async fn becomes<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let start = Instant::now();
    while !so().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What one process revokes all see, in order of asking; `terminate` stays once said.
pub async fn revocations_are_seen_elsewhere(subject: &dyn Subject) {
    let (here, there) = (subject.open().await, subject.open().await);
    let (a, b, c) = (unique("a"), unique("b"), unique("c"));
    here.revoke(&[revoked(&a, true), revoked(&b, false)], LONG).await.expect("a revocation");
    here.revoke(&[revoked(&a, false)], LONG).await.expect("a revocation");
    here.revoke(&[], LONG).await.expect("no revocation");
    let asked = [b.clone(), c, a.clone()];
    assert_eq!(there.are_revoked(&asked).await, Ok(vec![true, false, true]));
    assert_eq!(there.are_revoked(&[]).await, Ok(vec![]));
    let mut many: Vec<String> = (0..10_000).map(|number| format!("{a}-{number}")).collect();
    many.push(a.clone());
    let told = there.are_revoked(&many).await.expect("more than one call can carry");
    assert_eq!((told.len(), told.iter().position(|hit| *hit)), (10_001, Some(10_000)));
    let all = there.revoked(10_000).await.expect("the revocations");
    let ours: Vec<_> = all.into_iter().filter(|r| r.id == a || r.id == b).collect();
    assert_eq!(ours, [revoked(&a, true), revoked(&b, false)], "newest first");
    assert_eq!(there.revoked(1).await.expect("one").len(), 1);
}

/// A revocation is forgotten after its time.
pub async fn revocations_run_out(subject: &dyn Subject) {
    let here = subject.open().await;
    let id = unique("brief");
    here.revoke(&[revoked(&id, false)], BRIEF).await.expect("a revocation");
    becomes("the revocation is over", || async {
        here.are_revoked(std::slice::from_ref(&id)).await == Ok(vec![false])
    })
    .await;
    let all = here.revoked(10_000).await.expect("the revocations");
    assert!(all.iter().all(|r| r.id != id));
}

/// Many takers of one bucket get no more than its size and what flows in meanwhile.
pub async fn a_bucket_never_gives_too_much(subject: &dyn Subject) {
    const PER_SECOND: f64 = 40.0;
    const BURST: u32 = 5;
    let key = unique("rate");
    let start = Instant::now();
    let taken: Vec<u32> = race(subject, |_, coordinator| {
        let key = key.clone();
        async move {
            let mut taken = 0;
            while start.elapsed() < Duration::from_secs(1) {
                match coordinator.take_token(&key, PER_SECOND, BURST).await.expect("a token") {
                    None => taken += 1,
                    Some(wait) => {
                        assert!(wait <= Duration::from_millis(26), "{wait:?}");
                        sleep(wait).await;
                    }
                }
            }
            taken
        }
    })
    .await;
    let most = f64::from(BURST) + PER_SECOND * start.elapsed().as_secs_f64();
    let sum: u32 = taken.iter().sum();
    assert!(sum >= BURST, "the burst is given at once: {taken:?}");
    assert!(f64::from(sum) <= most, "{taken:?} over {most}");
    let here = subject.open().await;
    assert!(here.take_token(&key, 0.0, 1).await.is_err(), "no rate is no limit");
}

/// No more than the limit hold a place; a holder renews; who leaves makes room.
pub async fn places_are_limited_and_renewed(subject: &dyn Subject) {
    let key = unique("places");
    let entered =
        race(subject, |number, coordinator| {
            let key = key.clone();
            async move {
                coordinator.enter(&key, 3, &format!("h{number}"), LONG).await.expect("a place")
            }
        })
        .await;
    assert_eq!(entered.iter().filter(|entered| **entered).count(), 3, "{entered:?}");
    let here = subject.open().await;
    let holder = format!("h{}", entered.iter().position(|entered| *entered).expect("one"));
    assert_eq!(here.enter(&key, 3, &holder, LONG).await, Ok(true), "entering again renews");
    assert_eq!(here.enter(&key, 3, "late", LONG).await, Ok(false));
    here.leave(&key, "nobody").await.expect("a leave");
    assert_eq!(here.enter(&key, 3, "late", LONG).await, Ok(false));
    here.leave(&key, &holder).await.expect("a leave");
    assert_eq!(here.enter(&key, 3, "late", LONG).await, Ok(true));
}

/// A place whose holder has not renewed its lease is given to the next.
pub async fn places_of_the_dead_come_free(subject: &dyn Subject) {
    let here = subject.open().await;
    let key = unique("places");
    assert_eq!(here.enter(&key, 2, "alive", LONG).await, Ok(true));
    assert_eq!(here.enter(&key, 2, "dead", BRIEF).await, Ok(true));
    let other = subject.open().await;
    becomes("the place is free", || async { other.enter(&key, 2, "next", LONG).await == Ok(true) })
        .await;
    assert_eq!(here.enter(&key, 2, "dead", LONG).await, Ok(false));
}

/// Of many that claim a unique key at once, one wins, and all learn who.
pub async fn one_of_many_claims_a_key(subject: &dyn Subject) {
    let key = unique("unique");
    let answers =
        race(subject, |number, coordinator| {
            let key = key.clone();
            async move {
                coordinator.claim_unique(&key, &number.to_string(), LONG).await.expect("a claim")
            }
        })
        .await;
    let winners: Vec<_> = (0..RACERS).filter(|number| answers[*number].is_none()).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    let winner = winners[0].to_string();
    assert!(answers.iter().flatten().all(|holder| *holder == winner), "{answers:?}");
}

/// A claim is repeated by its holder, released by its holder only, and runs out.
pub async fn a_claim_runs_out_or_is_given_back(subject: &dyn Subject) {
    let here = subject.open().await;
    let key = unique("unique");
    assert_eq!(here.claim_unique(&key, "a", LONG).await, Ok(None));
    assert_eq!(here.claim_unique(&key, "a", LONG).await, Ok(None));
    here.release_unique(&key, "b").await.expect("a release");
    assert_eq!(here.claim_unique(&key, "b", LONG).await, Ok(Some("a".to_owned())));
    here.release_unique(&key, "a").await.expect("a release");
    assert_eq!(here.claim_unique(&key, "b", BRIEF).await, Ok(None));
    becomes("the claim is over", || async { here.claim_unique(&key, "c", LONG).await == Ok(None) })
        .await;
}

/// Starts add up over processes until they are cleared or their time is over.
pub async fn starts_are_counted_until_cleared(subject: &dyn Subject) {
    let (here, there) = (subject.open().await, subject.open().await);
    let (id, other) = (unique("task"), unique("task"));
    assert_eq!(here.count_start(&id, "w1", LONG).await, Ok(1));
    assert_eq!(there.count_start(&id, "w2", LONG).await, Ok(2));
    assert_eq!(here.count_start(&id, "w1", LONG).await, Ok(3));
    assert_eq!(here.count_start(&other, "w1", BRIEF).await, Ok(1));
    let starts = there.starts(&id).await.expect("the starts");
    assert_eq!(starts, ["w1", "w2", "w1"]);
    here.clear_starts(&[id.clone(), unique("none")]).await.expect("cleared");
    here.clear_starts(&[]).await.expect("nothing to clear");
    assert_eq!(there.starts(&id).await, Ok(vec![]));
    assert_eq!(there.count_start(&id, "w3", LONG).await, Ok(1));
    becomes("the starts are over", || async { here.starts(&other).await == Ok(vec![]) }).await;
}

/// Of several beats that move an entry on from the same time, one wins.
pub async fn one_of_many_advances_an_entry(subject: &dyn Subject) {
    let here = subject.open().await;
    let entry = unique("entry");
    assert_eq!(here.last_sent(&entry).await, Ok(None));
    let mut last = None;
    for now in [1_795_218_527_227_277_i64, 1_795_218_587_227_277] {
        let moved = race(subject, |_, coordinator| {
            let entry = entry.clone();
            async move { coordinator.advance(&entry, last, now).await.expect("a move") }
        })
        .await;
        assert_eq!(moved.iter().filter(|moved| **moved).count(), 1, "{moved:?}");
        assert_eq!(here.last_sent(&entry).await, Ok(Some(now)));
        last = Some(now);
    }
    assert_eq!(here.advance(&entry, None, 5).await, Ok(false));
}
