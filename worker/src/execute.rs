//! One attempt from its grant to its outcome: limits its time, hears stop requests, ships its logs,
//! and says how it ended. How it is run is the runtime's business.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tradewind_broker::trace;
use tradewind_proto::execution::Grant;
use tradewind_proto::limits::{ERROR_TEXT_BYTES_MAX, XCOM_BYTES_MAX, XCOMS_TOTAL_BYTES_MAX};
use tradewind_proto::sign::seal_outcome;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::{Outcome, OutcomeHead, Workload};
use tradewind_proto::{AttemptId, Timestamp};

use crate::attempts::Stop;
use crate::core::{Core, Tally, Ticket};
use crate::finish::Finished;
use crate::fleet::panic_text;
use crate::runtime::{AttemptJob, Ended};

/// How long the outcome may wait for the log store to take the last lines.
const LOG_FLUSH_MAX: Duration = Duration::from_secs(2);

/// Starts a granted attempt. It is heartbeated from here on.
pub(crate) fn start(
    core: &Arc<Core>,
    workload: Workload,
    grant: Box<Grant>,
    header_trace: Option<String>,
    ticket: Ticket,
) {
    let attempt_id = workload.attempt_id();
    let cancel = core.attempts.insert(attempt_id, workload.token);
    let span = tracing::info_span!(
        "task.run",
        dag_id = %workload.dag_id,
        run_id = %workload.run_id,
        task_id = %workload.task_id,
        try_number = workload.try_number,
        attempt_id = %attempt_id,
    );
    let parent = header_trace.unwrap_or_else(|| workload.trace_parent.clone());
    trace::set_parent(&span, &parent);
    let own = trace::traceparent(&span);
    let job = AttemptJob {
        attempt_id,
        log: core.logs.open(attempt_id, workload.token),
        trace_parent: if own.is_empty() { parent } else { own },
        workload,
        grant,
        worker: Arc::clone(&core.name),
        instance: core.instance,
        hostname: Arc::clone(&core.hostname),
        api: Arc::clone(&core.api),
    };
    core.work.spawn(attempt(Arc::clone(core), job, cancel, ticket).instrument(span));
}

async fn attempt(core: Arc<Core>, job: AttemptJob, cancel: CancellationToken, ticket: Ticket) {
    let attempt_id = job.attempt_id;
    let log = job.log.clone();
    let inbox = match job.workload.reply_to.as_str() {
        "" => core.options.results_inbox.clone(),
        named => named.to_owned(),
    };
    let head = OutcomeHead {
        attempt_id,
        token: job.workload.token,
        run: job.grant.context.run,
        task_id: job.workload.task_id.clone(),
        map_index: job.workload.map_index,
        worker: core.name.to_string(),
    };
    core.metrics.running.inc();
    let started = core.clock.now();
    let ended = limited(&core, job, &cancel).await;
    let stopped_at = core.clock.now();
    core.metrics.running.dec();
    let stop = core.attempts.ended(attempt_id);
    let Ticket { slot, unsent } = ticket;
    drop(slot);
    log.flush(LOG_FLUSH_MAX).await;
    log.close();
    let ended = judge(ended, stop);
    core.metrics.attempts.with_label_values(&[ended.state.as_str()]).inc();
    tracing::info!(state = %ended.state, why = first_line(&ended.message), "attempt ended");
    let counter = match ended.state {
        OutcomeState::HandedBack => &core.tally.handed_back,
        _ => &core.tally.finished,
    };
    Tally::add(counter);
    if stop == Some(Stop::Stale) && ended.state == OutcomeState::Cancelled {
        // Its token is old: the store would refuse the outcome.
        core.attempts.remove(attempt_id);
        return;
    }
    let Some(body) = seal(head, ended, started, stopped_at) else {
        core.attempts.remove(attempt_id);
        return;
    };
    let finished = Finished { attempt: attempt_id, inbox, body, unsent };
    if core.finished.send(finished).await.is_err() {
        Tally::add(&core.tally.unsent);
    }
}

/// Runs it within its time.
async fn limited(core: &Core, job: AttemptJob, cancel: &CancellationToken) -> Ended {
    if core.draining.is_cancelled() {
        return Ended::new(OutcomeState::HandedBack, "the worker is draining");
    }
    let kind = job.grant.task.runtime;
    let Some(runtime) = core.runtimes.get(kind) else {
        let text = format!(
            "this worker has no runtime {kind:?} for operator {:?}",
            job.grant.task.operator
        );
        return Ended::failed(text);
    };
    let limit = job.grant.task.execution_timeout.filter(|seconds| *seconds > 0.0);
    let limit = limit.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let own = cancel.child_token();
    // A runtime's panic is a bug of ours; it must not leave the attempt without an outcome.
    let run = std::panic::AssertUnwindSafe(runtime.run(job, own.clone())).catch_unwind();
    let mut run = std::pin::pin!(run);
    let expired = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let (ended, timed_out) = tokio::select! {
        biased;
        ended = &mut run => (ended, false),
        () = expired => {
            own.cancel();
            (run.await, true)
        }
    };
    let mut ended = ended.unwrap_or_else(|panic| {
        Ended::failed(format!("internal error in runtime {kind}: {}", panic_text(&panic)))
    });
    if timed_out && !cancel.is_cancelled() && ended.state == OutcomeState::Cancelled {
        let seconds = limit.unwrap_or_default().as_secs_f64();
        ended.state = OutcomeState::TimedOut;
        ended.message =
            format!("execution_timeout of {seconds} s passed; the process tree was killed");
    }
    ended
}

/// Applies the limits and the reason of a stop.
fn judge(mut ended: Ended, stop: Option<Stop>) -> Ended {
    if ended.state == OutcomeState::Cancelled && stop == Some(Stop::Drain) {
        ended.state = OutcomeState::HandedBack;
        ended.message = "the worker stopped before the attempt had ended".to_owned();
    }
    let too_big = ended.xcoms.iter().find(|xcom| xcom.json.len() > XCOM_BYTES_MAX).map(|xcom| {
        format!(
            "XCom {:?} has {} bytes, limit {XCOM_BYTES_MAX}; pass a path or URL instead of the data",
            xcom.key,
            xcom.json.len()
        )
    });
    let total: usize = ended.xcoms.iter().map(|xcom| xcom.json.len() + xcom.key.len()).sum();
    let too_big = too_big.or_else(|| {
        (total > XCOMS_TOTAL_BYTES_MAX).then(|| {
            format!("all XComs together have {total} bytes, limit {XCOMS_TOTAL_BYTES_MAX}")
        })
    });
    if let Some(text) = too_big {
        ended = Ended { pid: ended.pid, ..Ended::failed(text) };
    }
    if ended.message.len() > ERROR_TEXT_BYTES_MAX {
        let end = ended.message.floor_char_boundary(ERROR_TEXT_BYTES_MAX);
        ended.message.truncate(end);
    }
    ended
}

fn seal(head: OutcomeHead, ended: Ended, started: Timestamp, at: Timestamp) -> Option<Vec<u8>> {
    let attempt_id: AttemptId = head.attempt_id;
    let mut outcome = Outcome::new(head, ended.state, started, at.max(started));
    outcome.pid = ended.pid;
    outcome.message = ended.message;
    outcome.xcoms = ended.xcoms;
    outcome.skip = ended.skip;
    match seal_outcome(&outcome) {
        Ok(body) => Some(body),
        Err(error) => {
            // Only a skip list can still be too long.
            outcome.set_state(OutcomeState::Failed);
            outcome.message = format!("the outcome does not fit its frame: {error}");
            outcome.xcoms.clear();
            outcome.skip.clear();
            seal_outcome(&outcome)
                .inspect_err(|error| tracing::error!(%error, %attempt_id, "outcome lost"))
                .ok()
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tradewind_proto::limits::{ERROR_TEXT_BYTES_MAX, XCOM_BYTES_MAX};
    use tradewind_proto::state::OutcomeState;
    use tradewind_proto::workload::Xcom;

    use super::judge;
    use crate::attempts::Stop;
    use crate::runtime::Ended;

    fn xcom(bytes: usize) -> Xcom {
        Xcom { key: "k".to_owned(), json: "1".repeat(bytes) }
    }

    #[test]
    fn a_drained_attempt_is_handed_back_but_a_finished_one_is_not() {
        let killed = Ended::new(OutcomeState::Cancelled, "killed");
        assert_eq!(judge(killed.clone(), Some(Stop::Drain)).state, OutcomeState::HandedBack);
        assert_eq!(judge(killed, Some(Stop::Cancelled)).state, OutcomeState::Cancelled);
        let won = Ended::new(OutcomeState::Success, "");
        assert_eq!(judge(won, Some(Stop::Drain)).state, OutcomeState::Success);
    }

    #[test]
    fn limits_of_xcoms_and_text_hold() {
        let mut big = Ended::new(OutcomeState::Success, "");
        big.xcoms.push(xcom(XCOM_BYTES_MAX + 1));
        let big = judge(big, None);
        assert_eq!((big.state, big.xcoms.len()), (OutcomeState::Failed, 0));
        assert!(big.message.contains("XCom \"k\""), "{}", big.message);
        let mut many = Ended::new(OutcomeState::Success, "");
        many.xcoms.extend((0..5).map(|_| xcom(XCOM_BYTES_MAX)));
        assert!(judge(many, None).message.contains("all XComs together"));
        let long = judge(Ended::failed("é".repeat(ERROR_TEXT_BYTES_MAX)), None);
        assert!(long.message.len() <= ERROR_TEXT_BYTES_MAX);
    }
}
