//! Objects that read from outside: `var.value`, `var.json` and `ti.xcom_pull`.

use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use thiserror::Error as ThisError;
use tradewind_proto::execution::XcomQuery;

use super::{Source, TemplateContext, json, methods};

/// A lookup that failed; travels inside the engine's error.
#[derive(Debug, ThisError)]
#[error("{0}")]
pub(super) struct LookupFailed(pub(super) String);

fn failed(text: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.clone()).with_source(LookupFailed(text))
}

/// `var.value` or `var.json`.
#[derive(Debug)]
pub(super) struct Variables {
    pub(super) source: Source,
    pub(super) json: bool,
}

impl Variables {
    fn read(&self, key: &str) -> Result<Option<Value>, Error> {
        let text = self.source.0.variable(key);
        let text = text.map_err(|e| failed(format!("variable {key:?} could not be read: {e}")))?;
        let Some(text) = text else { return Ok(None) };
        if !self.json {
            return Ok(Some(Value::from(text)));
        }
        let parsed: serde_json::Value = serde_json::from_str(&text).map_err(|e| {
            Error::new(ErrorKind::InvalidOperation, format!("variable {key:?} is not JSON: {e}"))
        })?;
        Ok(Some(json::value(&parsed)))
    }

    fn missing(key: &str) -> Error {
        Error::new(ErrorKind::UndefinedError, format!("variable {key:?} does not exist"))
    }
}

impl Object for Variables {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        Some(match self.read(key) {
            Ok(Some(value)) => value,
            Ok(None) => Value::from(Self::missing(key)),
            Err(error) => Value::from(error),
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method != "get" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let (key, default, options): (&str, Option<Value>, Kwargs) = from_args(args)?;
        let default = match default {
            Some(default) => Some(default),
            None => options.get::<Option<Value>>("default_var")?,
        };
        options.assert_all_used()?;
        match (self.read(key)?, default) {
            (Some(value), _) | (None, Some(value)) => Ok(value),
            (None, None) => Err(Self::missing(key)),
        }
    }
}

/// `ti.xcom_pull(task_ids, dag_id, key, include_prior_dates, …)`. One name gives a value or None, a
/// list of names a list in their order.
pub(super) fn xcom_pull(
    source: &Source,
    context: &TemplateContext,
    args: &[Value],
) -> Result<Value, Error> {
    let (task_ids, dag_id, key, prior, options): (
        Option<Value>,
        Option<String>,
        Option<String>,
        Option<bool>,
        Kwargs,
    ) = from_args(args)?;
    let task_ids =
        task_ids.map_or_else(|| options.get::<Option<Value>>("task_ids"), |v| Ok(Some(v)))?;
    let dag_id = dag_id.map_or_else(|| options.get("dag_id"), |v| Ok(Some(v)))?;
    let key = key.map_or_else(|| options.get("key"), |v| Ok(Some(v)))?;
    let prior = prior.map_or_else(|| options.get("include_prior_dates"), |v| Ok(Some(v)))?;
    let run_id: Option<String> = options.get("run_id")?;
    let default: Option<Value> = options.get("default")?;
    options.assert_all_used()?;
    let Some(task_ids) = task_ids.filter(|v| !v.is_none()) else {
        // What it means differs between Airflow 2 and 3.
        let text = "xcom_pull without task_ids is not supported here; name the task";
        return Err(Error::new(ErrorKind::InvalidOperation, text));
    };
    let names = names(&task_ids)?;
    let query = XcomQuery {
        dag_id: dag_id.unwrap_or_else(|| context.run.dag_id.clone()),
        run_id: run_id.unwrap_or_else(|| context.run.run_id.clone()),
        task_ids: names.clone(),
        key: key.unwrap_or_else(|| "return_value".to_owned()),
        include_prior_dates: prior.unwrap_or(false),
    };
    let reply = source.0.xcom_pull(query);
    let reply = reply.map_err(|e| failed(format!("XCom could not be read: {e}")))?;
    if reply.values.iter().any(|(_, map_index, _)| *map_index >= 0) {
        let text = "xcom_pull from mapped tasks is not supported here";
        return Err(Error::new(ErrorKind::InvalidOperation, text));
    }
    let find = |name: &String| {
        let found = reply.values.iter().find(|(task_id, _, _)| task_id == name);
        found.map_or_else(
            || default.clone().unwrap_or_else(|| Value::from(())),
            |(_, _, value)| json::value(value),
        )
    };
    if task_ids.kind() == ValueKind::String {
        return Ok(names.first().map_or_else(|| Value::from(()), find));
    }
    Ok(Value::from(names.iter().map(find).collect::<Vec<_>>()))
}

fn names(task_ids: &Value) -> Result<Vec<String>, Error> {
    if let Some(name) = task_ids.as_str() {
        return Ok(vec![name.to_owned()]);
    }
    methods::strings(task_ids)
}
