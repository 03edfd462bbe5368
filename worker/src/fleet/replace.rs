//! A task that puts another one, or a canvas, in its place: what is sent then. Pure.
//!
//! As Celery 5.7's `Task.replace`: the replacement ends under the id of the replaced task, so that whoever
//! waits for that gets its result; callbacks, errbacks, chain and chord go over to it.

use serde_json::{Value, json};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::canvas::{Plan, plan};
use tradewind_proto::celery::{Request, Signature};

use super::error::Failure;
use super::follow::{applied, ids};

/// What is sent in place of `request`.
///
/// # Errors
/// The failure of the task when `by` cannot take its place.
pub(crate) fn replacement(
    request: &Request,
    by: Signature,
    now: Timestamp,
) -> Result<Plan, Failure> {
    let wrong =
        |text: String| Failure::new("ImproperlyConfigured", text).module("celery.exceptions");
    if by.options.contains_key("chord") {
        return Err(wrong("A signature replacing a task must not be part of a chord".to_owned()));
    }
    if kind(&by) == Some("chain") && members(&by).is_none_or(<[Value]>::is_empty) {
        return Err(wrong("Cannot replace with an empty chain".to_owned()));
    }
    let nesting = request.headers.get("replaced_task_nesting").and_then(Value::as_u64);
    let nesting = json!(nesting.unwrap_or(0).saturating_add(1));
    let mut by = gathered(by);
    mark(&mut by, &nesting);
    for callback in &request.embed.callbacks {
        by = by.link(callback.clone());
    }
    for errback in &request.embed.errbacks {
        by = by.link_error(errback.clone());
    }
    by.options.insert("task_id".to_owned(), json!(request.id));
    let chord = request.embed.chord.as_ref().map(Signature::to_value);
    for (name, value) in [
        ("chord", chord),
        ("group_id", request.group.as_deref().map(Value::from)),
        ("group_index", request.group_index.map(Value::from)),
    ] {
        if let Some(value) = value {
            by.options.insert(name.to_owned(), value);
        }
    }
    if request.ignore_result {
        by.options.insert("ignore_result".to_owned(), json!(true));
    }
    let mut applied = applied(request, Vec::new(), now);
    applied.chain.clone_from(&request.embed.chain);
    for follower in &mut applied.chain {
        follower.options.insert("replaced_task_nesting".to_owned(), nesting.clone());
    }
    plan(by, &applied, &mut ids(request, "replace")).map_err(wrong)
}

fn kind(signature: &Signature) -> Option<&str> {
    signature.subtask_type.as_deref()
}

fn members(signature: &Signature) -> Option<&[Value]> {
    signature.kwargs.get("tasks").and_then(Value::as_array).map(Vec::as_slice)
}

/// A group, and a group at the end of a chain, with the list of its results as the result of one task.
fn gathered(mut signature: Signature) -> Signature {
    match kind(&signature) {
        Some("group") => {
            // Not a chain: there a group of one would be that one, and its result no list.
            let parts = members(&signature).unwrap_or_default().to_vec();
            let gather = Signature::new("celery.accumulate").kwarg("index", 0);
            let mut chord = Signature::chord([], gather);
            chord.kwargs.insert("header".to_owned(), Value::Array(parts));
            chord
        }
        Some("chain") => {
            let tasks = signature.kwargs.get_mut("tasks").and_then(Value::as_array_mut);
            if let Some(last) = tasks.and_then(|tasks| tasks.last_mut())
                && let Ok(inner) = Signature::from_value(last.clone())
            {
                *last = gathered(inner).to_value();
            }
            signature
        }
        _ => signature,
    }
}

/// Says on each task of it how often tasks were replaced before it.
fn mark(signature: &mut Signature, nesting: &Value) {
    signature.options.insert("replaced_task_nesting".to_owned(), nesting.clone());
    if kind(signature) != Some("chain") {
        return;
    }
    let tasks = signature.kwargs.get_mut("tasks").and_then(Value::as_array_mut);
    for task in tasks.into_iter().flatten() {
        if let Ok(mut inner) = Signature::from_value(task.clone()) {
            mark(&mut inner, nesting);
            *task = inner.to_value();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_proto::celery::{Embed, Request, Signature};
    use tradewind_proto::clock::from_micros;

    use super::replacement;

    fn request() -> Request {
        let embed = Embed {
            callbacks: vec![Signature::new("cb")],
            errbacks: vec![Signature::new("eb")],
            chain: vec![Signature::new("next").option("task_id", "n")],
            chord: Some(Signature::new("body").option("task_id", "b")),
        };
        Request {
            embed,
            group: Some("g".to_owned()),
            group_index: Some(2),
            ..Request::new("a", "id")
        }
    }

    fn sent(by: Signature) -> Vec<Request> {
        let plan = replacement(&request(), by, from_micros(0)).expect("a replacement");
        plan.sends.into_iter().map(|planned| planned.request).collect()
    }

    #[test]
    fn a_task_takes_over_id_followers_and_place_in_a_chord() {
        let sent = sent(Signature::new("other").arg(1));
        let one = &sent[0];
        assert_eq!(
            (one.task.as_str(), one.id.as_str(), &one.args),
            ("other", "id", &vec![json!(1)])
        );
        assert_eq!((one.group.as_deref(), one.group_index), (Some("g"), Some(2)));
        assert_eq!(one.embed.callbacks[0].task, "cb");
        assert_eq!(one.embed.errbacks[0].task, "eb");
        assert_eq!(one.embed.chain[0].option_text("task_id"), Some("n"));
        assert_eq!(one.embed.chord.as_ref().expect("chord").task, "body");
        assert_eq!(one.headers["replaced_task_nesting"], 1);
    }

    #[test]
    fn of_a_chain_the_last_one_does() {
        let sent = sent(Signature::chain([Signature::new("x"), Signature::new("y")]));
        let first = &sent[0];
        assert_eq!(first.task, "x");
        assert_ne!(first.id, "id");
        assert!(first.embed.callbacks.is_empty() && first.embed.chord.is_none());
        // Last element first.
        let names: Vec<&str> = first.embed.chain.iter().map(|s| s.task.as_str()).collect();
        assert_eq!(names, ["next", "y"]);
        let last = &first.embed.chain[1];
        assert_eq!(last.option_text("task_id"), Some("id"));
        assert_eq!(last.option_signatures("link")[0].task, "cb");
        assert_eq!(last.option_signatures("chord")[0].task, "body");
        assert_eq!(last.options["replaced_task_nesting"], 1);
    }

    #[test]
    fn a_group_ends_as_one_result() {
        for by in [
            Signature::group([Signature::new("x"), Signature::new("y")]),
            Signature::chain([
                Signature::new("w"),
                Signature::group([Signature::new("x"), Signature::new("y")]),
            ]),
        ] {
            let plan = replacement(&request(), by, from_micros(0)).expect("a replacement");
            assert_eq!(plan.result.id, "id");
            assert!(plan.result.results.is_none());
        }
        for parts in [vec![], vec![Signature::new("x")]] {
            let plan = replacement(&request(), Signature::group(parts.clone()), from_micros(0));
            let plan = plan.expect("a replacement");
            let first = &plan.sends[0].request;
            if parts.is_empty() {
                assert_eq!((first.id.as_str(), &first.args), ("id", &vec![json!([])]));
            } else {
                let gather = first.embed.chord.as_ref().expect("a chord of one");
                assert_eq!(gather.option_text("task_id"), Some("id"));
            }
        }
    }

    #[test]
    fn what_cannot_take_its_place_fails_the_task() {
        let refused = |by| replacement(&request(), by, from_micros(0)).expect_err("refused");
        assert_eq!(refused(Signature::chain([])).exc_type, "ImproperlyConfigured");
        let part = Signature::new("x").option("chord", json!({"task": "b"}));
        assert!(refused(part).message().contains("part of a chord"));
    }
}
