//! The remote commands, and how words of a command line become their arguments. Pure.

use serde_json::{Map, Value, json};

/// Whether a command asks or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inspect,
    Control,
}

/// Type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Whole,
    Seconds,
    Bool,
}

/// One command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    kind: Kind,
    args: &'static [(&'static str, Type)],
    /// How many of them must be there.
    required: usize,
    /// The argument that takes all further words as a list.
    variadic: Option<&'static str>,
    pub(super) usage: &'static str,
    pub(super) help: &'static str,
}

impl Command {
    const fn new(name: &'static str, kind: Kind, usage: &'static str, help: &'static str) -> Self {
        Self { name, kind, args: &[], required: 0, variadic: None, usage, help }
    }

    const fn args(mut self, required: usize, args: &'static [(&'static str, Type)]) -> Self {
        self.args = args;
        self.required = required;
        self
    }

    const fn rest(mut self, name: &'static str) -> Self {
        self.variadic = Some(name);
        self
    }

    /// Whether nodes are not expected to answer.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.name, "heartbeat" | "shutdown")
    }
}

use Kind::{Control, Inspect};
use Type::{Bool, Seconds, Text, Whole};

const COMMANDS: &[Command] = &[
    Command::new("active", Inspect, "", "Tasks that run now"),
    Command::new("active_queues", Inspect, "", "Queues that are consumed"),
    Command::new("clock", Inspect, "", "Logical clock"),
    Command::new("conf", Inspect, "[include_defaults]", "Configuration")
        .args(0, &[("with_defaults", Bool)]),
    Command::new("ping", Inspect, "", "Who is there"),
    Command::new("query_task", Inspect, "ID…", "What is known of tasks").rest("ids"),
    Command::new("registered", Inspect, "[ATTRIBUTE…]", "Tasks that are known by name")
        .rest("taskinfoitems"),
    Command::new("report", Inspect, "", "Versions and settings, for bug reports"),
    Command::new("reserved", Inspect, "", "Tasks taken from a queue that wait for a slot"),
    Command::new("revoked", Inspect, "", "Ids of revoked tasks"),
    Command::new("scheduled", Inspect, "", "Tasks that wait for their time"),
    Command::new("stats", Inspect, "", "Counters, pool, broker, resource use"),
    Command::new(
        "add_consumer",
        Control,
        "QUEUE [EXCHANGE [TYPE [ROUTING_KEY]]]",
        "Consume a queue",
    )
    .args(
        1,
        &[("queue", Text), ("exchange", Text), ("exchange_type", Text), ("routing_key", Text)],
    ),
    Command::new("autoscale", Control, "[MAX [MIN]]", "Change the bounds of autoscaling")
        .args(0, &[("max", Whole), ("min", Whole)]),
    Command::new("cancel_consumer", Control, "QUEUE", "Stop consuming a queue")
        .args(1, &[("queue", Text)]),
    Command::new("disable_events", Control, "", "Stop sending task events"),
    Command::new("enable_events", Control, "", "Send task events"),
    Command::new("heartbeat", Control, "", "Send a heartbeat event now"),
    Command::new("pool_grow", Control, "[N=1]", "Add slots").args(0, &[("n", Whole)]),
    Command::new("pool_restart", Control, "", "Replace child processes"),
    Command::new("pool_shrink", Control, "[N=1]", "Remove slots").args(0, &[("n", Whole)]),
    Command::new(
        "rate_limit",
        Control,
        "TASK RATE (as in 5/s, 5/m, 5/h, 0)",
        "Limit a task's rate",
    )
    .args(2, &[("task_name", Text), ("rate_limit", Text)]),
    Command::new("revoke", Control, "ID…", "Keep tasks from running").rest("task_id"),
    Command::new("shutdown", Control, "", "Stop workers in an orderly way"),
    Command::new("terminate", Control, "SIGNAL ID…", "Stop running tasks")
        .args(1, &[("signal", Text)])
        .rest("task_id"),
    Command::new("time_limit", Control, "TASK SOFT [HARD]", "Change a task's time limits")
        .args(2, &[("task_name", Text), ("soft", Seconds), ("hard", Seconds)]),
];

/// All commands of a kind, by name.
pub(super) fn all(kind: Kind) -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(move |command| command.kind == kind)
}

/// A command by its name; Celery's older names of some are accepted.
pub(super) fn find(kind: Kind, name: &str) -> Result<&'static Command, String> {
    let current = match name {
        "dump_active" => "active",
        "dump_reserved" => "reserved",
        "dump_revoked" => "revoked",
        "dump_schedule" => "scheduled",
        "dump_tasks" | "registered_tasks" => "registered",
        "dump_conf" => "conf",
        other => other,
    };
    all(kind).find(|command| command.name == current).ok_or_else(|| {
        let (word, other) = match kind {
            Inspect => ("inspect", Control),
            Control => ("control", Inspect),
        };
        if all(other).any(|command| command.name == current) {
            let right = if other == Inspect { "inspect" } else { "control" };
            return format!("{name} is no {word} command; use `{right} {name}`");
        }
        let names: Vec<&str> = all(kind).map(|command| command.name).collect();
        format!("Command {name} not recognized. Available {word} commands: {}", names.join(", "))
    })
}

/// Arguments of a command from the words that follow it.
pub(super) fn arguments(command: &Command, words: &[String]) -> Result<Map<String, Value>, String> {
    let usage = |why: String| format!("{why}; usage: {} {}", command.name, command.usage);
    let mut arguments = Map::new();
    for ((name, kind), word) in command.args.iter().zip(words) {
        let value = typed(*kind, word)
            .ok_or_else(|| usage(format!("{name} = {word:?} is no {}", what(*kind))))?;
        arguments.insert((*name).to_owned(), value);
    }
    if words.len() < command.required {
        let missing = command.args[words.len()].0;
        return Err(usage(format!("{missing} is missing")));
    }
    let rest = words.get(command.args.len()..).unwrap_or_default();
    match command.variadic {
        Some(name) => {
            if rest.is_empty() && name != "taskinfoitems" {
                return Err(usage("no task id is given".to_owned()));
            }
            arguments.insert(name.to_owned(), json!(rest));
        }
        None if !rest.is_empty() => {
            return Err(usage(format!("{} words are too many", rest.len())));
        }
        None => {}
    }
    Ok(arguments)
}

fn typed(kind: Type, word: &str) -> Option<Value> {
    Some(match kind {
        Text => json!(word),
        Whole => json!(word.parse::<u32>().ok()?),
        Seconds => json!(word.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0)?),
        Bool => match word.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => json!(true),
            "false" | "f" | "no" | "n" | "off" | "0" => json!(false),
            _ => return None,
        },
    })
}

fn what(kind: Type) -> &'static str {
    match kind {
        Text => "text",
        Whole => "whole number",
        Seconds => "number of seconds",
        Bool => "boolean",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(kind: Kind, line: &str) -> Result<Value, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let command = find(kind, &words[0])?;
        arguments(command, &words[1..]).map(Value::Object)
    }

    #[test]
    fn words_become_the_arguments_that_celery_sends() {
        for (kind, line, expected) in [
            (Inspect, "ping", json!({})),
            (Inspect, "query_task a b", json!({"ids": ["a", "b"]})),
            (Inspect, "registered", json!({"taskinfoitems": []})),
            (Inspect, "conf yes", json!({"with_defaults": true})),
            (Inspect, "dump_active", json!({})),
            (Control, "revoke a", json!({"task_id": ["a"]})),
            (Control, "terminate KILL a b", json!({"signal": "KILL", "task_id": ["a", "b"]})),
            (Control, "rate_limit t 5/m", json!({"task_name": "t", "rate_limit": "5/m"})),
            (Control, "time_limit t 1.5", json!({"task_name": "t", "soft": 1.5})),
            (Control, "pool_grow 2", json!({"n": 2})),
            (Control, "autoscale 8 2", json!({"max": 8, "min": 2})),
            (Control, "add_consumer q x", json!({"queue": "q", "exchange": "x"})),
        ] {
            assert_eq!(compiled(kind, line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn refusals_say_what_is_right() {
        for (kind, line, expected) in [
            (Inspect, "pong", "Available inspect commands: active"),
            (Inspect, "shutdown", "use `control shutdown`"),
            (Control, "ping", "use `inspect ping`"),
            (Control, "revoke", "no task id"),
            (Control, "rate_limit t", "rate_limit is missing"),
            (Control, "pool_grow many", "is no whole number"),
            (Control, "cancel_consumer a b", "too many"),
        ] {
            let error = compiled(kind, line).expect_err(line);
            assert!(error.contains(expected), "{error}");
        }
    }
}
