//! Template fields of a task, rendered before it runs. What Rust cannot render is left, with the
//! reason, for Python.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tradewind_engine::template::{self, Lookups, TemplateContext};
use tradewind_proto::execution::{VariableQuery, XcomQuery, XcomReply};

use super::{AttemptJob, lookup};
use crate::ExecutionApi;

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

/// Renders all fields of a task, on a thread that may block.
pub(super) async fn render(job: &AttemptJob) -> (Vec<Rendered>, Vec<Unrendered>) {
    let task = Arc::clone(&job.grant.task);
    if task.templates.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let context = TemplateContext {
        run: job.grant.context.clone(),
        task_id: task.task_id.clone(),
        operator: task.operator.clone(),
        previous_date: None,
    };
    let lookups = Arc::new(ApiLookups { api: Arc::clone(&job.api), handle: Handle::current() });
    let all = tokio::task::spawn_blocking(move || {
        let (mut rendered, mut unrendered) = (Vec::new(), Vec::new());
        for field in &task.templates {
            let path = field.path.clone();
            match template::render(&field.source, &context, Arc::clone(&lookups) as _) {
                Ok(text) => rendered.push(Rendered { path, value: Value::String(text) }),
                Err(error) => {
                    let source = field.source.clone();
                    unrendered.push(Unrendered { path, source, error: error.to_string() });
                }
            }
        }
        (rendered, unrendered)
    });
    all.await.unwrap_or_else(|error| {
        let text = format!("rendering ended early: {error}");
        let left = job.grant.task.templates.iter().map(|field| Unrendered {
            path: field.path.clone(),
            source: field.source.clone(),
            error: text.clone(),
        });
        (Vec::new(), left.collect())
    })
}

/// XComs and variables for templates. Blocks its thread.
struct ApiLookups {
    api: Arc<dyn ExecutionApi>,
    handle: Handle,
}

impl Lookups for ApiLookups {
    fn xcom_pull(&self, query: XcomQuery) -> Result<XcomReply, String> {
        self.handle.block_on(lookup::xcom(&self.api, &query))
    }

    fn variable(&self, key: &str) -> Result<Option<String>, String> {
        let query = VariableQuery { key: key.to_owned() };
        self.handle.block_on(lookup::variable(&self.api, &query)).map(|reply| reply.value)
    }
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
