//! Nested canvas → one line of steps.

use serde_json::{Map, Value};

use super::super::Signature;
use super::signatures;
use crate::limits::JSON_DEPTH_MAX;

/// Steps that run one after the other.
pub(super) type Line = Vec<Step>;

/// One step.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Task(Box<Signature>),
    /// Nothing follows it.
    Group {
        id: Option<String>,
        members: Vec<Line>,
    },
    Chord {
        id: Option<String>,
        header: Vec<Line>,
        body: Box<Step>,
    },
}

pub(super) fn flatten(mut signature: Signature, depth: usize) -> Result<Line, String> {
    if depth > JSON_DEPTH_MAX {
        return Err(format!("the canvas nests deeper than {JSON_DEPTH_MAX} levels"));
    }
    let kind = signature.subtask_type.take();
    let args = std::mem::take(&mut signature.args);
    let mut line = match kind.as_deref() {
        Some("chain") => chain(&mut signature, depth)?,
        Some("group") => {
            let members = members(signatures(&mut signature.kwargs, "tasks")?, depth)?;
            vec![Step::Group { id: task_id(&mut signature.options), members }]
        }
        Some("chord") => chord(&mut signature, depth)?,
        _ => {
            (signature.subtask_type, signature.args) = (kind, args);
            return Ok(vec![Step::Task(Box::new(signature))]);
        }
    };
    // An immutable canvas does not take its parent's result; its own arguments it does.
    prefix(&mut line, &args);
    if signature.immutable {
        freeze_arguments(&mut line);
    }
    hand_down(&mut line, kind.as_deref(), signature.options);
    Ok(line)
}

fn task_id(options: &mut Map<String, Value>) -> Option<String> {
    options.remove("task_id").and_then(|id| id.as_str().map(str::to_owned))
}

fn chain(signature: &mut Signature, depth: usize) -> Result<Line, String> {
    let mut line = Line::new();
    let mut empty = None;
    for task in signatures(&mut signature.kwargs, "tasks")? {
        for step in flatten(task, depth + 1)? {
            match step {
                Step::Group { members, .. } if members.is_empty() => {
                    empty = Some(Step::Group { id: None, members });
                }
                // A group of one is that one.
                Step::Group { mut members, .. } if members.len() == 1 => {
                    for step in members.remove(0) {
                        push(&mut line, step);
                    }
                }
                other => push(&mut line, other),
            }
        }
    }
    if line.is_empty() {
        line.extend(empty);
    }
    Ok(line)
}

/// A group that is followed by a step is the header of a chord; so is one that ends a chord's body.
fn push(line: &mut Line, step: Step) {
    match line.pop() {
        None => line.push(step),
        Some(last) if ends_in_group(&last) => line.push(headed(last, step)),
        Some(last) => line.extend([last, step]),
    }
}

fn ends_in_group(step: &Step) -> bool {
    match step {
        Step::Task(_) => false,
        Step::Group { .. } => true,
        Step::Chord { body, .. } => ends_in_group(body),
    }
}

/// `step` as the body of the group that `last` ends in.
fn headed(last: Step, step: Step) -> Step {
    match last {
        Step::Group { id, members } => Step::Chord { id, header: members, body: Box::new(step) },
        Step::Chord { id, header, body } => {
            Step::Chord { id, header, body: Box::new(headed(*body, step)) }
        }
        // Only what ends in a group comes here.
        Step::Task(_) => step,
    }
}

/// Groups within groups are members of the outer one; empty chains are none.
fn members(tasks: Vec<Signature>, depth: usize) -> Result<Vec<Line>, String> {
    let mut all = Vec::new();
    for task in tasks {
        let mut line = flatten(task, depth + 1)?;
        match (line.len(), line.pop()) {
            (1, Some(Step::Group { members, .. })) => all.extend(members),
            (_, Some(last)) => {
                line.push(last);
                all.push(line);
            }
            (_, None) => {}
        }
    }
    Ok(all)
}

/// The body's first step belongs to the chord; what the body has more follows it.
fn chord(signature: &mut Signature, depth: usize) -> Result<Line, String> {
    let kwargs = &mut signature.kwargs;
    // The header is a list, or a group that brings its id along.
    let id = kwargs
        .get("header")
        .and_then(|header| header.pointer("/options/task_id"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    let header = members(signatures(kwargs, "header")?, depth)?;
    let body = kwargs.remove("body").filter(|body| !body.is_null()).ok_or("a chord has no body")?;
    let mut body = flatten(Signature::from_value(body)?, depth + 1)?.into_iter();
    let first = body.next().ok_or("a chord has an empty body")?;
    let mut line = vec![Step::Chord { id, header, body: Box::new(first) }];
    for step in body {
        push(&mut line, step);
    }
    Ok(line)
}

/// Puts arguments in front of those of the tasks that start a line.
pub(super) fn prefix(line: &mut Line, args: &[Value]) {
    if args.is_empty() {
        return;
    }
    match line.first_mut() {
        Some(Step::Task(task)) if !task.immutable => {
            task.args.splice(0..0, args.iter().cloned());
        }
        Some(Step::Group { members, .. } | Step::Chord { header: members, .. }) => {
            members.iter_mut().for_each(|member| prefix(member, args));
        }
        _ => {}
    }
}

fn freeze_arguments(line: &mut Line) {
    match line.first_mut() {
        Some(Step::Task(task)) => task.immutable = true,
        Some(Step::Group { members, .. } | Step::Chord { header: members, .. }) => {
            members.iter_mut().for_each(freeze_arguments);
        }
        None => {}
    }
}

/// Options of a canvas belong to its tasks: ids, follow-ups and group to the last, errbacks to all, and
/// where to send it to those that are sent first.
fn hand_down(line: &mut Line, kind: Option<&str>, mut options: Map<String, Value>) {
    let errbacks = options.remove("link_error").unwrap_or_default();
    each_task(line, &mut |task| append(&mut task.options, "link_error", &errbacks));
    let mut last = Map::new();
    for name in ["task_id", "link", "chain", "chord", "group_id", "group_index"] {
        if let Some(value) = options.remove(name).filter(|value| !value.is_null()) {
            last.insert(name.to_owned(), value);
        }
    }
    if let Some(step) = line.last_mut() {
        set_last(step, &last);
    }
    for name in ["root_id", "parent_id", "reply_to", "stamped_headers"] {
        options.remove(name);
    }
    if kind == Some("chord")
        && let Some(Step::Chord { body, .. }) = line.first_mut()
        && let Step::Task(body) = &mut **body
    {
        let later =
            options.iter().filter(|(name, _)| !matches!(name.as_str(), "countdown" | "eta"));
        body.options.extend(later.map(|(name, value)| (name.clone(), value.clone())));
    }
    first_tasks(line, &mut |task| {
        task.options.extend(options.iter().map(|(name, value)| (name.clone(), value.clone())));
    });
}

fn set_last(step: &mut Step, last: &Map<String, Value>) {
    match step {
        Step::Task(task) => {
            for (name, value) in last {
                match name.as_str() {
                    "link" => append(&mut task.options, "link", value),
                    // What comes after the whole comes after what comes after the task.
                    "chain" => {
                        let own = task.options.remove("chain").unwrap_or_default();
                        task.options.insert("chain".to_owned(), value.clone());
                        append(&mut task.options, "chain", &own);
                    }
                    // As in Celery, an id that was given out stays: the client waits for it. Celery 5.6 and 5.7
                    // write the header's id into the options of a chord within a chain.
                    "task_id" => {
                        task.options.entry("task_id").or_insert_with(|| value.clone());
                    }
                    _ => {
                        task.options.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        Step::Group { id, .. } => {
            if let Some(given) = last.get("task_id").and_then(Value::as_str) {
                *id = Some(given.to_owned());
            }
        }
        Step::Chord { body, .. } => set_last(body, last),
    }
}

fn each_task(line: &mut Line, act: &mut dyn FnMut(&mut Signature)) {
    for step in line {
        each_task_of(step, act);
    }
}

fn each_task_of(step: &mut Step, act: &mut dyn FnMut(&mut Signature)) {
    match step {
        Step::Task(task) => act(task),
        Step::Group { members, .. } => {
            members.iter_mut().for_each(|member| each_task(member, act));
        }
        // As in Celery, the errbacks of a chord are its body's.
        Step::Chord { body, .. } => each_task_of(body, act),
    }
}

fn first_tasks(line: &mut Line, act: &mut dyn FnMut(&mut Signature)) {
    match line.first_mut() {
        Some(Step::Task(task)) => act(task),
        Some(Step::Group { members, .. } | Step::Chord { header: members, .. }) => {
            members.iter_mut().for_each(|member| first_tasks(member, act));
        }
        None => {}
    }
}

/// Adds one value or a list of them to an option that is a list.
pub(super) fn append(options: &mut Map<String, Value>, name: &str, more: &Value) {
    let more = match more {
        Value::Null => return,
        Value::Array(list) if list.is_empty() => return,
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let mut list = match options.remove(name) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    list.extend(more);
    options.insert(name.to_owned(), Value::Array(list));
}
