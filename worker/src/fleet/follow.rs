//! What follows a task that has ended: callbacks, the rest of its chain, errbacks, the join of its chord.
//! Everything here may be done again after a crash: ids are made from the task's id.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};
use tradewind_broker::{Error, Join, JoinPart};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::canvas::{Applied, Plan, plan};
use tradewind_proto::celery::{Request, Signature, state, wide};

use super::core::Fleet;
use super::error::Failure;
use super::{publish, report};

/// Chords within chords that one failure is carried through.
const CHORD_DEPTH_MAX: usize = 16;

/// The same ids for the same task, however often they are asked for.
pub(super) fn ids(of: &Request, what: &str) -> impl FnMut() -> String {
    let seed = format!("{}:{}:{what}", of.id, of.retries);
    let mut number = 0_u64;
    move || {
        number += 1;
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (&seed, number, salt).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        let bytes = (half(0) << 64 | half(1)).to_be_bytes();
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }
}

pub(super) fn applied(of: &Request, args: Vec<Value>, now: Timestamp) -> Applied {
    let mut applied = Applied::by_task(of, args, now);
    applied.reply_to.clone_from(&of.reply_to);
    applied
}

/// Whether nothing follows its success, and no chord waits for it.
pub(super) fn is_last(request: &Request) -> bool {
    let embed = &request.embed;
    embed.callbacks.is_empty() && embed.chain.is_empty() && embed.chord.is_none()
}

/// What a success sends: callbacks first, then the next of its chain with the rest. A signature that makes
/// no sense is left out and logged: nothing would make it sense.
pub(crate) fn after_success(request: &Request, result: &Value, now: Timestamp) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |signature: Signature, what: String, chain: Vec<Signature>| {
        let mut applied = applied(request, vec![result.clone()], now);
        applied.chain = chain;
        match plan(signature, &applied, &mut ids(request, &what)) {
            Ok(plan) => plans.push(plan),
            Err(error) => tracing::error!(error, id = %request.id, "a follow-up cannot be sent"),
        }
    };
    for (number, callback) in request.embed.callbacks.iter().enumerate() {
        add(callback.clone(), format!("link{number}"), Vec::new());
    }
    let mut rest = request.embed.chain.clone();
    if let Some(next) = rest.pop() {
        add(next, "chain".to_owned(), rest);
    }
    plans
}

/// What a failure sends. Errbacks get the id of the failed task, whatever they are.
pub(crate) fn after_failure(request: &Request, now: Timestamp) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (number, errback) in request.embed.errbacks.iter().enumerate() {
        let applied = applied(request, vec![json!(request.id)], now);
        match plan(errback.clone(), &applied, &mut ids(request, &format!("errback{number}"))) {
            Ok(plan) => plans.push(plan),
            Err(error) => tracing::error!(error, id = %request.id, "an errback cannot be sent"),
        }
    }
    plans
}

/// Sends errbacks, fails the rest of the chain, and tells the chords that it and its rest belong to.
pub(crate) async fn failed(
    fleet: &Fleet,
    request: &Request,
    failure: &Failure,
    state: &'static str,
    home: &str,
) -> Result<(), Error> {
    let now = fleet.clock.now();
    for plan in after_failure(request, now) {
        publish::apply(fleet, plan, home).await?;
    }
    // Those who wait for the end of the chain wait for its last task.
    for element in request.embed.chain.iter().rev() {
        for rest in as_requests(element, request) {
            store(fleet, &rest, failure, state).await?;
            part(fleet, &rest, state, &failure.to_result(), home, 0).await?;
        }
    }
    part(fleet, request, state, &failure.to_result(), home, 0).await
}

/// The tasks that a canvas ends in: who waits for it, or for what follows it in a chain, waits for all of
/// them. Errbacks of the canvas itself are called once for a chord, and for each task of a group.
fn ends(signature: Signature) -> Vec<Signature> {
    let chord = match signature.subtask_type.as_deref() {
        Some("chord") => true,
        Some("group") => false,
        _ => return vec![signature],
    };
    let inner = match (chord, signature.kwargs.get("body"), signature.kwargs.get("tasks")) {
        (true, Some(body), _) => vec![body.clone()],
        (false, _, Some(Value::Array(tasks))) => tasks.clone(),
        _ => Vec::new(),
    };
    let inner = inner.into_iter().filter_map(|one| Signature::from_value(one).ok());
    let mut inner: Vec<Signature> = inner.flat_map(ends).collect();
    let errbacks = signature.option_signatures("link_error");
    for end in inner.iter_mut().take(if chord { 1 } else { usize::MAX }) {
        add_errbacks(end, &errbacks);
    }
    let followers = signature.option_signatures("chain");
    inner.into_iter().chain(followers.into_iter().flat_map(ends)).collect()
}

/// Each one once.
fn add_errbacks(end: &mut Signature, errbacks: &[Signature]) {
    let mut all = end.option_signatures("link_error");
    for errback in errbacks {
        if !all.contains(errback) {
            all.push(errback.clone());
        }
    }
    if !all.is_empty() {
        end.options.insert("link_error".to_owned(), json!(all));
    }
}

/// The requests that the end of a frozen signature would be.
fn as_requests(signature: &Signature, parent: &Request) -> Vec<Request> {
    ends(signature.clone()).iter().filter_map(|end| as_request(end, parent)).collect()
}

fn as_request(signature: &Signature, parent: &Request) -> Option<Request> {
    let options = &signature.options;
    let mut request = Request::new(signature.task.clone(), signature.option_text("task_id")?);
    request.root_id.clone_from(&parent.root_id);
    request.group = signature.option_text("group_id").map(str::to_owned);
    request.group_index = options.get("group_index").and_then(Value::as_i64);
    request.embed.chord = signature.option_signatures("chord").into_iter().next();
    request.embed.errbacks = signature.option_signatures("link_error");
    request.embed.chain = signature.option_signatures("chain");
    request.reply_to.clone_from(&parent.reply_to);
    Some(request)
}

async fn store(
    fleet: &Fleet,
    request: &Request,
    failure: &Failure,
    state: &str,
) -> Result<(), Error> {
    let result = wide::to_json(&failure.to_result());
    let now = Some(fleet.clock.now());
    let stored = report::stored(request, state, &result, Some(&failure.traceback), &[], now);
    let ttl = fleet.settings.result_ttl;
    publish::patiently(fleet, "storing", || fleet.results.put(stored.clone(), ttl)).await?;
    Ok(())
}

/// Hands a part in to the join of its chord; the last one sends the body.
pub(crate) async fn part(
    fleet: &Fleet,
    request: &Request,
    state: &str,
    result: &Value,
    home: &str,
    depth: usize,
) -> Result<(), Error> {
    let (Some(body), Some(group)) = (&request.embed.chord, &request.group) else { return Ok(()) };
    if depth >= CHORD_DEPTH_MAX {
        tracing::error!(id = %request.id, "chords nest too deep; the outer ones are not told");
        return Ok(());
    }
    let part = JoinPart {
        group: group.clone(),
        task_id: request.id.clone(),
        index: request.group_index.unwrap_or(0),
        state: state.to_owned(),
        result: result.clone(),
    };
    let ttl = fleet.settings.result_ttl;
    let join =
        publish::patiently(fleet, "joining", || fleet.results.join(part.clone(), ttl)).await?;
    let Join::Complete { claim, parts } = join else { return Ok(()) };
    match parts.iter().find(|part| part.state != state::SUCCESS) {
        None => {
            let results: Vec<Value> = parts.into_iter().map(|part| part.result).collect();
            let applied = applied(request, vec![json!(results)], fleet.clock.now());
            match plan(body.clone(), &applied, &mut ids(request, "chord")) {
                Ok(plan) => publish::apply(fleet, plan, home).await?,
                Err(error) => {
                    tracing::error!(error, group = %group, "the body of a chord cannot be sent");
                }
            }
        }
        Some(bad) => {
            let failure = chord_failure(body, bad);
            for body in as_requests(body, request) {
                store(fleet, &body, &failure, state::FAILURE).await?;
                Box::pin(chord_failed(fleet, &body, &failure, home, depth + 1)).await?;
            }
        }
    }
    publish::patiently(fleet, "joining", || fleet.results.finish_join(group, &claim)).await
}

/// What the body of a chord fails with when a part has failed. As in Celery, the tasks of a group get the
/// exception of the part itself.
fn chord_failure(body: &Signature, bad: &JoinPart) -> Failure {
    let raised = Failure::from_result(&bad.result);
    if body.subtask_type.as_deref() == Some("group") {
        return raised;
    }
    let text = format!("Dependency {} raised {}", bad.task_id, raised.repr());
    Failure::new("ChordError", text).module("celery.exceptions")
}

/// The body of a chord that will never run fails as a task does.
async fn chord_failed(
    fleet: &Fleet,
    body: &Request,
    failure: &Failure,
    home: &str,
    depth: usize,
) -> Result<(), Error> {
    for plan in after_failure(body, fleet.clock.now()) {
        publish::apply(fleet, plan, home).await?;
    }
    for element in body.embed.chain.iter().rev() {
        for rest in as_requests(element, body) {
            store(fleet, &rest, failure, state::FAILURE).await?;
            part(fleet, &rest, state::FAILURE, &failure.to_result(), home, depth).await?;
        }
    }
    part(fleet, body, state::FAILURE, &failure.to_result(), home, depth).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_proto::celery::{Embed, Request, Signature};
    use tradewind_proto::clock::from_micros;

    use tradewind_broker::JoinPart;

    use super::{after_failure, after_success, as_requests, chord_failure};
    use crate::fleet::Failure;

    fn request() -> Request {
        let chain = vec![Signature::new("last"), Signature::new("next").arg(2)];
        let embed = Embed {
            callbacks: vec![Signature::new("cb")],
            errbacks: vec![Signature::new("eb").arg("x")],
            chain,
            chord: None,
        };
        Request { embed, root_id: Some("root".to_owned()), ..Request::new("add", "a") }
    }

    #[test]
    fn callbacks_then_the_chain_get_the_result_in_front() {
        let plans = after_success(&request(), &json!(7), from_micros(0));
        let sent: Vec<_> = plans.iter().flat_map(|plan| &plan.sends).map(|s| &s.request).collect();
        assert_eq!((sent[0].task.as_str(), &sent[0].args), ("cb", &vec![json!(7)]));
        assert_eq!((sent[1].task.as_str(), &sent[1].args), ("next", &vec![json!(7), json!(2)]));
        assert_eq!(sent[1].embed.chain[0].task, "last");
        assert_eq!(
            (sent[1].root_id.as_deref(), sent[1].parent_id.as_deref()),
            (Some("root"), Some("a"))
        );
    }

    #[test]
    fn done_again_they_are_the_same_tasks() {
        let ids = |request: &Request| {
            let plans = after_success(request, &json!(7), from_micros(0));
            plans.into_iter().flat_map(|plan| plan.sends).map(|s| s.request.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&request()), ids(&request()));
        assert_ne!(ids(&request()), ids(&Request { id: "b".to_owned(), ..request() }));
        assert_ne!(ids(&request())[0], ids(&request())[1]);
    }

    #[test]
    fn a_body_that_is_a_group_fails_in_all_its_tasks() {
        let task = |id: &str| Signature::new("t").option("task_id", id);
        let chord = Signature::chord([task("h")], Signature::group([task("b"), task("c")]));
        let body = Signature::group([task("a"), chord]);
        let failed = |body: &Signature| -> Vec<String> {
            as_requests(body, &request()).into_iter().map(|request| request.id).collect()
        };
        assert_eq!(failed(&body), ["a", "b", "c"]);
        let follower = Signature::chord([task("h")], task("d")).to_value();
        assert_eq!(failed(&body.option("chain", json!([follower]))), ["a", "b", "c", "d"]);
    }

    #[test]
    fn errbacks_of_a_body_that_is_a_canvas_are_called() {
        let task = |id: &str| Signature::new("t").option("task_id", id);
        let errback = |name: &str| Signature::new(name);
        let called = |body: &Signature| -> Vec<Vec<String>> {
            let ends = as_requests(body, &request());
            let names = |end: &Request| end.embed.errbacks.iter().map(|e| e.task.clone()).collect();
            ends.iter().map(names).collect()
        };
        let own = task("a").link_error(errback("own")).link_error(errback("whole"));
        let group = Signature::group([own, task("b")]).link_error(errback("whole"));
        assert_eq!(called(&group), [vec!["own", "whole"], vec!["whole"]]);
        let chord = Signature::chord([task("h")], Signature::group([task("a"), task("b")]));
        let chord = chord.link_error(errback("once"));
        assert_eq!(called(&chord), [vec!["once"], vec![]]);
        let body = Signature::chord([task("h")], task("a")).link_error(errback("once"));
        assert_eq!(called(&body), [["once"]]);
    }

    #[test]
    fn a_group_body_fails_with_what_failed() {
        let bad = JoinPart {
            group: "g".to_owned(),
            task_id: "p".to_owned(),
            index: 0,
            state: "FAILURE".to_owned(),
            result: Failure::new("KeyError", "x").to_result(),
        };
        let of = |body: Signature| chord_failure(&body, &bad).repr();
        assert_eq!(of(Signature::group([Signature::new("t")])), "KeyError('x')");
        let text = of(Signature::new("t"));
        assert_eq!(text, "ChordError(\"Dependency p raised KeyError('x')\")");
    }

    #[test]
    fn errbacks_get_the_failed_id() {
        let plans = after_failure(&request(), from_micros(0));
        assert_eq!(plans[0].sends[0].request.args, [json!("a"), json!("x")]);
    }
}
