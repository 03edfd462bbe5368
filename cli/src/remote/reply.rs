//! What nodes said, as text. Pure; the layout is that of Celery's commands, which scripts read.

use serde_json::Value;
use tradewind_broker::Reply;
use tradewind_proto::celery::repr;

use crate::output::{self, Row};

/// One reply as a row of a listing: node, whether it went well, and if wanted what it said.
pub(super) fn row(reply: &Reply, body: bool) -> Row {
    let status = if is_error(&reply.value) { "ERROR" } else { "OK" };
    let mut row = output::row([("worker", reply.node.as_str().into()), ("status", status.into())]);
    if body {
        row.insert("reply".to_owned(), reply.value.clone());
    }
    row
}

/// One reply: a line with the node and whether it went well, and if wanted what it said.
pub(super) fn text(reply: &Reply, body: bool) -> String {
    let (fine, said) = pretty(&reply.value);
    let status = if fine { "OK" } else { "ERROR" };
    let mut out = format!("->  {}: {status}\n", reply.node);
    if body && !said.is_empty() {
        out.push_str(&indent(&said));
        out.push('\n');
    }
    out
}

/// The last line: how many nodes there are.
pub(super) fn count(nodes: usize) -> String {
    format!("\n{nodes} node{} online.\n", if nodes == 1 { "" } else { "s" })
}

/// Whether a reply is an error.
pub(super) fn is_error(value: &Value) -> bool {
    value.get("error").is_some() && value.get("ok").is_none()
}

/// A value as Python's `str` shows it.
pub(super) fn display(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

fn pretty(value: &Value) -> (bool, String) {
    match value {
        Value::Array(items) if items.is_empty() => (true, "- empty -".to_owned()),
        Value::Array(items) => {
            let lines: Vec<String> =
                items.iter().map(|item| format!("* {}", display(item))).collect();
            (true, lines.join("\n"))
        }
        Value::Object(map) => match (map.get("ok"), map.get("error")) {
            (Some(said), _) => (true, indent(&pretty(said).1)),
            (None, Some(said)) => (false, indent(&pretty(said).1)),
            (None, None) => {
                (true, serde_json::to_string_pretty(&sorted(value)).unwrap_or_default())
            }
        },
        other => (true, display(other)),
    }
}

/// Members by name, as Celery prints them.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(value: Value, body: bool) -> String {
        text(&Reply { node: "celery@h".to_owned(), value }, body)
    }

    #[test]
    fn replies_have_the_layout_that_scripts_know() {
        assert_eq!(printed(json!({"ok": "pong"}), false), "->  celery@h: OK\n");
        assert_eq!(printed(json!({"ok": "pong"}), true), "->  celery@h: OK\n        pong\n");
        assert_eq!(
            printed(json!({"error": "no such task"}), true),
            "->  celery@h: ERROR\n        no such task\n"
        );
        assert_eq!(printed(json!([]), true), "->  celery@h: OK\n    - empty -\n");
        assert_eq!(
            printed(json!(["t.a", {"id": "x"}]), true),
            "->  celery@h: OK\n    * t.a\n    * {'id': 'x'}\n"
        );
        assert_eq!(
            printed(json!({"b": 1, "a": 2}), true),
            "->  celery@h: OK\n    {\n      \"a\": 2,\n      \"b\": 1\n    }\n"
        );
        assert_eq!(count(1), "\n1 node online.\n");
        assert_eq!(count(2), "\n2 nodes online.\n");
        assert!(is_error(&json!({"error": "x"})) && !is_error(&json!({"ok": "x"})));
    }
}
