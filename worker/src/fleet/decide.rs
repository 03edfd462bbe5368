//! What becomes of a task before and after its run. Pure.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use tradewind_broker::StoredResult;
use tradewind_proto::Timestamp;
use tradewind_proto::celery::canvas::Plan;
use tradewind_proto::celery::{Request, state, wide};

use super::error::{Failure, Retry, TaskError};
use super::options::TaskOptions;
use super::registry::Outcome;
use super::replace::replacement;
use super::report::token;
use super::stop::StopReason;

/// Largest result, as JSON text; the same as a message body, because the next task of a chain gets it as
/// an argument.
pub(crate) const RESULT_BYTES_MAX: usize = 3 * 1024 * 1024;

/// What the reason of a poisonous message begins with.
const POISON: &str = "poison: ";

/// Before a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    Go,
    Revoked,
    Expired,
    Postponed(Timestamp),
}

pub(crate) fn before(request: &Request, revoked: bool, now: Timestamp) -> Verdict {
    if revoked {
        return Verdict::Revoked;
    }
    if request.expires.is_some_and(|at| at <= now) {
        return Verdict::Expired;
    }
    match request.eta {
        Some(eta) if eta > now => Verdict::Postponed(eta),
        _ => Verdict::Go,
    }
}

/// What a redelivered message still needs, given what is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Again {
    /// Run it.
    Run,
    /// It ended: its follow-ups, and the ack.
    Repeat(Ending),
    /// It was found to be poison, but is not in the dead-letter queue: for this reason.
    Bury(String),
    /// A later run has taken over: the ack alone.
    Drop,
}

pub(crate) fn again(request: &Request, stored: Option<&StoredResult>) -> Again {
    let Some(stored) = stored else { return Again::Run };
    let own = token(request);
    if stored.token > own || (stored.token == own && stored.state == state::RETRY) {
        return Again::Drop;
    }
    if stored.token < own || !state::is_terminal(&stored.state) {
        return Again::Run;
    }
    let meta = wide::from_slice(&stored.meta).unwrap_or_default();
    let result = meta.get("result").cloned().unwrap_or_default();
    Again::Repeat(match stored.state.as_str() {
        state::SUCCESS => Ending::Success(result),
        state::REVOKED => Ending::Revoked { why: "revoked", signum: None },
        _ => {
            let failure = Failure::from_result(&result);
            if let Some(evidence) = poison(&failure) {
                return Again::Bury(evidence.to_owned());
            }
            Ending::Failure(failure)
        }
    })
}

/// Why a message is poison: what its workers died of says so.
pub(crate) fn evidence(deaths: u32, workers: &[String]) -> String {
    let who = workers.join(", ");
    format!("{POISON}its worker died at least {deaths} times while it ran; workers: {who}")
}

/// What whoever waits for a poisonous message is told, as Celery says it of a lost worker.
pub(crate) fn lost_worker(evidence: &str) -> Failure {
    Failure::new("WorkerLostError", evidence).module("billiard.exceptions")
}

/// The evidence, if this is such a failure.
fn poison(failure: &Failure) -> Option<&str> {
    let text = failure.args.first().and_then(Value::as_str)?;
    (failure.exc_type == "WorkerLostError" && text.starts_with(POISON)).then_some(text)
}

/// After a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    Success(Value),
    Failure(Failure),
    Retry {
        eta: Timestamp,
        because: Failure,
        /// What runs then.
        next: Box<Request>,
    },
    Revoked {
        why: &'static str,
        signum: Option<i32>,
    },
    /// What runs in its place is sent.
    Replaced(Box<Plan>),
    Ignored,
    Rejected {
        requeue: bool,
        reason: String,
    },
    /// Not ended: for another worker.
    HandedBack,
}

impl Ending {
    /// Celery's name of the state.
    pub(crate) fn state(&self) -> &'static str {
        match self {
            Self::Success(_) => state::SUCCESS,
            Self::Failure(_) => state::FAILURE,
            Self::Retry { .. } => state::RETRY,
            Self::Revoked { .. } => state::REVOKED,
            Self::Replaced(_) | Self::Ignored => "IGNORED",
            Self::Rejected { .. } => "REJECTED",
            Self::HandedBack => "HANDED_BACK",
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum RunEnd {
    /// The handler returned.
    Returned(Outcome),
    Panicked(String),
    /// The handler was dropped.
    Killed(StopReason),
}

/// What a handler that was asked to stop has come to: who is told to stop does not fail by it, and a kill
/// is one even if the handler hears of it first.
pub(crate) fn heard(end: RunEnd, asked: Option<StopReason>) -> RunEnd {
    match (asked, &end) {
        (Some(why @ StopReason::Terminated(_)), _)
        | (Some(why @ (StopReason::Drained | StopReason::TimeLimit)), RunEnd::Returned(Err(_))) => {
            RunEnd::Killed(why)
        }
        _ => end,
    }
}

pub(crate) fn after(
    end: RunEnd,
    request: &Request,
    options: &TaskOptions,
    hard: Option<Duration>,
    now: Timestamp,
) -> Ending {
    let error = match end {
        RunEnd::Returned(Ok(value)) => return fits(value),
        RunEnd::Returned(Err(error)) => error,
        RunEnd::Panicked(text) => TaskError::Fail(Failure::new("Panic", text).module("tradewind")),
        RunEnd::Killed(StopReason::Terminated(signal)) => {
            return Ending::Revoked { why: "terminated", signum: Some(signal) };
        }
        RunEnd::Killed(StopReason::Drained) => return Ending::HandedBack,
        // As in Celery, no retry follows.
        RunEnd::Killed(StopReason::TimeLimit) => return Ending::Failure(time_limit(hard)),
        RunEnd::Killed(StopReason::SoftTimeLimit) => StopReason::SoftTimeLimit.into(),
    };
    match error {
        TaskError::Fail(failure) if options.retry.covers(&failure.exc_type) => {
            let retry = Retry { because: Some(failure), ..Retry::default() };
            retried(retry, request, options, now)
        }
        TaskError::Fail(failure) => Ending::Failure(failure),
        TaskError::Retry(retry) => retried(*retry, request, options, now),
        TaskError::Replace(by) => match replacement(request, *by, now) {
            Ok(plan) => Ending::Replaced(Box::new(plan)),
            Err(failure) => Ending::Failure(failure),
        },
        TaskError::Ignore => Ending::Ignored,
        TaskError::Reject { requeue, reason } => Ending::Rejected { requeue, reason },
    }
}

fn retried(retry: Retry, request: &Request, options: &TaskOptions, now: Timestamp) -> Ending {
    if request.retries >= retry.max_retries.unwrap_or(options.retry.max) {
        let text = format!("Can't retry {}[{}]: all retries are used up", request.task, request.id);
        return Ending::Failure(retry.because.unwrap_or_else(|| {
            Failure::new("MaxRetriesExceededError", text).module("celery.exceptions")
        }));
    }
    let policy = || options.retry.wait(&request.id, request.retries);
    let wait = retry.countdown.unwrap_or_else(policy);
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    let eta = retry.eta.unwrap_or_else(|| now.saturating_add(wait).unwrap_or(Timestamp::MAX));
    let mut next = next_run(request, eta);
    if let Some(args) = retry.args {
        next.args = args;
    }
    if let Some(kwargs) = retry.kwargs {
        next.kwargs = kwargs;
    }
    if (&next.args, &next.kwargs) != (&request.args, &request.kwargs) && !request.is_hidden() {
        // Made anew when it is sent.
        next.argsrepr.clear();
        next.kwargsrepr.clear();
    }
    let because = retry.because.unwrap_or_else(|| {
        Failure::new("Retry", "Task can be retried").module("celery.exceptions")
    });
    Ending::Retry { eta, because, next: Box::new(next) }
}

fn time_limit(hard: Option<Duration>) -> Failure {
    let text = format!("{}", hard.unwrap_or_default().as_secs_f64());
    let mut failure = Failure::new("TimeLimitExceeded", text).module("billiard.exceptions");
    failure.args = vec![serde_json::json!(hard.unwrap_or_default().as_secs_f64())];
    failure
}

/// A result that is too large fails its task: nobody could read it.
fn fits(value: Value) -> Ending {
    let may_be_large = !matches!(value, Value::Null | Value::Bool(_) | Value::Number(_));
    if may_be_large {
        let bytes = value.to_string().len();
        if bytes > RESULT_BYTES_MAX {
            let text = format!(
                "the result has {bytes} bytes, limit {RESULT_BYTES_MAX}; return a path or URL instead of the data"
            );
            return Ending::Failure(Failure::new("ResultTooLarge", text).module("tradewind"));
        }
    }
    Ending::Success(value)
}

/// The request of the next run.
fn next_run(request: &Request, eta: Timestamp) -> Request {
    Request { retries: request.retries.saturating_add(1), eta: Some(eta), ..request.clone() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tradewind_broker::StoredResult;
    use tradewind_proto::celery::Request;
    use tradewind_proto::clock::from_micros;

    use super::{Again, Ending, RESULT_BYTES_MAX, RunEnd, Verdict, after, again, before};
    use crate::fleet::{Failure, Retry, RetryPolicy, StopReason, TaskError, TaskOptions};

    fn request(retries: u32) -> Request {
        Request { retries, ..Request::new("add", "a") }
    }

    fn ended(error: TaskError, retries: u32, retry: RetryPolicy) -> Ending {
        let options = TaskOptions { retry, ..TaskOptions::default() };
        after(RunEnd::Returned(Err(error)), &request(retries), &options, None, from_micros(0))
    }

    #[test]
    fn revoked_before_expired_before_postponed() {
        let (now, later) = (from_micros(5), from_micros(6));
        let mut one = request(0);
        assert_eq!(before(&one, false, now), Verdict::Go);
        one.eta = Some(later);
        assert_eq!(before(&one, false, now), Verdict::Postponed(later));
        assert_eq!(before(&one, false, later), Verdict::Go);
        one.expires = Some(now);
        assert_eq!(before(&one, false, now), Verdict::Expired);
        assert_eq!(before(&one, true, now), Verdict::Revoked);
    }

    #[test]
    fn a_redelivered_message_runs_unless_its_end_is_stored() {
        let stored = |token, state: &str, result| StoredResult {
            task_id: "a".to_owned(),
            token,
            state: state.to_owned(),
            meta: json!({"status": state, "result": result}).to_string().into_bytes(),
            reply_to: None,
        };
        let one = request(2);
        assert_eq!(again(&one, None), Again::Run);
        assert_eq!(again(&one, Some(&stored(1, "RETRY", json!(null)))), Again::Run);
        assert_eq!(again(&one, Some(&stored(2, "STARTED", json!(null)))), Again::Run);
        assert_eq!(again(&one, Some(&stored(2, "RETRY", json!(null)))), Again::Drop);
        assert_eq!(again(&one, Some(&stored(3, "STARTED", json!(null)))), Again::Drop);
        let done = again(&one, Some(&stored(2, "SUCCESS", json!(7))));
        assert_eq!(done, Again::Repeat(Ending::Success(json!(7))));
        let failure = Failure::new("KeyError", "x");
        let failed = again(&one, Some(&stored(2, "FAILURE", failure.to_result())));
        // Told, but cut off before it was set aside.
        let reason = super::evidence(3, &["celery@a".to_owned(), "celery@b".to_owned()]);
        let told = super::lost_worker(&reason).to_result();
        assert_eq!(again(&one, Some(&stored(2, "FAILURE", told))), Again::Bury(reason));
        let Again::Repeat(Ending::Failure(found)) = failed else { panic!("{failed:?}") };
        assert_eq!(found.to_result(), failure.to_result());
    }

    #[test]
    fn failures_are_retried_as_the_policy_says() {
        let policy = RetryPolicy::fixed(2, Duration::from_secs(9));
        let failure = TaskError::fail("KeyError", "x");
        let Ending::Retry { eta, because, .. } = ended(failure.clone(), 1, policy.clone()) else {
            panic!("retried")
        };
        assert_eq!((eta, because.exc_type.as_str()), (from_micros(9_000_000), "KeyError"));
        let last = ended(failure.clone(), 2, policy);
        assert!(matches!(last, Ending::Failure(f) if f.exc_type == "KeyError"));
        let plain = ended(failure, 0, RetryPolicy::default());
        assert!(matches!(plain, Ending::Failure(_)), "nobody asked for a retry");
        let asked = ended(TaskError::retry(), 3, RetryPolicy::default());
        assert!(matches!(asked, Ending::Failure(f) if f.exc_type == "MaxRetriesExceededError"));
        let soon = ended(TaskError::retry_in(Duration::from_secs(1)), 0, RetryPolicy::default());
        assert!(matches!(soon, Ending::Retry { eta, .. } if eta == from_micros(1_000_000)));
    }

    #[test]
    fn a_retry_may_have_other_arguments() {
        let mut request = request(0);
        (request.args, request.argsrepr) = (vec![json!(1)], "(1,)".to_owned());
        let next = |args, request: &Request| {
            let error = TaskError::Retry(Box::new(Retry { args, ..Retry::default() }));
            let (end, options) = (RunEnd::Returned(Err(error)), TaskOptions::default());
            match after(end, request, &options, None, from_micros(0)) {
                Ending::Retry { next, .. } => *next,
                other => panic!("{other:?}"),
            }
        };
        let same = next(None, &request);
        assert_eq!((same.retries, &same.args, same.argsrepr.as_str()), (1, &request.args, "(1,)"));
        let other = next(Some(vec![json!(2)]), &request);
        assert_eq!(
            (&other.args, other.to_message().headers["argsrepr"].as_str()),
            (&vec![json!(2)], Some("(2,)"))
        );
        request.argsrepr = tradewind_proto::seal::ENCRYPTED.to_owned();
        assert!(next(Some(vec![json!(2)]), &request).is_hidden());
    }

    #[test]
    fn each_kind_of_stop_has_its_ending() {
        let options = TaskOptions::default();
        let killed = |why| {
            let hard = Some(Duration::from_secs(3));
            after(RunEnd::Killed(why), &request(0), &options, hard, from_micros(0))
        };
        assert_eq!(killed(StopReason::Drained), Ending::HandedBack);
        assert_eq!(killed(StopReason::Terminated(9)).state(), "REVOKED");
        let Ending::Failure(hard) = killed(StopReason::TimeLimit) else { panic!("fails") };
        assert_eq!(hard.repr(), "TimeLimitExceeded(3.0)");
        let Ending::Failure(soft) = killed(StopReason::SoftTimeLimit) else { panic!("fails") };
        assert_eq!(soft.exc_type, "SoftTimeLimitExceeded");
    }

    #[test]
    fn a_handler_that_hears_of_a_stop_has_not_failed() {
        let returned = |outcome: crate::fleet::Outcome, why| {
            let end = super::heard(RunEnd::Returned(outcome), Some(why));
            after(end, &request(0), &TaskOptions::default(), None, from_micros(0)).state()
        };
        let (well, stopped) = (|| Ok(json!(1)), || Err(StopReason::Drained.into()));
        assert_eq!(returned(well(), StopReason::Drained), "SUCCESS");
        assert_eq!(returned(stopped(), StopReason::Drained), "HANDED_BACK");
        assert_eq!(returned(well(), StopReason::Terminated(15)), "REVOKED");
        assert_eq!(returned(stopped(), StopReason::SoftTimeLimit), "FAILURE");
    }

    #[test]
    fn a_result_that_nobody_could_read_fails_its_task() {
        let value = json!("x".repeat(RESULT_BYTES_MAX));
        let options = TaskOptions::default();
        let large = after(RunEnd::Returned(Ok(value)), &request(0), &options, None, from_micros(0));
        let Ending::Failure(failure) = large else { panic!("fails") };
        assert!(failure.message().contains("return a path"), "{failure:?}");
    }
}
