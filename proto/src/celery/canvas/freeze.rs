//! Steps → signatures with ids, and the results that they will have.

use serde_json::{Value, json};

use super::super::{ResultTuple, Signature};
use super::flatten::{Line, Step};

/// Membership in a group: whoever ends a member's line counts as a part.
struct Membership {
    group: String,
    next_index: i64,
    /// Whether its members are parts of a chord.
    joined: bool,
}

impl Membership {
    /// A member of a chord stays one when the group that it is in is applied on its own: the end of a
    /// chain in a chord's header.
    fn takes(&self, task: &Signature) -> bool {
        let is_part = task.options.get("chord").is_some_and(|chord| !chord.is_null());
        self.joined || !is_part || task.option_text("group_id").is_none()
    }
}

struct Freezer<'a> {
    next_id: &'a mut dyn FnMut() -> String,
}

/// Gives ids to all steps of a line.
pub(super) fn freeze(
    line: Line,
    next_id: &mut dyn FnMut() -> String,
) -> (Vec<Signature>, ResultTuple) {
    Freezer { next_id }.line(line, None)
}

impl Freezer<'_> {
    fn line(
        &mut self,
        line: Line,
        mut membership: Option<&mut Membership>,
    ) -> (Vec<Signature>, ResultTuple) {
        let (count, mut steps, mut result) = (line.len(), Vec::new(), None);
        for (place, step) in line.into_iter().enumerate() {
            let last = place + 1 == count;
            let membership = if last { membership.take() } else { None };
            let (signature, ended) = self.step(step, result.take(), membership);
            steps.push(signature);
            result = Some(ended);
        }
        (steps, result.unwrap_or_default())
    }

    fn step(
        &mut self,
        step: Step,
        parent: Option<ResultTuple>,
        membership: Option<&mut Membership>,
    ) -> (Signature, ResultTuple) {
        let parent = parent.map(Box::new);
        match step {
            Step::Task(mut task) => {
                let id = match task.option_text("task_id") {
                    Some(id) => id.to_owned(),
                    None => (self.next_id)(),
                };
                task.options.insert("task_id".to_owned(), json!(id));
                if let Some(membership) = membership.filter(|own| own.takes(&task)) {
                    task.options.insert("group_id".to_owned(), json!(membership.group));
                    task.options.insert("group_index".to_owned(), json!(membership.next_index));
                    membership.next_index += 1;
                }
                (*task, ResultTuple { id, parent, results: None })
            }
            Step::Group { id, members } => {
                let id = id.unwrap_or_else(|| (self.next_id)());
                let mut own = Membership { group: id.clone(), next_index: 0, joined: false };
                let (tasks, results) = self.members(members, membership.unwrap_or(&mut own));
                let group = Signature::group(tasks).option("task_id", id.as_str());
                (group, ResultTuple { id, parent, results: Some(results) })
            }
            Step::Chord { id, header, body } => {
                let id = id.unwrap_or_else(|| (self.next_id)());
                let mut own = Membership { group: id.clone(), next_index: 0, joined: true };
                let (tasks, results) = self.members(header, &mut own);
                let header = ResultTuple { id: id.clone(), parent, results: Some(results) };
                let (body, result) = self.step(*body, Some(header), membership);
                let mut chord = Signature::chord([], body);
                let header = Signature::group(tasks).option("task_id", id);
                chord.kwargs.insert("header".to_owned(), header.to_value());
                (chord, result)
            }
        }
    }

    fn members(
        &mut self,
        members: Vec<Line>,
        membership: &mut Membership,
    ) -> (Vec<Signature>, Vec<ResultTuple>) {
        let frozen = members.into_iter().map(|member| {
            let (mut steps, result) = self.line(member, Some(membership));
            let one = if steps.len() == 1 { steps.remove(0) } else { Signature::chain(steps) };
            (one, result)
        });
        frozen.unzip()
    }
}

/// Parts that a frozen signature hands in to the join of its group.
pub(super) fn count(signature: &Signature) -> u64 {
    let inside = |value: &Value| {
        Signature::from_value(value.clone()).map_or(0, |signature| count(&signature))
    };
    let tasks = || signature.kwargs.get("tasks").and_then(Value::as_array);
    match signature.subtask_type.as_deref() {
        Some("chain") => tasks().and_then(|tasks| tasks.last()).map_or(0, inside),
        Some("group") => tasks().map_or(0, |tasks| tasks.iter().map(inside).sum()),
        Some("chord") => signature.kwargs.get("body").map_or(0, inside),
        _ => 1,
    }
}
