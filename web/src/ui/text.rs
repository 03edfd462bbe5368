//! How times, durations and states are written for people.

use maud::{Markup, html};
use tradewind_proto::Timestamp;
use tradewind_proto::state::{OutcomeState, RunState, TaskState};

/// A state's look: CSS class and a sign, so that colour is never the only difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) class: &'static str,
    pub(crate) sign: &'static str,
    pub(crate) name: &'static str,
}

/// Of a task instance.
pub(crate) fn task_look(state: TaskState) -> Look {
    let (class, sign) = match state {
        TaskState::None => ("s-none", ""),
        TaskState::Scheduled => ("s-scheduled", "·"),
        TaskState::Queued => ("s-queued", "…"),
        TaskState::Running => ("s-running", "▶"),
        TaskState::Success => ("s-success", "✓"),
        TaskState::Failed => ("s-failed", "✕"),
        TaskState::UpForRetry => ("s-retry", "↻"),
        TaskState::UpForReschedule => ("s-reschedule", "⟳"),
        TaskState::Deferred => ("s-deferred", "◔"),
        TaskState::Skipped => ("s-skipped", "–"),
        TaskState::UpstreamFailed => ("s-upstream", "!"),
        TaskState::Removed => ("s-removed", "×"),
    };
    let name = if state == TaskState::None { "no status" } else { state.as_str() };
    Look { class, sign, name }
}

/// Of a run.
pub(crate) fn run_look(state: RunState) -> Look {
    task_look(match state {
        RunState::Queued => TaskState::Queued,
        RunState::Running => TaskState::Running,
        RunState::Success => TaskState::Success,
        RunState::Failed => TaskState::Failed,
    })
}

/// Of an attempt's end.
pub(crate) fn outcome_look(state: OutcomeState) -> Look {
    let like = match state {
        OutcomeState::Success => TaskState::Success,
        OutcomeState::Failed | OutcomeState::FailedNoRetry | OutcomeState::TimedOut => {
            TaskState::Failed
        }
        OutcomeState::Skipped => TaskState::Skipped,
        OutcomeState::Cancelled => TaskState::Removed,
        OutcomeState::Lost => TaskState::UpstreamFailed,
        OutcomeState::HandedBack => TaskState::UpForReschedule,
    };
    Look { name: state.as_str(), ..task_look(like) }
}

/// A badge with sign and name.
pub(crate) fn badge(look: Look) -> Markup {
    html! {
        span class={ "badge " (look.class) } {
            span.sign aria-hidden="true" { (look.sign) }
            (look.name.replace('_', " "))
        }
    }
}

/// A time, to the second, in UTC.
pub(crate) fn time(at: Timestamp) -> Markup {
    html! {
        time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (at.strftime("%Y-%m-%d %H:%M:%S")) }
    }
}

/// A time, or a dash.
pub(crate) fn time_or_dash(at: Option<Timestamp>) -> Markup {
    match at {
        Some(at) => time(at),
        None => html! { span.dim { "–" } },
    }
}

/// A span of time: three significant parts at most.
pub(crate) fn duration(from: Timestamp, to: Timestamp) -> String {
    let ms = to.duration_since(from).as_millis().max(0);
    let (seconds, minutes, hours) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    match () {
        () if ms < 1_000 => format!("{ms} ms"),
        () if seconds < 60 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        () if minutes < 60 => format!("{} min {} s", minutes, seconds % 60),
        () if hours < 48 => format!("{} h {} min", hours, minutes % 60),
        () => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// How long something took, or takes since `start` (the script keeps that ticking).
pub(crate) fn took(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> Markup {
    match (start, end) {
        (Some(start), Some(end)) => html! { (duration(start, end)) },
        (Some(start), None) => html! {
            span.ticking data-since=(start.as_millisecond()) { (whole_seconds(start, now)) }
        },
        (None, _) => html! { span.dim { "–" } },
    }
}

/// As the script writes it: no part below a second.
fn whole_seconds(start: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(start).as_secs().max(0);
    if seconds < 60 { format!("{seconds} s") } else { duration(start, now) }
}

/// Drops control characters (colour codes of terminals) that HTML cannot show; tabs stay.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.next();
            // A control sequence ends with a letter or one of @[\]^_`{|}~.
            for end in chars.by_ref() {
                if ('@'..='~').contains(&end) {
                    break;
                }
            }
        } else if !c.is_control() || c == '\t' {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tradewind_proto::Timestamp;

    use super::{duration, printable};

    #[test]
    fn durations_read_well_at_every_size() {
        let from = Timestamp::UNIX_EPOCH;
        let of = |ms: i64| duration(from, Timestamp::from_millisecond(ms).expect("in range"));
        assert_eq!(of(7), "7 ms");
        assert_eq!(of(1_250), "1.2 s");
        assert_eq!(of(61_000), "1 min 1 s");
        assert_eq!(of(3_600_000 * 5 + 60_000 * 7), "5 h 7 min");
        assert_eq!(of(3_600_000 * 50), "2 d 2 h");
        assert_eq!(of(-5), "0 ms");
    }

    #[test]
    fn terminal_codes_are_dropped() {
        assert_eq!(printable("\u{1b}[31mred\u{1b}[0m\tx\u{7}"), "red\tx");
    }
}
