//! JSON into values, and values as JSON, as Python's `json.dumps` writes it inside Jinja's `tojson`: sorted keys, spaced separators,
//! ASCII only, safe inside HTML.

use std::collections::BTreeMap;
use std::fmt::Write;

use minijinja::value::Value;
use minijinja::{Error, ErrorKind};
use serde_json::{Map, Value as Json};

use super::pystr;

/// A JSON value as the template sees it.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            (None, None) => Value::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(value).collect::<Vec<_>>()),
        Json::Object(map) => object(map),
    }
}

/// A JSON object as the template sees it.
pub(super) fn object(map: &Map<String, Json>) -> Value {
    Value::from_pairs(map.iter().map(|(key, item)| (key.clone(), value(item))))
}

/// The filter `tojson`, without indentation.
pub(super) fn dumps_filter(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "tojson of an undefined value"));
    }
    if value.as_object().is_some_and(|o| o.repr() == minijinja::value::ObjectRepr::Plain) {
        return Err(Error::new(ErrorKind::BadSerialization, "the object has no JSON form"));
    }
    let json = serde_json::to_value(value).map_err(|e| {
        Error::new(ErrorKind::BadSerialization, "the value has no JSON form").with_source(e)
    })?;
    let mut out = String::new();
    dump(&json, &mut out);
    Ok(Value::from_safe_string(out))
}

fn dump(json: &Json, out: &mut String) {
    match json {
        Json::Null | Json::Bool(_) => out.push_str(&json.to_string()),
        Json::Number(n) if n.is_f64() => out.push_str(&pystr::float(n.as_f64().unwrap_or(0.0))),
        Json::Number(n) => out.push_str(&n.to_string()),
        Json::String(text) => string(text, out),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                dump(item, out);
            }
            out.push(']');
        }
        Json::Object(map) => {
            out.push('{');
            let sorted: BTreeMap<_, _> = map.iter().collect();
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                string(key, out);
                out.push_str(": ");
                dump(item, out);
            }
            out.push('}');
        }
    }
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\'' => escape(c, out),
            ' '..='~' => out.push(c),
            _ => escape(c, out),
        }
    }
    out.push('"');
}

fn escape(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}
