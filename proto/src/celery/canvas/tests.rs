//! Canvases of the kinds that users write, and what they come to.

use serde_json::json;

use super::*;

fn sig(name: &str) -> Signature {
    Signature::new(name)
}

fn applied() -> Applied {
    Applied::by_client("2026-11-20T10:00:00Z".parse().expect("a time"))
}

fn planned(signature: Signature) -> Plan {
    plan_with(signature, &applied())
}

fn plan_with(signature: Signature, applied: &Applied) -> Plan {
    let mut last = 0;
    let mut next = || {
        last += 1;
        format!("id{last}")
    };
    plan(signature, applied, &mut next).expect("a plan")
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.sends.iter().map(|sent| sent.request.task.as_str()).collect()
}

fn chain_of(request: &Request) -> Vec<&str> {
    request.embed.chain.iter().map(|sig| sig.task.as_str()).collect()
}

#[test]
fn a_task_has_its_options() {
    let call = sig("a")
        .args([json!(1)])
        .kwarg("x", 2)
        .option("task_id", "mine")
        .option("queue", "fast")
        .option("priority", 7)
        .option("countdown", 2.5)
        .option("expires", "2026-11-20T11:00:00")
        .option("time_limit", 30)
        .option("headers", json!({"tenant": "acme"}))
        .link(sig("ok"))
        .link_error(sig("oops"));
    let plan = planned(call);
    let Planned { request, queue, priority, .. } = &plan.sends[0];
    assert_eq!((request.id.as_str(), request.root_id.as_deref()), ("mine", Some("mine")));
    assert_eq!((queue.as_deref(), *priority, request.priority), (Some("fast"), Some(7), 7));
    assert_eq!(request.eta.map(|at| at.to_string()).as_deref(), Some("2026-11-20T10:00:02.5Z"));
    assert_eq!(request.expires.map(|at| at.to_string()).as_deref(), Some("2026-11-20T11:00:00Z"));
    assert_eq!(request.headers["tenant"], json!("acme"));
    assert_eq!(
        (request.embed.callbacks[0].task.as_str(), request.embed.errbacks[0].task.as_str()),
        ("ok", "oops")
    );
    assert_eq!(plan.result, ResultTuple::task("mine"));
    assert!(plan.joins.is_empty());
}

#[test]
fn a_chain_is_sent_by_its_first_and_stored_last_first() {
    let inner = Signature::chain([sig("b"), sig("c")]);
    let plan = planned(
        Signature::chain([sig("a"), inner, sig("d")]).link(sig("then")).link_error(sig("oops")),
    );
    assert_eq!(names(&plan), ["a"]);
    let first = &plan.sends[0].request;
    assert_eq!(chain_of(first), ["d", "c", "b"]);
    assert_eq!(first.embed.errbacks[0].task, "oops");
    assert_eq!(first.embed.chain[0].option_signatures("link")[0].task, "then");
    assert_eq!(first.embed.chain[2].option_signatures("link_error")[0].task, "oops");
    // The result is the last one's, and knows the way back.
    assert_eq!(plan.result.id, "id4");
    assert_eq!(first.embed.chain[0].option_text("task_id"), Some("id4"));
    let parent = plan.result.parent.as_ref().expect("a parent");
    assert_eq!(
        (parent.id.as_str(), parent.parent.as_ref().map(|p| p.id.as_str())),
        ("id3", Some("id2"))
    );

    // What the worker does next.
    let mut rest = first.embed.chain.clone();
    let next = rest.pop().expect("one");
    let after = Applied { chain: rest, ..Applied::by_task(first, vec![json!(42)], applied().now) };
    let plan = plan_with(next, &after);
    let second = &plan.sends[0].request;
    assert_eq!((second.task.as_str(), second.id.as_str()), ("b", "id2"));
    assert_eq!((&second.args, chain_of(second)), (&vec![json!(42)], vec!["d", "c"]));
    assert_eq!(
        (second.root_id.as_deref(), second.parent_id.as_deref()),
        (Some("id1"), Some("id1"))
    );
}

#[test]
fn a_group_is_sent_at_once_with_positions() {
    let nested = Signature::group([sig("b"), Signature::chain([sig("c"), sig("d")])]);
    let plan = planned(Signature::group([sig("a"), nested, Signature::chain([])]).args([json!(9)]));
    assert_eq!(names(&plan), ["a", "b", "c"]);
    let requests: Vec<_> = plan.sends.iter().map(|sent| &sent.request).collect();
    assert_eq!((requests[0].group.as_deref(), requests[0].group_index), (Some("id1"), Some(0)));
    assert_eq!((requests[1].group.as_deref(), requests[1].group_index), (Some("id1"), Some(1)));
    // Of a chain it is the last that belongs to the group.
    assert_eq!(requests[2].group, None);
    assert_eq!(requests[2].embed.chain[0].options["group_index"], json!(2));
    assert!(requests.iter().all(|request| request.args == [json!(9)]));
    assert_eq!(plan.result.id, "id1");
    let results = plan.result.results.as_ref().expect("results");
    assert_eq!(results.len(), 3);
    assert_eq!(Some(results[2].id.as_str()), requests[2].embed.chain[0].option_text("task_id"));
    assert!(plan.joins.is_empty(), "nobody waits for a plain group");
}

#[test]
fn a_chord_begins_its_join_and_every_part_knows_the_body() {
    let header = [sig("a"), Signature::chain([sig("b"), sig("c")])];
    let plan = planned(Signature::chord(header, sig("sum").option("queue", "q")));
    assert_eq!(names(&plan), ["a", "b"]);
    assert_eq!(plan.joins, [("id1".to_owned(), 2)]);
    let body = plan.sends[0].request.embed.chord.as_ref().expect("a body");
    assert_eq!((body.task.as_str(), body.option_text("queue")), ("sum", Some("q")));
    assert_eq!(body.option_text("task_id"), Some(plan.result.id.as_str()));
    let last = &plan.sends[1].request.embed.chain[0];
    assert_eq!(last.options["chord"], body.to_value());
    assert_eq!(plan.sends[1].request.embed.chord, None);
    assert_eq!(plan.result.parent.as_ref().map(|header| header.id.as_str()), Some("id1"));
}

#[test]
fn a_group_in_a_chain_is_a_chord_and_the_rest_follows_its_body() {
    let group = Signature::group([sig("b1"), sig("b2")]);
    let plan = planned(Signature::chain([sig("a"), group, sig("c"), sig("d")]));
    let first = &plan.sends[0].request;
    assert_eq!(chain_of(first), ["d", "celery.chord"]);
    let mut rest = first.embed.chain.clone();
    let next = rest.pop().expect("one");
    let after = Applied { chain: rest, ..Applied::by_task(first, vec![json!(7)], applied().now) };
    let second = plan_with(next, &after);
    assert_eq!(names(&second), ["b1", "b2"]);
    assert_eq!(second.joins.len(), 1);
    let part = &second.sends[1].request;
    assert_eq!((&part.args, part.embed.chain.len()), (&vec![json!(7)], 0));
    let body = part.embed.chord.clone().expect("a body");
    let body = plan_with(body, &Applied::by_task(part, vec![json!([1, 2])], applied().now));
    let body = &body.sends[0].request;
    assert_eq!((body.task.as_str(), chain_of(body)), ("c", vec!["d"]));
    assert_eq!((&body.args, body.root_id.as_deref()), (&vec![json!([1, 2])], Some("id1")));
    assert_eq!(body.embed.chain[0].option_text("task_id"), Some(plan.result.id.as_str()));
}

#[test]
fn chords_nest() {
    let inner = Signature::chord([sig("a"), sig("b")], sig("inner"));
    let plan = planned(Signature::chord([inner, sig("c")], sig("outer")));
    assert_eq!(names(&plan), ["a", "b", "c"]);
    let sizes: Vec<u64> = plan.joins.iter().map(|(_, size)| *size).collect();
    assert_eq!(sizes, [2, 2]);
    let outer_group = plan.joins[0].0.clone();
    let inner = plan.sends[0].request.embed.chord.clone().expect("the inner body");
    assert_eq!(inner.option_text("group_id"), Some(outer_group.as_str()));
    // The inner body, when it is sent, is a part of the outer join.
    let sent = planned(inner);
    let request = &sent.sends[0].request;
    assert_eq!(
        (request.group.as_deref(), request.group_index),
        (Some(outer_group.as_str()), Some(0))
    );
    assert_eq!(request.embed.chord.as_ref().map(|body| body.task.as_str()), Some("outer"));

    // A body that is a chain leaves its tail in the line; a body that is a group is sent as one.
    let body = Signature::chain([sig("x"), Signature::group([sig("y"), sig("z")])]);
    let plan = planned(Signature::chord([sig("a")], body));
    let body = plan.sends[0].request.embed.chord.clone().expect("a body");
    assert_eq!((body.task.as_str(), body.option_signatures("chain").len()), ("x", 1));
    assert_eq!(plan.result.results.as_ref().map(Vec::len), Some(2));
    let sent = planned(body);
    assert_eq!(sent.sends[0].request.embed.chain[0].task, "celery.group");
}

#[test]
fn an_empty_header_sends_the_body_at_once() {
    let plan = planned(Signature::chord([], sig("sum").option("task_id", "s")));
    assert_eq!((names(&plan), plan.joins.len()), (vec!["sum"], 0));
    assert_eq!(plan.sends[0].request.args, [json!([])]);
    assert_eq!(plan.sends[0].request.id, "s");
    let chain = Signature::chain([Signature::group([]), sig("b").args([json!(1)])]);
    assert_eq!(names(&planned(chain)), ["b"]);
}

#[test]
fn immutable_ones_keep_their_arguments() {
    let after = Applied { args: vec![json!("r")], ..applied() };
    let plan = plan_with(sig("a").arg(1).immutable(), &after);
    assert_eq!(plan.sends[0].request.args, [json!(1)]);
    let group = Signature::group([sig("a").arg(1), sig("b").immutable()]);
    let plan = plan_with(group, &after);
    assert_eq!(plan.sends[0].request.args, [json!("r"), json!(1)]);
    assert!(plan.sends[1].request.args.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut next = || "x".to_owned();
    let mut chord = Signature::chord([sig("a")], sig("b"));
    chord.kwargs.remove("body");
    for bad in [Signature::chain([]), chord, sig("a").option("eta", "soon")] {
        assert!(plan(bad, &applied(), &mut next).is_err());
    }
    let mut deep = sig("a");
    for _ in 0..70 {
        deep = Signature::chain([deep]);
    }
    assert!(plan(deep, &applied(), &mut next).is_err());
}

#[test]
fn a_group_at_the_end_of_a_header_s_chain_hands_its_parts_in_to_the_chord() {
    let inner = Signature::group([sig("c"), sig("d")]);
    let header = [sig("a"), Signature::chain([sig("b"), inner])];
    let first = planned(Signature::chord(header, sig("body")));
    assert_eq!(first.joins[0].1, 3, "three parts");
    let second = &first.sends[1].request;
    assert_eq!(second.task, "b");
    // What its worker does when it has ended.
    let group = second.embed.chain[0].clone();
    let then = plan_with(group, &Applied::by_task(second, vec![json!(1)], applied().now));
    assert!(then.joins.is_empty());
    let indexes: Vec<_> = then
        .sends
        .iter()
        .map(|sent| {
            assert_eq!(sent.request.group.as_deref(), Some(first.joins[0].0.as_str()));
            assert_eq!(sent.request.embed.chord.as_ref().expect("a chord").task, "body");
            sent.request.group_index
        })
        .collect();
    assert_eq!(indexes, [Some(1), Some(2)]);
}

#[test]
fn a_group_that_ends_a_chord_s_body_is_a_header_when_something_follows() {
    // As Celery 5.7 writes a chain of three groups and a task into a chord's body.
    let one = || Signature::group([sig("a"), sig("b")]);
    let chord = Signature::chord([sig("h")], one());
    let inner = Signature::chord([sig("c"), sig("d")], sig("last").option("task_id", "end"));
    let line = planned(Signature::chain([chord, one(), inner]));
    assert_eq!((line.joins[0].1, line.result.id.as_str()), (1, "end"));
    let mut body = line.sends[0].request.embed.chord.clone().expect("a body");
    // Each body is the next chord, down to the last task.
    for _ in 0..3 {
        let next = plan_with(body, &applied());
        assert_eq!((next.joins[0].1, next.result.id.as_str()), (2, "end"));
        body = next.sends[1].request.embed.chord.clone().expect("a body");
    }
    assert_eq!(body.task, "last");
}

#[test]
fn errbacks_of_a_chord_are_those_of_all_that_its_body_ends_in() {
    let body = Signature::group([sig("c"), Signature::chord([sig("d")], sig("e"))]);
    let chord = Signature::chord([sig("a")], body).link_error(sig("oops"));
    let plan = planned(Signature::group([chord, sig("f")]).link_error(sig("all")));
    assert_eq!(names(&plan), ["a", "f"]);
    let errbacks = |signature: &Signature| -> Vec<String> {
        let list = signature.option_signatures("link_error").into_iter();
        list.map(|errback| errback.task).collect()
    };
    let body = plan.sends[0].request.embed.chord.clone().expect("a body");
    let tasks = signatures(&mut body.kwargs.clone(), "tasks").expect("tasks");
    assert_eq!(errbacks(&tasks[0]), ["oops", "all"]);
    let inner = Signature::from_value(tasks[1].kwargs["body"].clone()).expect("a body");
    assert_eq!(errbacks(&inner), ["oops", "all"]);
    assert!(plan.sends[0].request.embed.errbacks.is_empty(), "not those of its header");
}
