//! The log of an attempt: its end on the task's page, all of it as a download. Reading needs the
//! store only, never the worker.

use std::collections::VecDeque;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use maud::{Markup, html};
use serde::Deserialize;
use tradewind_proto::AttemptId;
use tradewind_proto::limits::LOG_ATTEMPT_BYTES_MAX;
use tradewind_store::Error;
use tradewind_store::model::AttemptRow;

use super::text::printable;
use super::{Shared, Ui};

/// Lines shown; the download has all.
const LINES_MAX: usize = 1_000;
/// Reads for one log: each but the last returns something, and a log is bounded.
const READS_MAX: usize = LOG_ATTEMPT_BYTES_MAX / 1024;

/// The end of a log.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    /// Lines before those.
    dropped: usize,
    ended: bool,
}

/// Reads the end of an attempt's log.
pub(crate) async fn tail(ui: &Ui, attempt: AttemptId) -> Result<Tail, Error> {
    let mut tail = Tail::default();
    let mut seq = 0;
    for _ in 0..READS_MAX {
        let read = ui.store.read_log(attempt, seq).await?;
        tail.ended = read.ended;
        for line in read.text.lines() {
            tail.lines.push_back(printable(line));
            if tail.lines.len() > LINES_MAX {
                tail.lines.pop_front();
                tail.dropped += 1;
            }
        }
        if read.next_seq <= seq {
            break;
        }
        seq = read.next_seq;
    }
    Ok(tail)
}

/// The log on the task's page.
pub(crate) fn show(tail: &Tail, attempt: &AttemptRow, here: &str) -> Markup {
    html! {
        div.head {
            h2 { "Log of try " (attempt.try_number) }
            @if !tail.ended { span.live-note { "still running" } }
            a href={ (here) "/log?attempt=" (attempt.attempt_id) } { "Download" }
        }
        @if tail.lines.is_empty() { p.empty { "No output." } } @else {
            @if tail.dropped > 0 { p.dim { (tail.dropped) " earlier lines are in the download." } }
            div.log #log data-scroll data-end tabindex="0" role="log" aria-label="Log" {
                @for text in &tail.lines { (line(text)) }
            }
        }
    }
}

/// `2026-11-21T01:02:03.456Z stdout text`, taken apart; anything else as it is.
fn line(text: &str) -> Markup {
    let parts = text.split_once(' ').and_then(|(at, rest)| {
        let clock = at.split_once('T').map(|(_, clock)| clock)?.strip_suffix('Z')?;
        let (source, text) = rest.split_once(' ').unwrap_or((rest, ""));
        matches!(source, "stdout" | "stderr" | "system").then_some((at, clock, source, text))
    });
    match parts {
        Some((at, clock, source, text)) => html! {
            div class={ "line " (source) } { span.at title=(at) { (clock) } span { (text) } }
        },
        None => html! { div.line { span.at {} span { (text) } } },
    }
}

/// Which attempt.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    attempt: AttemptId,
}

/// `GET …/tasks/{task_id}/log?attempt=…`: all of it as plain text, streamed.
pub(crate) async fn download(
    State(ui): State<Shared>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Response {
    match belongs(&ui, &dag_id, &run_id, &task_id, wanted.attempt).await {
        Ok(true) => {}
        Ok(false) => {
            return (StatusCode::NOT_FOUND, "no such attempt of this task\n").into_response();
        }
        Err(error) => {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
    }
    let pieces = stream::try_unfold(Some(0), move |seq: Option<u32>| {
        let ui = Shared::clone(&ui);
        async move {
            let Some(seq) = seq else { return Ok(None) };
            let read = ui.store.read_log(wanted.attempt, seq).await?;
            let next = (read.next_seq > seq).then_some(read.next_seq);
            Ok::<_, Error>(Some((read.text, next)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"task.log\""),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

async fn belongs(
    ui: &Ui,
    dag_id: &str,
    run_id: &str,
    task_id: &str,
    attempt: AttemptId,
) -> Result<bool, Error> {
    let Some(run) = ui.store.run(dag_id, run_id).await? else { return Ok(false) };
    let attempts = ui.store.attempts(run.id).await?;
    Ok(attempts.iter().any(|a| a.attempt_id == attempt && a.task_id == task_id))
}
