//! From a command to its answer: a decision, without I/O.

use serde_json::{Map, Value, json};
use tradewind_proto::celery::repr;

use super::arguments::Arguments;
use super::control::Answer;
use super::panel::Panel;
use super::{control, inspect};

/// Answers any command. An unknown one and one that cannot be read answer as an exception does in Celery.
pub(super) fn answer(panel: &Panel, method: &str, arguments: &Map<String, Value>) -> Answer {
    let arguments = Arguments { method, all: arguments };
    let seen = inspect::answer(panel, arguments).map(|seen| seen.map(|value| (Some(value), None)));
    match seen.or_else(|| control::answer(panel, arguments)) {
        Some(Ok(answer)) => answer,
        Some(Err(refusal)) => (Some(json!({"error": refusal.0})), None),
        None => (Some(json!({"error": format!("KeyError({})", repr(&json!(method)))})), None),
    }
}
