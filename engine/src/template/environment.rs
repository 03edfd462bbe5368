//! The template engine, set up to behave as Jinja2 does under Airflow: strict undefined values, no HTML
//! escaping, Python's texts for values. Filters that behave differently are replaced or taken out.

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

use super::datetime::PyDateTime;
use super::{FUEL_MAX, json, methods, ops, pystr};

/// Filters that Jinja2 does not have, or whose results differ.
const NOT_JINJA: [&str; 7] = ["lines", "split", "bool", "chain", "zip", "pprint", "round"];

/// An engine without templates. Cheap enough to be made per template.
pub(super) fn build() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL_MAX));
    env.set_formatter(print);
    env.set_unknown_method_callback(methods::call);
    for name in NOT_JINJA {
        env.remove_filter(name);
    }
    env.remove_global("debug");
    env.add_function("__add", ops::add);
    env.add_function("__sub", ops::sub);
    env.add_function("__mod", ops::rem);
    env.add_function("__concat", ops::concat);
    env.add_filter("string", |value: &Value| pystr::str(value));
    env.add_filter("join", ops::join);
    env.add_filter("tojson", json::dumps_filter);
    add_date_filters(&mut env);
    env
}

fn print(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    out.write_str(&pystr::str(value)?).map_err(|_| Error::from(ErrorKind::WriteFailure))
}

/// Airflow's own filters on dates.
fn add_date_filters(env: &mut Environment<'_>) {
    type Format = fn(&PyDateTime) -> String;
    let filters: [(&'static str, Format); 5] = [
        ("ds", PyDateTime::ds),
        ("ds_nodash", |at| at.ds().replace('-', "")),
        ("ts", PyDateTime::isoformat),
        ("ts_nodash", PyDateTime::ts_nodash),
        ("ts_nodash_with_tz", PyDateTime::ts_nodash_with_tz),
    ];
    for (name, format) in filters {
        env.add_filter(name, move |value: &Value| -> Result<Value, Error> {
            match value.downcast_object_ref::<PyDateTime>() {
                Some(at) => Ok(Value::from(format(at))),
                None if value.is_none() => Ok(Value::from("")),
                None => Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("the filter {name} needs a date, not {}", value.kind()),
                )),
            }
        });
    }
}
