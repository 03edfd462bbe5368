//! The names that a template sees. Names that follow from a date are absent when there is none.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use minijinja::value::Value;
use tradewind_proto::execution::RunContext;
use tradewind_proto::state::RunType;

use super::datetime::PyDateTime;
use super::lookup::{self, Variables};
use super::object::PyObject;
use super::{Lookups, Source, TemplateContext, json, macros};

type Names = BTreeMap<&'static str, Value>;

/// All names.
pub(super) fn build(context: &TemplateContext, lookups: &Arc<dyn Lookups>) -> Value {
    let run = &context.run;
    let source = Source(Arc::clone(lookups));
    let mut names = Names::new();
    if let Some(at) = run.logical_date {
        date_names(&mut names, run, at, context.previous_date);
    }
    if let (Some(start), Some(end)) = (run.data_interval_start, run.data_interval_end) {
        names.insert("data_interval_start", date(start));
        names.insert("data_interval_end", date(end));
    }
    let (start, end) = run.prev_success_interval.unzip();
    names.insert("prev_data_interval_start_success", optional(start));
    names.insert("prev_data_interval_end_success", optional(end));
    names.insert("run_id", Value::from(run.run_id.clone()));
    names.insert("params", json::object(&run.params));
    names.insert("test_mode", Value::from(false));
    names.insert("macros", macros::build());
    names.insert("dag", dag(run));
    names.insert("dag_run", dag_run(run));
    names.insert("task", task(context));
    let instance = task_instance(context, &source);
    names.insert("ti", instance.clone());
    names.insert("task_instance", instance);
    names.insert("task_instance_key_str", Value::from(key_text(context)));
    let variables = |json| Value::from_object(Variables { source: source.clone(), json });
    let var = PyObject::new().field("value", variables(false)).field("json", variables(true));
    names.insert("var", var.value());
    Value::from_pairs(names)
}

fn date(at: Timestamp) -> Value {
    PyDateTime::utc(at).value()
}

fn optional(at: Option<Timestamp>) -> Value {
    at.map_or_else(|| Value::from(()), date)
}

fn days(at: Timestamp, days: i64) -> PyDateTime {
    PyDateTime::utc(at.checked_add(SignedDuration::from_hours(24 * days)).unwrap_or(at))
}

fn date_names(names: &mut Names, run: &RunContext, at: Timestamp, previous: Option<Timestamp>) {
    let logical = PyDateTime::utc(at);
    names.insert("ts", Value::from(logical.isoformat()));
    names.insert("ts_nodash", Value::from(logical.ts_nodash()));
    names.insert("ts_nodash_with_tz", Value::from(logical.ts_nodash_with_tz()));
    let manual = run.run_type == RunType::Manual;
    let next = if manual { Some(at) } else { run.data_interval_end.filter(|end| *end > at) };
    let previous = if manual { Some(at) } else { previous };
    for (ds, nodash, day) in [
        ("ds", "ds_nodash", Some(logical)),
        ("yesterday_ds", "yesterday_ds_nodash", Some(days(at, -1))),
        ("tomorrow_ds", "tomorrow_ds_nodash", Some(days(at, 1))),
        ("next_ds", "next_ds_nodash", next.map(PyDateTime::utc)),
        ("prev_ds", "prev_ds_nodash", previous.map(PyDateTime::utc)),
    ] {
        if let Some(day) = day {
            names.insert(nodash, Value::from(day.ds().replace('-', "")));
            names.insert(ds, Value::from(day.ds()));
        }
    }
    names.insert("logical_date", date(at));
    names.insert("execution_date", date(at));
    names.extend(next.map(|at| ("next_execution_date", date(at))));
    names.extend(previous.map(|at| ("prev_execution_date", date(at))));
}

fn dag(run: &RunContext) -> Value {
    PyObject::new()
        .text(format!("<DAG: {}>", run.dag_id))
        .field("dag_id", run.dag_id.as_str())
        .field("params", json::object(&run.params))
        .value()
}

fn dag_run(run: &RunContext) -> Value {
    PyObject::new()
        .field("dag_id", run.dag_id.as_str())
        .field("run_id", run.run_id.as_str())
        .field("run_type", run.run_type.as_str())
        .field("conf", json::object(&run.conf))
        .field("logical_date", optional(run.logical_date))
        .field("execution_date", optional(run.logical_date))
        .field("data_interval_start", optional(run.data_interval_start))
        .field("data_interval_end", optional(run.data_interval_end))
        .field("run_after", date(run.run_after))
        .field("start_date", optional(run.start_date))
        .field("external_trigger", run.run_type == RunType::Manual)
        .value()
}

fn task(context: &TemplateContext) -> Value {
    PyObject::new()
        .text(format!("<Task({}): {}>", context.operator, context.task_id))
        .field("task_id", context.task_id.as_str())
        .field("dag_id", context.run.dag_id.as_str())
        .field("task_type", context.operator.as_str())
        .value()
}

fn task_instance(context: &TemplateContext, source: &Source) -> Value {
    let (source, owned) = (source.clone(), context.clone());
    let pull = move |args: &[Value]| lookup::xcom_pull(&source, &owned, args);
    let run = &context.run;
    PyObject::new()
        .field("task_id", context.task_id.as_str())
        .field("dag_id", run.dag_id.as_str())
        .field("run_id", run.run_id.as_str())
        .field("try_number", run.try_number)
        .field("max_tries", run.max_tries)
        .field("map_index", run.map_index)
        .field("logical_date", optional(run.logical_date))
        .field("execution_date", optional(run.logical_date))
        .field("operator", context.operator.as_str())
        .field("task", task(context))
        .field("dag_run", dag_run(run))
        .method("xcom_pull", pull)
        .value()
}

fn key_text(context: &TemplateContext) -> String {
    let run = &context.run;
    let day = run.logical_date.map(|at| PyDateTime::utc(at).ds().replace('-', ""));
    let day = day.unwrap_or_else(|| run.run_id.clone());
    format!("{}__{}__{day}", run.dag_id, context.task_id)
}
