//! MessagePack bodies as JSON values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmpv::Value as Packed;
use serde_json::{Map, Number, Value, json};

use super::BadMessage;
use super::text::{DEPTH_MAX, too_deep};

pub(super) fn parse(mut body: &[u8]) -> Result<Value, BadMessage> {
    let packed = rmpv::decode::read_value_with_max_depth(&mut body, DEPTH_MAX).map_err(
        |error| match error {
            rmpv::decode::Error::DepthLimitExceeded => too_deep(),
            other => syntax(&other.to_string()),
        },
    )?;
    if !body.is_empty() {
        return Err(syntax("bytes are left after its end"));
    }
    convert(packed)
}

fn syntax(what: &str) -> BadMessage {
    BadMessage::new("syntax", format!("the body is not valid MessagePack: {what}"))
}

/// Recursion is bounded by the reader's depth limit.
fn convert(packed: Packed) -> Result<Value, BadMessage> {
    Ok(match packed {
        Packed::Nil => Value::Null,
        Packed::Boolean(value) => Value::Bool(value),
        Packed::Integer(value) => match (value.as_i64(), value.as_u64()) {
            (Some(value), _) => value.into(),
            (None, Some(value)) => value.into(),
            (None, None) => Value::Null,
        },
        Packed::F32(value) => float(f64::from(value)),
        Packed::F64(value) => float(value),
        Packed::String(text) => {
            let text = text.into_str().ok_or_else(|| syntax("a string is not UTF-8"))?;
            Value::String(text)
        }
        // kombu's own way to write bytes into JSON.
        Packed::Binary(bytes) => match String::from_utf8(bytes) {
            Ok(text) => json!({"__type__": "bytes", "__value__": text}),
            Err(raw) => json!({"__type__": "base64", "__value__": STANDARD.encode(raw.as_bytes())}),
        },
        Packed::Array(items) => {
            Value::Array(items.into_iter().map(convert).collect::<Result<_, _>>()?)
        }
        Packed::Map(members) => {
            let mut map = Map::new();
            for (name, value) in members {
                map.insert(member(name)?, convert(value)?);
            }
            Value::Object(map)
        }
        Packed::Ext(kind, _) => {
            return Err(syntax(&format!("extension type {kind} is not read here")));
        }
    })
}

/// NaN and infinities become null, as in JSON bodies.
fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Other keys than strings become their text, as Python's JSON writer has it.
fn member(name: Packed) -> Result<String, BadMessage> {
    match name {
        Packed::String(text) => text.into_str().ok_or_else(|| syntax("a key is not UTF-8")),
        Packed::Binary(bytes) => String::from_utf8(bytes).map_err(|_| syntax("a key is not UTF-8")),
        Packed::Integer(value) => Ok(value.to_string()),
        other => Err(syntax(&format!("a key is {other}"))),
    }
}
