//! Canvas: what a signature comes to when it is applied — requests to send now, joins to begin, and the
//! result to wait for. Pure: ids come in, nothing is sent here.
//!
//! As Celery 5.7 does it: chains are flattened and stored last element first, a group that is followed by
//! something is the header of a chord, the rest of a chain goes along with a chord's body, ids are given
//! before anything is sent. One difference: a group at the end of a chord's header member adds its results
//! one by one, not as a list of its own.

mod flatten;
mod freeze;
mod send;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Request, ResultTuple, Signature};

/// What is known where a signature is applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Put in front of the arguments of what is not immutable: the parent's result, if there is one.
    pub args: Vec<Value>,
    /// The rest of the chain that it is an element of, last element first.
    pub chain: Vec<Signature>,
    /// First task of the tree; none: each task sent now starts a tree.
    pub root_id: Option<String>,
    /// The task that applies it.
    pub parent_id: Option<String>,
    /// For options that do not say (`task_inherit_parent_priority`).
    pub priority: Option<u8>,
    /// Where an rpc result goes.
    pub reply_to: Option<String>,
    /// Who sends it.
    pub origin: Option<String>,
    /// The present time, for `countdown` and `expires` in seconds.
    pub now: Timestamp,
}

impl Applied {
    /// Applied by a client: nothing comes before it.
    pub fn by_client(now: Timestamp) -> Self {
        Self {
            args: Vec::new(),
            chain: Vec::new(),
            root_id: None,
            parent_id: None,
            priority: None,
            reply_to: None,
            origin: None,
            now,
        }
    }

    /// Applied by a worker: what follows a task that has ended.
    pub fn by_task(parent: &Request, args: Vec<Value>, now: Timestamp) -> Self {
        Self {
            args,
            root_id: Some(parent.root_id.clone().unwrap_or_else(|| parent.id.clone())),
            parent_id: Some(parent.id.clone()),
            ..Self::by_client(now)
        }
    }
}

/// A request to send now, and what its options say of where.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The request; its priority is that of `priority`, or 0.
    pub request: Request,
    /// `queue`, which has precedence over routes.
    pub queue: Option<String>,
    /// `exchange`.
    pub exchange: Option<String>,
    /// `routing_key`.
    pub routing_key: Option<String>,
    /// `priority`.
    pub priority: Option<u8>,
}

/// What applying comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Groups whose parts are counted, with their sizes: begun before anything is sent.
    pub joins: Vec<(String, u64)>,
    /// What is sent now, in order.
    pub sends: Vec<Planned>,
    /// The result: of the last task, of a chord's body, or of a group.
    pub result: ResultTuple,
}

/// Plans the application of a signature. `next_id` gives a fresh id at every call; ids that the signature
/// brings along are kept, so that the same plan can be made again.
///
/// # Errors
/// What is wrong with the canvas, in words.
pub fn plan(
    signature: Signature,
    applied: &Applied,
    next_id: &mut dyn FnMut() -> String,
) -> Result<Plan, String> {
    let mut line = flatten::flatten(signature, 0)?;
    flatten::prefix(&mut line, &applied.args);
    if line.is_empty() {
        return Err("a canvas without a task cannot be applied".to_owned());
    }
    let (steps, result) = freeze::freeze(line, next_id);
    let mut plan = Plan { result, ..Plan::default() };
    let mut steps = steps.into_iter();
    if let Some(first) = steps.next() {
        let mut chain = applied.chain.clone();
        chain.extend(steps.rev());
        send::send(first, chain, applied, &mut plan)?;
    }
    Ok(plan)
}

/// A member of the keyword arguments that is a list of signatures, or a canvas with one.
fn signatures(kwargs: &mut Map<String, Value>, name: &str) -> Result<Vec<Signature>, String> {
    match kwargs.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.into_iter().map(Signature::from_value).collect(),
        Some(one) => {
            let mut one = Signature::from_value(one)?;
            match one.subtask_type.as_deref() {
                Some("group" | "chain") => signatures(&mut one.kwargs, "tasks"),
                _ => Ok(vec![one]),
            }
        }
    }
}

#[cfg(test)]
mod tests;
